"""Actions that an actor has chosen before the round in which it takes them, as Sarsa asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.choosing import choosing
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import RoundArrays

NOTHING = -1
"""Stands for an action where none has been chosen ahead."""


class Commitment:
    """The action after a round's last step is chosen at the round's end, and the next round begins with it.

    action   [E, C] int64, what the next round begins with; NOTHING where it chooses as usual
    """

    def __init__(self, policy: Policy, dense: NDArray[np.float32], rounds: RoundArrays, generator: np.random.Generator):
        """`dense`, `rounds`: what the actor acts with; `rounds` has room for one action after the last step."""
        self.action = np.full(rounds.action.shape[1:], NOTHING, np.int64)
        self._rounds, self._policy, self._generator = rounds, policy, generator
        # Arrays for one observation, which is acted on with the actor's own parameters, exploration and normaliser.
        self._aside = policy.round_arrays(1, 1)
        self._aside.knobs, self._aside.normaliser = rounds.knobs, rounds.normaliser
        self._choose_aside = choosing(policy, dense, self._aside)

    def begin_round(self) -> None:
        """Take the actions instead of those that have just been chosen for step 0."""
        np.copyto(self._rounds.action[0], self.action, where=self.action != NOTHING)

    def end_round(self) -> None:
        """Keep what has been chosen after the last step."""
        self.action[:] = self._rounds.action[-1]

    def would_follow(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The action [C] that the policy draws at an observation as an environment gave it, with random numbers of its own."""
        aside = self._aside
        aside.raw[0, 0] = raw
        self._policy.head.draw(self._generator, aside)
        self._choose_aside(0)
        action: NDArray[Any] = aside.action[0, 0]
        return action
