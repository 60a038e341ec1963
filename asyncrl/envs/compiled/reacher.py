"""Reacher-v5, as `gymnasium.envs.mujoco` has it: a fingertip that comes near a target, at little cost of control."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.engine import OWN, POSITION, POSITIONS, SPEED, MujocoSimulator, advance, body, distance, squares, vector
from asyncrl.envs.compiled.simulator import simulating

FINGERTIP, TARGET, WORDS = range(OWN, OWN + 3)
"""Positions in `words`: addresses of places [3] of bodies."""
NEAR, CONTROL_COST, NUMBERS = range(3)
"""Positions in `numbers`: the environment's weights."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    place, speed = vector(words[POSITION], words[POSITIONS]), vector(words[SPEED], 2)
    tip, target = vector(words[FINGERTIP], 3), vector(words[TARGET], 3)
    advance(words, action)
    for i in range(2):
        observation[i], observation[2 + i] = math.cos(place[i]), math.sin(place[i])
        observation[2 + place.size + i] = speed[i]
        observation[4 + place.size + i] = tip[i] - target[i]
    for i in range(2, place.size):
        observation[2 + i] = place[i]
    effort = -squares(action) * np.float32(numbers[CONTROL_COST])
    return -distance(tip, target) * numbers[NEAR] + np.float64(effort), False


class Reacher(MujocoSimulator):
    """Its weights are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def describe(self, environment: Any) -> None:
        self.words[OWN:] = body(environment, "fingertip"), body(environment, "target")
        self.numbers[:] = environment._reward_dist_weight, environment._reward_control_weight
