"""The base class of heads that propose K actions at a step, of which the first critic picks one.

Actors propose within [-1, 1]: components of a Box, or features of a Discrete space's choices (`items`). C counts either.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.head import Floats
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.proposing.items import Items, features_of
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.heads.proposing.picking import MOST_ITEMS
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import RoundArrays
from asyncrl.heads.squashed import ReplayHead
from asyncrl.shared.arrays import Layout

PROPOSALS, FOUND = "proposals", "items"
"""What is stored beside the action: b [K, C], and of items the nearest one to each [K]."""


class ProposingHead(ReplayHead):
    """Subclasses have kernels of their own, which end with `asyncrl.heads.proposing.picking.decide`.

    kernels    `choose` and a whole step, compiled: what both take first is `own`
    actors     K, proposals of a step
    items      of a Discrete space; None of a Box
    choices    what `decide` takes of them
    """

    options_type: ClassVar[type[HeadOptions]] = ProposingOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.REPLAY})
    action_kinds: ClassVar[tuple[str, ...]] = ("box", "discrete")
    acts_with_critic: ClassVar[bool] = True

    kernels: ClassVar[tuple[Any, Any]]

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        """Raises UserError for a Discrete space whose features are not told, or do not match."""
        super().__init__(spec, options)
        self._observation_size = spec.observation_size
        self.takes_noise = True
        self.actors, self.hidden = self.proposed(self.chosen_options), options.hidden or (256, 256)
        self.items = None if spec.action_kind == "box" else Items(self.name, spec, self.chosen_options)
        self.one_call = self.items is None
        if self.items is None and self.chosen_options.search != "exact":
            raise UserError(f"search = {self.chosen_options.search} cannot be used with Box actions: they are no items (leave it out)")
        self.components = self.learnt_size(spec, self.chosen_options)
        self.policy_outputs = self.outputs_each * self.components
        beside = self.stored_beside(spec, self.chosen_options)
        self.stored = self.components + sum(math.prod(shape) for shape, _ in beside.values()) + int(self.items is not None)
        self.noises = self.components
        if self.items is not None and len(self.items.features) > MOST_ITEMS:
            raise UserError(f"{len(self.items.features):,} actions cannot be used by head {self.name!r} (allowed: up to {MOST_ITEMS:,})")
        self.critic_plan = make_plan(spec.observation_size + self.components, self.hidden, 1, "relu", POLICY_ALONE)
        none = (np.zeros((0, self.components), np.float32), np.zeros(0, np.float32))
        self.choices = none if self.items is None else (self.items.features, self.items.half_squares)

    @classmethod
    def learnt_size(cls, spec: EnvSpec, chosen: Any) -> int:
        return spec.action_size if spec.action_kind == "box" else features_of(spec, chosen)

    @classmethod
    def proposed(cls, chosen: Any) -> int:
        """K under these options."""
        raise NotImplementedError

    @classmethod
    def stored_beside(cls, spec: EnvSpec, chosen: Any) -> Layout:
        actors = cls.proposed(chosen)
        found: Layout = {} if spec.action_kind == "box" else {FOUND: ((actors,), np.float32)}
        return {PROPOSALS: ((actors, cls.learnt_size(spec, chosen)), np.float32), **found}

    def deciding_scratch(self) -> Layout:
        """The last part of a `workspace`: what `decide` works in."""
        pair, rows = self.components + self._observation_size, -(-self.actors // 3) * 3  # the critic is asked about three at a time
        widest = max(*self.hidden, pair)
        return {
            "candidates": ((self.actors, self.components), np.float32),
            "pairs": ((rows, pair), np.float32),
            "critic_work": ((2, 3, widest), np.float32),
            "used": ((widest,), np.int64),
            "values": ((rows, 1), np.float32),
        }

    def own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        """What the kernels take first, which is the same at every step."""
        raise NotImplementedError

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        r, scratch, (choose, _) = rounds, tuple(rounds.scratch.values()), self.kernels
        own = self.own(vector, r)
        choose(*own, r.observation[t], r.policy_output, r.noise[:, t], r.extra_noise[t], scratch, r.action[t], r.bounded[t])

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        inputs = (r.work, r.normaliser, r.raw, r.observation, r.policy_output, r.noise, r.extra_noise)
        return self.kernels[1], (plan, self.own(vector, r), *inputs, tuple(r.scratch.values()), r.action, r.bounded)

    def environment_action(self, rounds: RoundArrays, t: int, e: int) -> Any:
        if self.items is None:
            return super().environment_action(rounds, t, e)
        return self._actions.number(int(rounds.action[t, e, -1]))
