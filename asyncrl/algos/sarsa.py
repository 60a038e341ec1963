"""Asynchronous one-step Sarsa (Mnih and others 2016, section 4): on-policy, of the action that is really taken next.

    y_t = r_t + gamma * Q^-(s_{t+1}, a_{t+1})        (r_t where s_{t+1} is terminal)

with the target network Q^-. The action after a rollout's last step is chosen at its end, and the next round begins with it.
Where an episode was truncated no action follows; there a_{t+1} is drawn as it would have been had the episode gone on: by the
worker's own Q at the final observation, and by its epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncrl.algos.q1 import targets
from asyncrl.algos.values import ValueOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SarsaOptions", "next_value", "targets"]


@dataclass(frozen=True)
class SarsaOptions(ValueOptions):
    """Options of one-step Sarsa."""


def next_value(
    judged: NDArray[np.float32], picked_by: NDArray[np.float32], next_action: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Write out[M] = Q^-(s', a'); judged[M, A] = Q^-(s', .), next_action[M] = a'."""
    from asyncrl.algos.estimators import taken_values

    taken_values(judged, next_action, out)
