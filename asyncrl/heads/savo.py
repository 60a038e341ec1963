"""The acting side of SAVO, head `savo` (seed 002, arXiv 2410.11833): K actors in turn propose actions, the critic picks one.

    a_i  = nu_i(s; a_0 .. a_(i-1))            each told those before it, as they are without noise
    b_i  = clip(a_i + noise_i, -1, 1)         every proposal has noise of its own, the first too
    a    = the b_j of which the first critic says most, Q1(s, b_j); in an evaluation, of the a_i

Of a Discrete space actors propose features, and what the critic is asked about are the items that are nearest to the b_i; there actors
are told the b_0 .. b_(i-1), with their noise. Stored with a transition are a and all b_i, and of items the nearest ones.
`asyncrl.algos.savo` learns them. Under sac actors are Gaussian: `asyncrl.heads.soft_savo`.

Where the paper (v1) and its authors' program disagree:
    noise on the action that was picked     none, as in the program; the paper has it besides: explore_on=both (or chosen). Of items the
                                            program can take any one: exploration epsilon, as with every algorithm
    what actors are told while exploring    proposals without noise, of items with it, as in the program
    pooling of the summary                  the mean, as in the paper; the program takes the largest: pooling=max
    what summarises                         a DeepSet, the default of both; summariser=lstm|transformer are the paper's other two
    how actors are told                     each hidden layer is modulated, and the network's input is the observation alone, as in the
                                            program; 1 is added to the factor, which the program lacks. The paper's appendix F.1 has the
                                            summary in the input: told=input, without modulation its ablation
    who summarises                          each actor and each surrogate has a network of its own for that, as in the program
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.fields import COUNT, Range
from asyncrl.heads import soft_savo
from asyncrl.heads.head import Floats, Head
from asyncrl.heads.networks.following import CellSizes
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan, policy_forward, vector_size
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.proposing.cascade import proposed
from asyncrl.heads.proposing.head import ProposingHead
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.heads.proposing.picking import decide, disturbed, nearest
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import ALONE, EPSILON, RoundArrays
from asyncrl.heads.squashed import BEFORE_TANH
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit


@dataclass(frozen=True)
class SavoOptions(ProposingOptions):
    """Options of the head savo; its modules tell where paper and program disagree."""

    n_actors: Annotated[int, Range(1, 100, whole=True)] = 3
    """Actors in all, of which each is told what those before it propose; 1 is td3 without target smoothing, or sac."""
    told: Literal["modulation", "input", "nothing"] = "modulation"
    """How actors and surrogates are told the proposals before them: hidden layers are modulated by their summary (FiLM), the summary is
    part of the input, or not at all."""
    surrogates: Literal["fitted", "exact", "none"] = "fitted"
    """What actors after the first ascend: surrogates that are networks; what these are fitted to, the larger of the critic and its value
    at the best proposal before; or the critic, as the first actor (with told=nothing an ensemble of actors)."""
    explore_on: Literal["proposals", "chosen", "both"] = "proposals"
    """What action noise is added to under td3: every proposal before the critic picks one, the one that it picked, or both (of a Box).
    Under sac it is added to what is executed."""
    surrogate_points: Literal["stored", "fresh"] = "stored"
    """Where surrogates are fitted: at the proposals and the action of the transition, or at those of the present actors."""
    surrogate_values: Literal["target", "online"] = "target"
    """Whose values they are fitted to: the smaller of the critics' targets', or of the critics themselves."""
    target_choice: Literal["target", "online"] = "target"
    """Which first critic picks among proposals in the target: the one that follows, or the one that learns."""
    summariser: Literal["deepset", "lstm", "transformer"] = "deepset"
    """What summarises a list of proposals of any length: each by itself, then pooled; an LSTM in both directions; or attention."""
    pooling: Literal["mean", "max"] = "mean"
    """How a deepset pools: by the mean over the elements, or the largest of each number. The others take the mean."""
    summary: Annotated[int, COUNT] = 16
    """Numbers of a summary."""
    summary_units: Annotated[int, COUNT] = 64
    """Units of the hidden layers of the networks that summarise."""

    def check_role(self, role: Role, algo: str) -> None:
        if self.pooling != "mean" and self.summariser != "deepset":
            raise UserError(f"pooling = {self.pooling} cannot be used with summariser = {self.summariser} (allowed: mean)")
        if role is not Role.SOFT_REPLAY:
            return
        if self.explore_on != "proposals":
            raise UserError(f"explore_on = {self.explore_on} cannot be used with {algo} (leave it out: noise is added to what is executed)")
        if self.catalogue:
            raise UserError(f"catalogue cannot be used with {algo} (leave it out: savo serves Box actions there)")

    def cell(self, sizes: tuple[int, int], inputs: int, hidden: tuple[int, ...], outputs: int) -> CellSizes:
        """Of a network that is told proposals, for sizes (observation, action)."""
        how, longest = (self.pooling, self.told, self.summariser), max(self.n_actors - 1, 1)
        return CellSizes(*sizes, inputs, hidden, outputs, self.summary_units, self.summary, *how, longest)


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(plans, vector, starts, explores, items, bounds, knobs, observation, first, noise, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[E, stored] and of a Box bounded[E, C]: see the module, and `asyncrl.heads.proposing.picking`. first[E, C]: outputs.

    With probability epsilon (noise[1, e, last] below it) all proposals are uniform and the first of them is taken: so are actions.
    """
    proposals, cell_work, found = scratch[0], scratch[1], scratch[2]
    told_noise = items[0].shape[0] > 0
    on_proposals, on_chosen = explores
    actors, components = proposals.shape
    for e in range(action.shape[0]):
        uniform = noise[1, e, noise.shape[2] - 1] < knobs[EPSILON]
        here, draws, extra = observation[e : e + 1], noise[1, e], extra_noise[e]
        proposed(plans[0], vector, starts[0], here, first[e], told_noise, extra, proposals, proposals, cell_work)
        after = components * (1 + actors)
        stored = action[e, components:after]
        disturbed(proposals, extra, draws, uniform, on_proposals and not told_noise, stored)
        noisy, critic, own = stored.reshape(actors, components), vector[starts[1] :], extra[actors * components :]
        if told_noise:
            nearest(*items, noisy, found)
            action[e, after : after + actors] = found
        draw = draws[actors * components]
        rest = (knobs[ALONE] > 0, draw, own, scratch[3:], action[e], bounded[e])
        decide(plans[1], critic, here[0], items, found, noisy, bounds, on_chosen, uniform, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, own, work, normaliser, raw, observation, policy_output, noise, extra, scratch, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, own[1], observation[t], work, policy_output)
    _choose(*own, observation[t], policy_output, noise[:, t], extra[t], scratch, action[t], bounded[t])
    return sound


