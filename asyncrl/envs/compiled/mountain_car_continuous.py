"""MountainCarContinuous, as `gymnasium.envs.classic_control.continuous_mountain_car` has it.

The state is float64 after a reset and float32 after every step; a force is float32, and a number of Python's where it was clipped. By
numpy's rules that decides in which type each operation is made.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.mountain_car import begin_at_rest
from asyncrl.envs.compiled.simulator import Simulator, simulating

POSITION, SPEED, LEFT, RIGHT, MOST_SPEED, GOAL, GOAL_SPEED, LEAST, MOST, POWER, NUMBERS = range(11)
"""Positions in `numbers`: the state, and the environment's attributes."""
MOVED, WORDS = range(2)
"""Positions in `words`; MOVED: whether a step was made since the reset."""


@simulating
def _first(numbers, force):  # type: ignore[no-untyped-def]
    """The state (position, speed, arrived) after the first step, in float64."""
    least, most = np.float32(numbers[LEAST]), np.float32(numbers[MOST])
    hill = 0.0025 * math.cos(3 * numbers[POSITION])
    if force < least or force > most:
        push = np.float64(min(max(force, least), most)) * numbers[POWER] - hill
    else:
        push = np.float64(np.float32(force * np.float32(numbers[POWER])) - np.float32(hill))
    speed = min(max(numbers[SPEED] + push, -numbers[MOST_SPEED]), numbers[MOST_SPEED])
    position = max(min(numbers[POSITION] + speed, numbers[RIGHT]), numbers[LEFT])
    if position == numbers[LEFT] and speed < 0:
        speed = 0.0
    return position, speed, position >= numbers[GOAL] and speed >= numbers[GOAL_SPEED]


@simulating
def _later(numbers, force):  # type: ignore[no-untyped-def]
    """The same after any other step, in float32."""
    least, most, top = np.float32(numbers[LEAST]), np.float32(numbers[MOST]), np.float32(numbers[MOST_SPEED])
    left, right = np.float32(numbers[LEFT]), np.float32(numbers[RIGHT])
    position, speed = np.float32(numbers[POSITION]), np.float32(numbers[SPEED])
    hill = 0.0025 * math.cos(np.float64(np.float32(3.0) * position))
    if force < least or force > most:
        push = np.float32(np.float64(min(max(force, least), most)) * numbers[POWER] - hill)
    else:
        push = force * np.float32(numbers[POWER]) - np.float32(hill)
    speed = min(max(speed + push, -top), top)
    position = max(min(position + speed, right), left)
    if position == left and speed < 0:
        speed = np.float32(0.0)
    arrived = position >= np.float32(numbers[GOAL]) and speed >= np.float32(numbers[GOAL_SPEED])
    return np.float64(position), np.float64(speed), arrived


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    force = action[0]
    position, speed, arrived = _later(numbers, force) if words[MOVED] else _first(numbers, force)
    words[MOVED] = 1
    observation[0], observation[1] = position, speed
    numbers[POSITION], numbers[SPEED] = observation[0], observation[1]
    return (100.0 if arrived else 0.0) - np.float64(force) * np.float64(force) * 0.1, arrived


class MountainCarContinuous(Simulator):
    """Its limits and power are read from the environment."""

    simulate: ClassVar[Any] = _simulate
    begin: ClassVar[Any] = begin_at_rest

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def adopt(self) -> None:
        one = self.environment
        goal, force = (one.goal_position, one.goal_velocity), (one.min_action, one.max_action, one.power)
        self.numbers[:] = (*one.state, one.min_position, one.max_position, one.max_speed, *goal, *force)
        self.words[MOVED] = one.state.dtype == np.float32

    def settle(self) -> None:
        self.environment.state = self.numbers[:2].astype(np.float32 if self.words[MOVED] else np.float64)
