"""Asynchronous one-step Sarsa (Mnih and others 2016, section 4): on-policy, of the action that is really taken next.

    y_t = r_t + gamma * Q^-(s_{t+1}, a_{t+1})        (r_t where s_{t+1} is terminal)

with the target network Q^-. The action after a rollout's last step is chosen at its end, and the next round begins with it.
Where an episode was truncated no action follows; there a_{t+1} is drawn as it would have been had the episode gone on: by the
worker's own Q at the final observation, and by its epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.learners.estimators import one_step_targets, taken_values
from asyncrl.learners.hyperparameters import ValueOptions
from asyncrl.learners.value_targets import ActionValueTargets


@dataclass(frozen=True)
class SarsaOptions(ValueOptions):
    """Options of one-step Sarsa."""


class Sarsa(ActionValueTargets):
    """The targets of one-step Sarsa."""

    commits = True

    @staticmethod
    def next_value(
        judged: NDArray[np.float32], picked_by: NDArray[np.float32], next_action: NDArray[np.int64], out: NDArray[np.float32]
    ) -> None:
        """Write out[M] = Q^-(s', a'); judged[M, A] = Q^-(s', .), next_action[M] = a'."""
        taken_values(judged, next_action, out)

    @staticmethod
    def targets(
        reward: NDArray[np.float32], ended: NDArray[np.uint8], next_value: NDArray[np.float32], gamma: float, out: NDArray[np.float32]
    ) -> None:
        """Write out[T, E] = y; next_value[T, E] of the true successor: of the final observation where ended is 2 (truncated)."""
        one_step_targets(reward, ended, next_value, gamma, out)
