"""HalfCheetah and Swimmer, as `gymnasium.envs.mujoco` has them (-v5, -v4): forward speed less the cost of control."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.engine import OWN, MujocoSimulator, observe, squares, travel
from asyncrl.envs.compiled.simulator import simulating

HIDDEN, WORDS = OWN, OWN + 1
"""Position in `words`: how many positions an observation leaves out."""
TIME, FORWARD, CONTROL_COST, NUMBERS = range(4)
"""Positions in `numbers`: seconds of a step, and the environment's weights."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    pace = travel(words, action) / numbers[TIME]
    observe(words, words[HIDDEN], np.inf, observation)
    cost = np.float32(numbers[CONTROL_COST]) * squares(action)
    return numbers[FORWARD] * pace - np.float64(cost), False


class HalfCheetah(MujocoSimulator):
    """An observation leaves out x."""

    simulate: ClassVar[Any] = _simulate
    hidden: ClassVar[int] = 1
    """Positions that an observation leaves out by default."""

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def describe(self, environment: Any) -> None:
        one = environment
        self.words[HIDDEN] = self.hidden * bool(one._exclude_current_positions_from_observation)
        self.numbers[:] = one.dt, one._forward_reward_weight, one._ctrl_cost_weight


class Swimmer(HalfCheetah):
    """An observation leaves out x and y."""

    hidden: ClassVar[int] = 2
