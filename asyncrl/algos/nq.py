"""Asynchronous n-step Q-learning (Mnih and others 2016, Algorithm S2): the longest return that the rollout allows.

    R_t = r_t + gamma * R_{t+1}        begun behind the rollout's last step with max over a of Q^-(s, a)

and y_t = R_t, with the target network Q^-; an end of an episode begins a new R: with 0 at a terminal state, with the
bootstrap of the final observation where the episode was truncated. `double` as in `asyncrl.algos.q1`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos.q1 import Q1, Q1Options
from asyncrl.learners.estimators import n_step_targets


@dataclass(frozen=True)
class NqOptions(Q1Options):
    """Options of n-step Q-learning. `t_max` is the longest return too: the actions that epsilon chose are part of it."""


class Nq(Q1):
    """The targets of n-step Q-learning."""

    at_cuts_only = True

    @staticmethod
    def targets(
        reward: NDArray[np.float32], ended: NDArray[np.uint8], next_value: NDArray[np.float32], gamma: float, out: NDArray[np.float32]
    ) -> None:
        """Write out[T, E] = R; next_value[T, E] is read at the last step and where ended is 2 (truncated)."""
        n_step_targets(reward, ended, next_value, gamma, out)
