"""The one thing that travels from acting to learning: T steps of E environments, time-major, of fixed shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.shared.arrays import Layout

GOES_ON, TERMINATED, TRUNCATED = 0, 1, 2
"""Values of `Trajectory.ended`: what the step led to."""


@dataclass
class Trajectory:
    """T steps of E environments. Step t leads from observation[t] by action[t] to reward[t] and observation[t + 1].

    observation        [T+1, E, *shape]  as the policy sees them (normalised where that is on); where an episode ended at
                       step t, observation[t + 1] is the first of the next one
    action             [T, E, C]         int64 choices, or float32 before bounding; [T+1, E, C] where the actor commits itself to
                       the action after the last step (Sarsa)
    reward             [T, E]            float32, scaled for learning
    ended              [T, E]            uint8: GOES_ON, TERMINATED or TRUNCATED
    final_observation  [T, E, *shape]    the true successor, set only where TRUNCATED: its value is the bootstrap
    memory             [2, E, H]         a recurrent policy's state before step 0 (H = 0 without)
    version            what version of the parameters acted
    temperature, epsilon   of the worker's exploration, in this round
    final_action       [T, E, C]         where the actor commits itself: the action that would have followed final_observation, set only
                       where TRUNCATED
    """

    observation: NDArray[Any]
    action: NDArray[Any]
    reward: NDArray[np.float32]
    ended: NDArray[np.uint8]
    final_observation: NDArray[Any]
    memory: NDArray[np.float32]
    version: int = 0
    temperature: float = 1.0
    epsilon: float = 0.0
    final_action: NDArray[Any] | None = None

    @staticmethod
    def layout(steps: int, envs: int, observation: tuple[tuple[int, ...], DTypeLike], action: tuple[int, DTypeLike], memory: int) -> Layout:
        """Arrays for T = `steps` and E = `envs`; `observation`: (shape, dtype), `action`: (components, dtype)."""
        shape, dtype = observation
        return {
            "observation": ((steps + 1, envs, *shape), dtype),
            "action": ((steps, envs, action[0]), action[1]),
            "reward": ((steps, envs), np.float32),
            "ended": ((steps, envs), np.uint8),
            "final_observation": ((steps, envs, *shape), dtype),
            "memory": ((2, envs, memory), np.float32),
        }

    @classmethod
    def over(cls, arrays: Mapping[str, NDArray[Any]]) -> Trajectory:
        """A trajectory over arrays of that layout (private ones, or a slot of a ring)."""
        fields: dict[str, Any] = dict(arrays)
        return cls(**fields)

    @classmethod
    def empty(cls, layout: Layout) -> Trajectory:
        """A private one, zeroed."""
        return cls.over({name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()})
