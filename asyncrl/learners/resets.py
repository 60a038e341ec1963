"""Resets of a learner's networks, as Nikishin and others (2022, "The primacy bias in deep reinforcement learning") have them.

After every so many updates the networks begin anew, and the replay stays: what was learned first weighs no more than what came later.
`full` is all networks, their targets and Adam's statistics; `last-layer` the output layers of policy and critics and of their targets,
with Adam's statistics as they are, as SAVO's authors' program has it (seed 002, appendix; Nikishin and others begin those anew too).
What networks begin with depends on (seed, updates) alone, so that a resumed run and a learner's successor have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncrl.learners.off_policy import OffPolicyLearner, OffPolicyOptions
from asyncrl.learners.updater import draws

PURPOSE = 0x4EA
"""What the random numbers are for: part of their key."""


class Resets:
    """When a learner begins anew, and with which seed."""

    def __init__(self, options: OffPolicyOptions, seed: int, make: Callable[[int], OffPolicyLearner]):
        """`make`: a fresh learner of a seed."""
        self._every, self._wholly = options.reset_every, options.reset == "full"
        self._seed, self._make = seed, make

    def before(self, updates: int, learner: OffPolicyLearner) -> None:
        """Let the learner begin anew, where that is due before the update of this number, counted from 0."""
        if self._every and updates and updates % self._every == 0:
            learner.renew(self._make(self._seed_at(updates)), self._wholly)

    def seed_after(self, updates: int) -> int:
        """The seed of a learner that has made so many updates: the run's, or that of the newest full reset."""
        resets = (updates - 1) // self._every if self._every and self._wholly and updates else 0
        return self._seed_at(resets * self._every) if resets else self._seed

    def _seed_at(self, updates: int) -> int:
        return int(draws(self._seed, PURPOSE, updates).integers(2**63))
