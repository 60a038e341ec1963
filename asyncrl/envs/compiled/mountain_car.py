"""MountainCar, as `gymnasium.envs.classic_control.mountain_car` has it."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from asyncrl.envs.compiled.simulator import Simulator, simulating

POSITION, SPEED, LEFT, RIGHT, MOST_SPEED, GOAL, GOAL_SPEED, FORCE, GRAVITY, NUMBERS = range(10)
"""Positions in `numbers`: the state, and the environment's attributes."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    position, speed = numbers[POSITION], numbers[SPEED]
    speed += (action[0] - 1.0) * numbers[FORCE] + math.cos(3 * position) * (-numbers[GRAVITY])
    speed = min(max(speed, -numbers[MOST_SPEED]), numbers[MOST_SPEED])
    position = min(max(position + speed, numbers[LEFT]), numbers[RIGHT])
    if position == numbers[LEFT] and speed < 0:
        speed = 0.0
    numbers[POSITION], numbers[SPEED] = position, speed
    observation[0], observation[1] = position, speed
    return -1.0, position >= numbers[GOAL] and speed >= numbers[GOAL_SPEED]


class MountainCar(Simulator):
    """Its limits, force and gravity are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, 0, NUMBERS)

    def adopt(self) -> None:
        one = self.environment
        goal = one.goal_position, one.goal_velocity
        self.numbers[:] = (*one.state, one.min_position, one.max_position, one.max_speed, *goal, one.force, one.gravity)

    def settle(self) -> None:
        self.environment.state = self.numbers[POSITION], self.numbers[SPEED]
