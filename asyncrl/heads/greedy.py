"""The acting side of Greedy-AC and Greedy-TD3, head `greedy` (Neumann and others 2023, "Greedy Actor-Critic", arXiv 1810.09103).

    mu = tanh(first C outputs),  log sigma = the other C outputs, within +-ln 1000
    behaviour=policy    a = clip(mu + sigma * normal, -1, 1): Greedy-AC, which explores by its policy alone; --explore adds to it
    behaviour=noise     a = clip(mu + noise of --explore, -1, 1): Greedy-TD3, whose sigma serves learning alone

In an evaluation a = mu. `asyncrl.algos.greedy` learns it, and tells which of the sources is followed where they disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.fields import NOT_NEGATIVE, SHARE, Range, written
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.squashed import AFTER_TANH, MEAN_ALONE, ReplayHead

LOG_STD = (-math.log(1000.0), math.log(1000.0))
"""Within these lies the logarithm of the deviation, as in the authors' program."""


@dataclass(frozen=True)
class GreedyOptions(HeadOptions):
    """Options of the head greedy; its modules tell where paper and programs disagree."""

    behaviour: Literal["policy", "noise"] = "policy"
    """How actions explore: policy draws them from the Gaussian policy (Greedy-AC; without --explore no noise is added); noise adds
    that of --explore to the policy's mean, and has td3's targets (Greedy-TD3)."""
    samples: Annotated[int, Range(1, 1000, whole=True)] = 30
    """Actions that the proposal policy draws at each state of a batch, for the first critic to compare."""
    greedy_share: Annotated[float, SHARE] = 0.1
    """Share of them, those of the highest values, that both policies are drawn to; rounded down."""
    entropy_scale: Annotated[float, NOT_NEGATIVE] = 0.01
    """Weight of the proposal policy's entropy in its loss; 0 for none. The policy has none."""
    target_action: Literal["mean", "drawn"] = "mean"
    """Under behaviour=policy, what the target supposes to be done: the policy's mean, or an action that is drawn from it."""

    @property
    def chosen(self) -> int:
        """How many of the samples are those of the highest values."""
        return math.floor(written(self.greedy_share) * self.samples)

    def explore(self, usual: str) -> str:
        """Of a policy that draws its actions: no noise."""
        return "" if self.behaviour == "policy" else usual


class GreedyHead(ReplayHead):
    """The network gives mean [C] and log deviation [C] of a normal policy for each observation; actions are clipped, not squashed."""

    name: ClassVar[str] = "greedy"
    description: ClassVar[str] = "normal, drawn to the best of its actions (Greedy-AC, -TD3): Box with finite bounds"
    options_type: ClassVar[type[HeadOptions]] = GreedyOptions
    chosen_options: GreedyOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.REPLAY})
    learners: ClassVar[Mapping[str, str]] = {"td3": "greedy:Greedy"}
    noise: ClassVar[str] = "normal"
    log_std: ClassVar[tuple[float, float]] = LOG_STD

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        chosen = self.chosen_options
        if chosen.chosen < 1:
            raise UserError(
                f"greedy_share = {chosen.greedy_share:g} leaves none of samples = {chosen.samples} "
                f"(allowed: from 1/{chosen.samples}; or more samples)"
            )
        if chosen.target_action != "mean" and chosen.behaviour != "policy":
            raise UserError(f"target_action = {chosen.target_action} cannot be used with behaviour = {chosen.behaviour} (allowed: mean)")
        self.spread = AFTER_TANH if chosen.behaviour == "policy" else MEAN_ALONE
        self.policy_outputs = 2 * self.components
