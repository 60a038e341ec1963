"""MountainCar, as `gymnasium.envs.classic_control.mountain_car` has it."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.draws import uniform
from asyncrl.envs.compiled.simulator import Simulator, simulating

POSITION, SPEED, LEFT, RIGHT, MOST_SPEED, GOAL, GOAL_SPEED, FORCE, GRAVITY, NUMBERS = range(10)
"""Positions in `numbers`: the state, and the environment's attributes."""
MOVED, WORDS = range(2)
"""Positions in `words`; MOVED: whether a step was made since the reset."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    position, speed = numbers[POSITION], numbers[SPEED]
    speed += (action[0] - 1.0) * numbers[FORCE] + math.cos(3 * position) * (-numbers[GRAVITY])
    speed = min(max(speed, -numbers[MOST_SPEED]), numbers[MOST_SPEED])
    words[MOVED] = 1
    position = min(max(position + speed, numbers[LEFT]), numbers[RIGHT])
    if position == numbers[LEFT] and speed < 0:
        speed = 0.0
    numbers[POSITION], numbers[SPEED] = position, speed
    observation[0], observation[1] = position, speed
    return -1.0, position >= numbers[GOAL] and speed >= numbers[GOAL_SPEED]


@simulating
def begin_at_rest(words, numbers, draws, observation):  # type: ignore[no-untyped-def]
    """`Simulator.begin` of both cars, whose words[MOVED] and numbers[POSITION], numbers[SPEED] lie at the same places."""
    numbers[POSITION], numbers[SPEED] = uniform(draws, -0.6, -0.4), 0.0
    observation[0], observation[1] = numbers[POSITION], numbers[SPEED]
    words[MOVED] = 0
    return True


class MountainCar(Simulator):
    """Its limits, force and gravity are read from the environment."""

    simulate: ClassVar[Any] = _simulate
    begin: ClassVar[Any] = begin_at_rest

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def adopt(self) -> None:
        one = self.environment
        goal = one.goal_position, one.goal_velocity
        self.numbers[:] = (*one.state, one.min_position, one.max_position, one.max_speed, *goal, one.force, one.gravity)
        self.words[MOVED] = isinstance(one.state, tuple)

    def settle(self) -> None:
        state = self.numbers[POSITION], self.numbers[SPEED]
        self.environment.state = state if self.words[MOVED] else np.array(state)