class SavoHead(ProposingHead):
    """The network below it is the first actor; its own parameters are the cells of the others, each as `CellSizes` says."""

    name: ClassVar[str] = "savo"
    description: ClassVar[str] = "successive actors propose, the critic picks (SAVO): finite Box; by td3 Discrete too"
    can_play_alone: ClassVar[bool] = True
    kernels: ClassVar[tuple[Any, Any]] = (_choose, _act)
    options_type: ClassVar[type[HeadOptions]] = SavoOptions
    chosen_options: SavoOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.REPLAY, Role.SOFT_REPLAY})
    learners: ClassVar[Mapping[str, str]] = {"td3": "savo:Savo", "sac": "soft_savo:SoftSavo"}

    @classmethod
    def for_role(cls, role: Role) -> type[Head]:
        return SoftSavoHead if role is Role.SOFT_REPLAY else cls

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        chosen, inputs = self.chosen_options, spec.observation_size
        if self.items is not None and chosen.explore_on != "proposals":
            raise UserError(f"explore_on = {chosen.explore_on} cannot be used with Discrete actions (allowed: proposals)")
        self.cell = chosen.cell((inputs, self.components), inputs, self.hidden, self.policy_outputs)
        self.noises = self.components * (self.actors + 1)
        self.extra_size = (self.actors - 1) * self.cell.size
        first = vector_size(make_plan(inputs, self.hidden, self.policy_outputs, "relu", POLICY_ALONE))
        self._starts = (first, first + self.extra_size)
        self._explores = (chosen.explore_on != "chosen", chosen.explore_on != "proposals")

    @classmethod
    def proposed(cls, chosen: SavoOptions) -> int:
        return chosen.n_actors

    def workspace(self, envs: int) -> Layout:
        return {
            "proposals": ((self.actors, self.components), np.float32),
            "cell_work": ((4, 1, self.cell.widest), np.float32),
            "found": ((self.actors,), np.int64),
            **self.deciding_scratch(),
        }

    def own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        plans = (self.cell.plan, self.critic_plan)
        return plans, vector, self._starts, self._explores, self.choices, self.bounds, r.knobs


class SoftSavoHead(SavoHead):
    """Every actor is Gaussian, outputs are means [C] and log deviations [C]: `asyncrl.heads.soft_savo`."""

    action_kinds: ClassVar[tuple[str, ...]] = ("box",)
    spread = BEFORE_TANH
    noise: ClassVar[str] = "normal"
    kernels: ClassVar[tuple[Any, Any]] = (soft_savo.choose, soft_savo.act)

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self.noises = self.components * self.actors

    def workspace(self, envs: int) -> Layout:
        scratch = super().workspace(envs)
        used = ("proposals", "cell_work", "pairs", "critic_work", "used", "values")
        return {"outputs": ((self.actors, self.policy_outputs), np.float32), **{name: scratch[name] for name in used}}

    def own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        return (self.cell.plan, self.critic_plan), vector, self._starts, (self.spread, self.log_std), self.bounds, r.knobs
