"""Pendulum, as `gymnasium.envs.classic_control.pendulum` has it.

The torque is float32 there, and so is what is made of it alone; the rest is float64.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.arithmetic import TWO, power
from asyncrl.envs.compiled.simulator import Simulator, simulating

ANGLE, SPEED, GRAVITY, MASS, LENGTH, TIME_STEP, MOST_SPEED, MOST_TORQUE, SQUARE, TORQUE, NUMBERS = range(11)
"""Positions in `numbers`: the state, the environment's attributes, the exponent 2, the last torque."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    angle, speed, gravity, mass, length = numbers[ANGLE], numbers[SPEED], numbers[GRAVITY], numbers[MASS], numbers[LENGTH]
    most, two = np.float32(numbers[MOST_TORQUE]), numbers[SQUARE]
    torque = min(max(action[0], -most), most)
    numbers[TORQUE] = torque
    tilt = ((angle + math.pi) % (2 * math.pi)) - math.pi
    effort = np.float32(0.001) * power(torque, np.float32(two))
    cost = power(tilt, two) + 0.1 * power(speed, two) + np.float64(effort)
    pull, push = 3 * gravity / (2 * length) * np.sin(angle), np.float32(3.0 / (mass * power(length, two))) * torque
    speed = speed + (pull + np.float64(push)) * numbers[TIME_STEP]
    speed = min(max(speed, -numbers[MOST_SPEED]), numbers[MOST_SPEED])
    angle = angle + speed * numbers[TIME_STEP]
    numbers[ANGLE], numbers[SPEED] = angle, speed
    observation[0], observation[1], observation[2] = np.cos(angle), np.sin(angle), speed
    return -cost, False


class Pendulum(Simulator):
    """Its gravity, mass, length and limits are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, 0, NUMBERS)

    def adopt(self) -> None:
        one = self.environment
        torque = 0.0 if one.last_u is None else one.last_u
        self.numbers[:] = (*one.state, one.g, one.m, one.l, one.dt, one.max_speed, one.max_torque, TWO, torque)

    def settle(self) -> None:
        self.environment.state = self.numbers[:2].copy()
        self.environment.last_u = np.float32(self.numbers[TORQUE])
