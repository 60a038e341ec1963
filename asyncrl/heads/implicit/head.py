"""The base of the heads itt and iot: a policy that chooses from a set of actions the one of least energy.

    networks      state tower: the network below the head, d outputs; action tower and what follows: the head's own parameters
    search        the best action of the set, of equal ones the first
    gradients     the softmax over the set, at a temperature, is the policy: log-probability and entropy are exact over what the
                  transition chose from

Seed 000 ("Implicit Two-Tower Policies"), equations 2 to 5. Where the paper and its authors' code differ: the code takes the least
product in training and the largest in its search by hashing, which are opposite policies; here it is the largest, as in equation 5.

A stored action is [place], or [place, key] where a key drew what the transition chose from (`choosing`); a part's key says its size.
At temperature 0 sets that are drawn anew are drawn from the parameters that are played (`begin`), so that a candidate earns the same
whoever evaluates it. (The paper draws a set per iteration "independently for different ES-workers"; here that is per evaluation of a
candidate.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.head import Floats, Head, Sums
from asyncrl.heads.implicit.action_sets import ActionSet
from asyncrl.heads.implicit.choosing import BASE, COUNT, TURNS, choose_all, write_picked
from asyncrl.heads.implicit.energies import energies_at, newest_set
from asyncrl.heads.implicit.form import CHOSEN, NEVER, RESAMPLE, STORED, SUBSET, scratch_of, work_size
from asyncrl.heads.implicit.index import TableIndex, check_selection, index_numbers, is_indexed
from asyncrl.heads.implicit.latents import DrawnLatents, Latents
from asyncrl.heads.implicit.options import ImplicitOptions
from asyncrl.heads.implicit.probabilities import log_probs, output_gradient
from asyncrl.heads.implicit.sizes import SetSizes, Towers, matrices
from asyncrl.heads.implicit.stepping import Stepping, whole_step
from asyncrl.heads.implicit.table import SLOTS, LatentTable
from asyncrl.heads.implicit.tensors import scores_of
from asyncrl.heads.keyed_numbers import LARGEST_PART, content_key
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.networks.structures.dense import Orthogonal
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, BoundKernel, LossRows, RoundArrays
from asyncrl.shared.arrays import Layout


class ImplicitHead(Head):
    """Chooses from a set of N actions by scores of a state latent [d], the network's output, and action latents [N, d].

    tables     features [N, F] and values [N, C] of a set that is not drawn anew; `fill` writes them before the run, all read them
    caches     the set's latents, see `asyncrl.heads.implicit.table`
    form       [FORM], what the kernels know of the head
    """

    selections: ClassVar[tuple[str, ...]] = ("brute",)
    """What `--selection` may say."""

    options_type: ClassVar[type[HeadOptions]] = ImplicitOptions
    chosen_options: ImplicitOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.ACTOR_CRITIC, Role.SEARCH})
    action_kinds: ClassVar[tuple[str, ...]] = ("discrete", "multidiscrete", "box")
    action_dtype: ClassVar[type] = np.int64
    noise: ClassVar[str] = "uniform"
    energy: ClassVar[str] = "energy E(s, a)"

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self.one_call = False
        chosen = self.chosen_options
        self._reach = spec.observation_reach
        self.options, self.sizes_of = options, SetSizes(chosen, options.activation)
        self._set = ActionSet(self.name, spec, chosen, self.sizes_of.set_size)
        self.policy_outputs, self.places = self.sizes_of.latent, self._set.count
        towers = self.towers()
        self.form = self.sizes_of.form(self._set, towers)
        check_selection(self.name, self.selections, chosen, self.sizes_of.resample(self._set))
        self._indexed = is_indexed(chosen, self.form)
        held = (SLOTS + 1) * index_numbers(chosen, self.places, self.policy_outputs) if self._indexed else 0
        self._set.check_memory(3 * self.policy_outputs + held)  # the slots of the table, and memory of its own
        self._matrices = matrices(self.form, towers, self.policy_outputs, self._set.features)
        self.extra_size = sum(inputs * outputs for inputs, outputs in self._matrices)
        self.stored = int(self.form[STORED])
        self.largest_part = min(self.places, LARGEST_PART) if self.form[RESAMPLE] == SUBSET else 0
        self._fixed = bool(self.form[RESAMPLE] <= SUBSET)
        self._work_size = work_size(towers.action_layers, towers.rest_layers, self.policy_outputs, self._set.features)
        self._scratch = scratch_of(self.form, self._work_size)
        index = TableIndex(chosen, self.places, self.policy_outputs) if self._indexed else None
        self._latents: Latents = LatentTable(self.form, self._scratch[1], index) if self._fixed else DrawnLatents(self.form)
        self._turns, self._d_own = np.zeros(TURNS, np.int64), np.zeros(self.extra_size)
        self._d_latents = np.zeros((self.places, self.policy_outputs), np.float32)  # pages are taken where something is learned
        resample = self.sizes_of.resample(self._set)
        self._warmth = self.sizes_of.temperature(self._set)
        self.first_part, self.pair_steps = self.sizes_of.pairs(resample)
        self.last_part = int(self.form[CHOSEN])
        self._limits = self.bounds if self._box else np.zeros((2, self.components))

    def towers(self) -> Towers:
        """What this head computes, by its options. Raises UserError for options that it cannot serve."""
        raise NotImplementedError

    def network(self, given: Shape) -> Shape:
        """The state tower: no biases; `state_layers` matrices with latents between them, or hidden layers as the options say."""
        preset = self.sizes_of.preset
        shape = self.sizes_of.shape(given, self.options.hidden, preset.state_layers if preset else 0)
        return replace(shape, input_scale=() if self.sizes_of.normal else _raised(self._reach))

    # Parameters of its own, and memory.

    def initial(self, generator: np.random.Generator) -> Floats:
        """Its own matrices [extra_size]: standard normal, or orthogonal."""
        if self.sizes_of.normal:
            return generator.standard_normal(self.extra_size, np.float32)
        return np.concatenate([Orthogonal().initial(generator, inputs, outputs, 1.0) for inputs, outputs in self._matrices])

    def table_layout(self) -> Layout:
        if not self._fixed:
            return {}
        return {"features": ((self.places, self._set.features), np.float32), "values": ((self.places, self.components), np.float32)}

    def cache_layout(self) -> Layout:
        return self._latents.layout()

    def attach(self, tables: Mapping[str, NDArray[Any]]) -> None:
        super().attach(tables)
        self._bind()

    def attach_caches(self, caches: Mapping[str, NDArray[Any]]) -> None:
        super().attach_caches(caches)
        self._bind()

    def _bind(self) -> None:
        if self.caches or not self._fixed:
            self._latents.attach(self.caches, self.tables)
            values = self.tables["values"] if self._fixed else np.zeros((0, self.components), np.float32)
            self._tables = (values, self._limits, self._latents.features)

    def fill(self, generator: np.random.Generator) -> None:
        if self._fixed:
            self._set.fill(generator, self.tables["features"], self.tables["values"])
            self._latents.forget()

    def announce(self, vector: Floats) -> None:
        """The latents of this version's action tower are shared: whoever is given the same parameters uses them."""
        self._latents.announce(self._own(vector))

    def figures(self) -> dict[str, float]:
        return self._latents.figures()

    def begin(self, vector: Floats) -> None:
        self._latents.forget()
        self._turns[BASE], self._turns[COUNT] = content_key(np.ascontiguousarray(vector, np.float32)), 0
        self._scratch[-1][0] = -1

    def _own(self, vector: Floats) -> Floats:
        return vector[vector.size - self.extra_size :]

    # Acting.

    def _chosen(self, own: Floats, choose: Callable[..., Any], *rest: Any) -> Any:
        """What choose(latents [N, d] of own[D], *rest) gives: done again where a slot of the table was given away meanwhile."""
        count = self._turns[COUNT]
        found = choose(self._latents.of(own), *rest)
        if self._latents.stands():
            return found
        self._turns[COUNT] = count
        return choose(self._latents.alone(own), *rest)

    def _temperature(self) -> float:
        return self._warmth

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        if self._indexed and rounds.knobs[TEMPERATURE] == 0.0:
            self._chosen(self._own(vector), self._pick, rounds, t)
        else:
            self._look(self.form, self._scratch, rounds, vector, t)

    def _look(self, form: NDArray[np.int64], scratch: tuple[NDArray[Any], ...], r: RoundArrays, vector: Floats, t: int) -> None:
        """What `choose` does without an index, by a form [FORM], which may be another than the head's own."""
        own, temperature = self._own(vector), self._temperature()
        noise = (r.noise[0, 0, :, -1], r.knobs, r.noise[:, t], r.extra_noise[t], r.action[t], r.bounded[t], scratch)
        first = (form, own, r.policy_output, self._tables)
        self._chosen(own, lambda latents: choose_all(*first, latents, self._turns, temperature, *noise))

    def _pick(self, latents: Floats, r: RoundArrays, t: int) -> None:
        """What `choose` does for greedy steps where latents [N, d] have an index. Draws look at all actions."""
        best, action = self._latents.selection().best, r.action[t]
        for e, output in enumerate(r.policy_output):
            action[e, 0] = best(output)
        values, bounds, _ = self._tables
        write_picked(self.form, values, bounds, r.knobs[EPSILON], r.noise[:, t], r.extra_noise[t], action, r.bounded[t])

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        return whole_step(self._stepping(plan, vector, r, self.form, self._scratch, self._indexed), r.raw), ()

    @property
    def one_greedy_call(self) -> bool:
        return self._box or self._single

    def greedy_kernel(self, plan: NDArray[np.int64], vector: Floats, rounds: RoundArrays) -> Callable[[bool], BoundKernel]:
        stepping = self._stepping(plan, vector, rounds, self.form, self._scratch, self._indexed)

        def bind(alone: bool) -> BoundKernel:
            kernel, bundled = stepping.bound(alone)
            return BoundKernel(kernel, (bundled.words, rounds.raw), bundled)

        return bind

    def _stepping(
        self, plan: Any, vector: Floats, r: RoundArrays, form: NDArray[np.int64], scratch: tuple[NDArray[Any], ...], indexed: bool
    ) -> Stepping:
        """What steps by a form [FORM]; greedily by the index of the latents where it is `indexed`."""
        values, bounds, features = self._tables
        first = (plan, vector, form, values, bounds)
        last: tuple[NDArray[Any], ...] = (features, self._turns, np.array([self._temperature()]), *scratch)
        return Stepping(self._latents, self._own(vector), indexed, r, first, last)

    def environment_action(self, rounds: RoundArrays, t: int, e: int) -> Any:
        if self._box or self._single:
            return super().environment_action(rounds, t, e)
        return self._actions.numbers(rounds.bounded[t, e].astype(np.int64))

    def energies(self, policy_output: Floats, vector: Floats, actions: NDArray[Any]) -> NDArray[np.float64]:
        return energies_at(self.form, self._own(vector), policy_output, self._set.features_of(actions, self._latents.features))

    def considered(self, policy_output: Floats, vector: Floats) -> tuple[NDArray[Any], NDArray[np.float64]]:
        features, values = self._newest_set()
        return values, energies_at(self.form, self._own(vector), policy_output, features)

    def _newest_set(self) -> tuple[Floats, NDArray[Any]]:
        return newest_set(self.form, self._turns, self.tables, self._latents.features, self.bounds)

    # Learning.

    def output_gradient(self, rows: LossRows, vector: Floats, entropy_weight: float, gradient: Floats, temperature: float = 1.0) -> Sums:
        own, warmth, features = self._own(vector), self._temperature() * temperature, self._latents.features
        arrays = (rows.policy_output, rows.d_policy, rows.action, rows.log_prob_weight)
        rest = (self._d_latents, self._d_own, self._scratch)
        sums: Sums = self._chosen(
            own, lambda latents: output_gradient(self.form, own, arrays, float(entropy_weight), warmth, features, latents, *rest)
        )
        gradient[gradient.size - self.extra_size :] = self._d_own
        return sums

    def log_prob(self, policy_output: Floats, vector: Floats, action: NDArray[Any], knobs: NDArray[np.float64], out: Floats) -> None:
        own, warmth, features = self._own(vector), self._temperature() * knobs[TEMPERATURE], self._latents.features
        rest = (warmth, knobs[EPSILON], self._scratch, out)
        self._chosen(own, lambda latents: log_probs(self.form, own, policy_output, action, features, latents, *rest))

    def log_prob_and_entropy(self, policy_output: Any, extra: Any, action: Any, temperature: float = 1.0) -> tuple[Any, Any]:
        import torch

        keys = action[:, -1].numpy()
        scores, places = scores_of(self.form, policy_output, extra, self._features(), keys)
        log_p = torch.log_softmax(scores / (self._temperature() * temperature), -1)
        chosen = action[:, :1] if places is None else (torch.from_numpy(places) == action[:, :1]).long().argmax(-1, keepdim=True)
        there = log_p.masked_fill(log_p == -torch.inf, 0.0)  # behind a part that is smaller than others: p log p is 0
        return log_p.gather(1, chosen).squeeze(1), -(log_p.exp() * there).sum(-1)

    def divergence(self, policy_output: Any, extra: Any, old_output: Any, old_extra: Any) -> Any:
        """As `Head.divergence`, over the whole set; one that is drawn anew is not known here, and refused."""
        if self.form[RESAMPLE] != NEVER:
            raise UserError(f"head {self.name!r} with resample = {self.chosen_options.resample} cannot be used with npg (allowed: never)")
        keys, features, warmth = np.zeros(len(policy_output), np.int64), self._features(), self._temperature()
        new, old = (
            (scores_of(self.form, output, own, features, keys)[0] / warmth).log_softmax(-1)
            for output, own in ((policy_output, extra), (old_output, old_extra))
        )
        return (old.exp() * (old - new)).sum(-1).mean()

    def _features(self) -> Any:
        import torch

        return torch.from_numpy(self._latents.features)


def _raised(reach: tuple[float, ...]) -> tuple[float, ...]:
    """By what each number of an observation is multiplied, so that none that has bounds is small only by its unit.

    `reach`: as `EnvSpec.observation_reach`. Without biases a state tower sees the direction of an observation, and of a number that is a
    tenth of another next to nothing. Numbers with large bounds stay as they are (bounds are seldom reached), and so do all where one has
    none, since how they compare is not known then.
    """
    known = bool(reach) and all(0.0 < one < math.inf for one in reach)
    return tuple(1.0 / min(one, 1.0) for one in reach) if known and min(reach) < 1.0 else ()
