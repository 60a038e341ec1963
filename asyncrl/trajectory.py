"""What actors hand to learners: T steps of E environments, time-major, in arrays of fixed shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.shared.arrays import Layout

GOES_ON, TERMINATED, TRUNCATED = 0, 1, 2
"""Values of `Trajectory.ended`: whether the episode continues after the step, and how it ended otherwise."""


@dataclass
class Trajectory:
    """T steps of E environments. Step t leads from observation[t] by action[t] to reward[t] and observation[t + 1].

    observation        [T+1, E, *shape]  as the policy sees them (normalised, if that is on); if an episode ended at
                       step t, observation[t + 1] is the first of the next episode; where it is TERMINATED by a lost life, the game's
                       next
    action             [T, E, C]         int64 choices, or float32 before they are clipped or squashed to the bounds, or what the
                       head keeps instead of C components (`Head.stored`); [T+1, E, C] for algorithms that choose the action after
                       the last step already (Sarsa)
    reward             [T, E]            float32, scaled for learning
    ended              [T, E]            uint8: GOES_ON, TERMINATED or TRUNCATED
    final_observation  [T, E, *shape]    the observation after a truncated step, from which the return is bootstrapped; set only
                       where TRUNCATED
    memory             [2, E, H]         a recurrent policy's state before step 0 (H = 0 for others)
    version            version of the parameters that acted
    temperature, epsilon   of the worker's exploration in this round
    final_action       [T, E, C]         for algorithms that choose the next action already: the action after final_observation,
                       set only where TRUNCATED
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
        """Layout for T = `steps` and E = `envs`; `observation`: (shape, dtype), `action`: (C, dtype), `memory`: H."""
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
        """A trajectory that uses the given arrays of that layout (private ones, or a slot of a ring)."""
        fields: dict[str, Any] = dict(arrays)
        return cls(**fields)

    @classmethod
    def empty(cls, layout: Layout) -> Trajectory:
        """A trajectory with zeroed arrays in this process's own memory."""
        return cls.over({name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()})
