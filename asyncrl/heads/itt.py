"""Implicit two-tower head: the action whose latent has the largest product with that of the state.

Seed 000, section 2.2: -E(s, a) = K(l_S(s), l_A(a)). The state tower l_S is the network below the head, the action tower l_A the head's
own parameters, so that latents of a fixed set are embedded once for each version of them (`asyncrl.heads.implicit.table`).

With one linear action layer the best of a box is a corner, whatever the state; and with one scalar index for a discrete action and
d = 1 only the first or the last choice can be the best: both follow from the source's sizes.

Under `q1`, `sarsa` and `nq` K is Q(s, a) itself: the source leaves that to future work.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.head import Floats, Head, Sums
from asyncrl.heads.implicit.form import RESAMPLE, SUBSET, scratch_of
from asyncrl.heads.implicit.head import ImplicitHead
from asyncrl.heads.implicit.index import INDICES
from asyncrl.heads.implicit.options import TwoTowerOptions
from asyncrl.heads.implicit.probabilities import all_values, value_gradient
from asyncrl.heads.implicit.sizes import Towers
from asyncrl.heads.implicit.stepping import whole_step
from asyncrl.heads.implicit.tensors import scores_of
from asyncrl.heads.keyed_numbers import LARGEST_PART
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import PART, TEMPERATURE, LossRows, RoundArrays


class TwoTowerHead(ImplicitHead):
    """K of state and action latents: their product, its exponential, or the angle between them. Own parameters: the action tower."""

    name: ClassVar[str] = "itt"
    roles: ClassVar[frozenset[Role]] = frozenset({Role.ACTOR_CRITIC, Role.ACTION_VALUES, Role.SEARCH})
    description: ClassVar[str] = "implicit, two towers: the best action of a set by latents of state and action"
    options_type: ClassVar[type[HeadOptions]] = TwoTowerOptions
    chosen_options: TwoTowerOptions
    selections: ClassVar[tuple[str, ...]] = ("brute", *INDICES)

    def towers(self) -> Towers:
        given, preset = self.chosen_options, self.sizes_of.preset
        layers = given.action_layers or (preset.action_layers if preset else 2)
        return Towers(given.energy, layers, 0, given.normalize_latents or given.energy == "angular")

    @classmethod
    def for_role(cls, role: Role) -> type[Head]:
        return TwoTowerValues if role is Role.ACTION_VALUES else cls


class TwoTowerValues(TwoTowerHead):
    """The kernel of two latents is the value of an action. The best one is taken but for epsilon; temperature means nothing.

    A worker with exploration `subset:N` takes the best of N actions that it draws anew at every transition. That is exploration alone,
    as epsilon is: the maximum in a target, and what is evaluated and exported, is that of the whole set, so Q is the value of one
    policy whatever N the workers have. (Seed 000, end of section 3, draws parts where an action is chosen, and has no targets. A
    maximum over a part would make Q the value of a policy that changes with N, and that nobody plays in the end.)
    """

    energy: ClassVar[str] = "-Q(s, a)"

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        if options.recurrent:
            raise UserError(f"recurrent {options.recurrent} does not go with action values, whose target network keeps no memory")
        super().__init__(spec, options)
        if self.stored > 1:
            given = self.chosen_options.resample
            raise UserError(f"resample = {given} cannot be used for action values (allowed: never, with --explore subset:N)")
        self.largest_part = min(self.places, LARGEST_PART)
        self._part_form = self.form.copy()
        self._part_form[RESAMPLE] = SUBSET
        self._part_scratch = scratch_of(self._part_form, self._work_size)
        self._d_latent = np.zeros((1, self.policy_outputs), np.float32)

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        rounds.knobs[TEMPERATURE] = 0.0
        if rounds.knobs[PART] > 0.0:
            self._look(self._part_form, self._part_scratch, rounds, vector, t)
        else:
            super().choose(rounds, vector, t)

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        of_all, arguments = super().light_kernel(plan, vector, r)
        of_part = whole_step(self._stepping(plan, vector, r, self._part_form, self._part_scratch, indexed=False), r.raw)

        def greedy(t: int) -> bool:
            r.knobs[TEMPERATURE] = 0.0
            return bool((of_part if r.knobs[PART] > 0.0 else of_all)(t))

        return greedy, arguments

    def output_gradient(self, rows: LossRows, vector: Floats, entropy_weight: float, gradient: Floats, temperature: float = 1.0) -> Sums:
        """As `Head.output_gradient`, of the chosen values; a choice that is greedy has no entropy, so its weight is not read."""
        own, features = self._own(vector), self._latents.features
        arrays = (rows.policy_output, rows.d_policy, rows.action, rows.log_prob_weight)
        rest = (self._d_latent, self._d_own, self._scratch)
        total = self._chosen(own, lambda latents: value_gradient(self.form, own, arrays, features, latents, *rest))
        gradient[gradient.size - self.extra_size :] = self._d_own
        return total, 0.0

    def values(self, policy_output: Floats, vector: Floats, out: Floats) -> Floats:
        own = self._own(vector)
        self._chosen(own, lambda latents: all_values(self.form, own, policy_output, latents, self._scratch, out))
        return out

    def chosen(self, policy_output: Any, extra: Any, action: Any) -> Any:
        keys = np.zeros(len(policy_output), np.int64)
        return scores_of(self.form, policy_output, extra, self._features(), keys)[0].gather(1, action[:, :1]).squeeze(1)
