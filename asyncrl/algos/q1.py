"""Asynchronous one-step Q-learning (Mnih and others 2016, Algorithm S1): off-policy, whatever action comes next.

    y_t = r_t + gamma * max over a of Q^-(s_{t+1}, a)        (r_t where s_{t+1} is terminal)

with the target network Q^-. With `double` the worker's own Q picks the action and Q^- judges it (van Hasselt and others 2016):

    y_t = r_t + gamma * Q^-(s_{t+1}, argmax over a of Q(s_{t+1}, a))

What it has in common with Sarsa and n-step Q-learning is in `asyncrl.learners.value_gradients`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.learners.estimators import best_values, one_step_targets
from asyncrl.learners.hyperparameters import ValueOptions
from asyncrl.learners.value_targets import ActionValueTargets


@dataclass(frozen=True)
class Q1Options(ValueOptions):
    """Options of one-step Q-learning."""

    double: bool = False
    """Double Q-learning: the worker's own values pick the next action, the target network's judge it."""


class Q1(ActionValueTargets):
    """The targets of one-step Q-learning."""

    @staticmethod
    def next_value(
        judged: NDArray[np.float32], picked_by: NDArray[np.float32], next_action: NDArray[np.int64], out: NDArray[np.float32]
    ) -> None:
        """Write out[M] = Q^-(s', argmax over a of picked_by); judged[M, A] = Q^-(s', .), picked_by[M, A] the same or Q(s', .)."""
        best_values(judged, picked_by, out)

    @staticmethod
    def targets(
        reward: NDArray[np.float32], ended: NDArray[np.uint8], next_value: NDArray[np.float32], gamma: float, out: NDArray[np.float32]
    ) -> None:
        """Write out[T, E] = y; next_value[T, E] of the true successor: of the final observation where ended is 2 (truncated)."""
        one_step_targets(reward, ended, next_value, gamma, out)
