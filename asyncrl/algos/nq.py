"""Asynchronous n-step Q-learning (Mnih and others 2016, Algorithm S2): the longest return that the rollout allows.

    R_t = r_t + gamma * R_{t+1}        begun behind the rollout's last step with max over a of Q^-(s, a)

and y_t = R_t, with the target network Q^-; an end of an episode begins a new R: with 0 at a terminal state, with the
bootstrap of the final observation where the episode was truncated. `double` as in `asyncrl.algos.q1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncrl.algos.q1 import Q1Options, next_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["NqOptions", "next_value", "targets"]


@dataclass(frozen=True)
class NqOptions(Q1Options):
    """Options of n-step Q-learning. `t_max` is the longest return too: the actions that epsilon chose are part of it."""


def targets(
    reward: NDArray[np.float32], ended: NDArray[np.uint8], next_value: NDArray[np.float32], gamma: float, out: NDArray[np.float32]
) -> None:
    """Write out[T, E] = R; next_value[T, E] is read at the last step and where ended is 2 (truncated)."""
    from asyncrl.algos.estimators import n_step_targets

    n_step_targets(reward, ended, next_value, gamma, out)
