"""What stands for an actor where environments are stepped: arrays to write to, and actions from a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from asyncrl.envs.stepping import Chooser, StepArrays


def arrays_of(spec: Any, steps: int, envs: int, filled: float = 0.0) -> StepArrays:
    """Of a round; `filled`: with what stepping never writes, so that an array that is left alone is seen."""
    shape = spec.observation_shape
    arrays = StepArrays(
        observation=np.zeros((steps + 1, envs, *shape), spec.observation_dtype),
        reward=np.zeros((steps, envs)),
        ended=np.full((steps, envs), 99, np.uint8),
        final_observation=np.zeros((steps, envs, *shape), spec.observation_dtype),
    )
    for array in (arrays.observation, arrays.reward, arrays.final_observation):
        array[...] = filled
    return arrays


@njit(nogil=True)
def _take(given, action, bounded, t):  # type: ignore[no-untyped-def]
    action[t] = given[t]
    bounded[t] = given[t]
    return True


class Table:
    """Actions [T, E, C] for a chooser, in Python by `action_for` and in compiled code."""

    def __init__(self, spec: Any, steps: int, envs: int) -> None:
        self.actions = np.zeros((steps, envs, spec.action_size))
        self.discrete, self.action_for = spec.action_kind == "discrete", self._from_table
        action, bounded = np.zeros(self.actions.shape, np.int64), np.zeros(self.actions.shape, np.float32)
        arguments = (self.actions, action, bounded)
        self.chooser = Chooser(lambda t: True, lambda t, e: self.action_for(t, e), _take, arguments, action, bounded)

    def _from_table(self, t: int, e: int) -> Any:
        return np.int64(self.actions[t, e, 0]) if self.discrete else self.actions[t, e].astype(np.float32)
