"""Acrobot, as `gymnasium.envs.classic_control.acrobot` has it: four steps of Runge and Kutta over `dt`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.arithmetic import TWO, power
from asyncrl.envs.compiled.simulator import Simulator, simulating

FIRST_MASS, SECOND_MASS, FIRST_LENGTH, FIRST_CENTRE, SECOND_CENTRE, INERTIA, TIME_STEP, FIRST_MOST, SECOND_MOST, SQUARE = range(4, 14)
TORQUES, NUMBERS = 14, 17
"""Positions in `numbers`: the state, two angles and their speeds, comes first; then the environment's attributes, the exponent 2."""


@simulating
def _slope(numbers, nips, angle, other, speed, other_speed, torque):  # type: ignore[no-untyped-def]
    """Derivatives (speed, other speed, acceleration, other acceleration) of the two angles."""
    m1, m2, l1, c1, c2 = numbers[FIRST_MASS], numbers[SECOND_MASS], numbers[FIRST_LENGTH], numbers[FIRST_CENTRE], numbers[SECOND_CENTRE]
    inertia, two = numbers[INERTIA], numbers[SQUARE]
    d1 = m1 * power(c1, two) + m2 * (power(l1, two) + power(c2, two) + 2 * l1 * c2 * np.cos(other)) + inertia + inertia
    d2 = m2 * (power(c2, two) + l1 * c2 * np.cos(other)) + inertia
    phi2 = m2 * c2 * 9.8 * np.cos(angle + other - math.pi / 2.0)
    whirl = -m2 * l1 * c2 * power(other_speed, two) * np.sin(other) - 2 * m2 * l1 * c2 * other_speed * speed * np.sin(other)
    phi1 = whirl + (m1 * c1 + m2 * l1) * 9.8 * np.cos(angle - math.pi / 2) + phi2
    if nips:
        other_pull = torque + d2 / d1 * phi1 - phi2
    else:
        other_pull = torque + d2 / d1 * phi1 - m2 * l1 * c2 * power(speed, two) * np.sin(other) - phi2
    other_pull = other_pull / (m2 * power(c2, two) + inertia - power(d2, two) / d1)
    return speed, other_speed, -(d2 * other_pull + phi1) / d1, other_pull


@simulating
def _turned(angle):  # type: ignore[no-untyped-def]
    """The same angle between -pi and pi."""
    while angle > math.pi:
        angle = angle - 2 * math.pi
    while angle < -math.pi:
        angle = angle + 2 * math.pi
    return angle


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    torque, whole = numbers[TORQUES + int(action[0])], numbers[TIME_STEP]
    half, nips = whole / 2.0, words[0] != 0
    a, b, c, d = numbers[0], numbers[1], numbers[2], numbers[3]
    k1 = _slope(numbers, nips, a, b, c, d, torque)
    k2 = _slope(numbers, nips, a + half * k1[0], b + half * k1[1], c + half * k1[2], d + half * k1[3], torque)
    k3 = _slope(numbers, nips, a + half * k2[0], b + half * k2[1], c + half * k2[2], d + half * k2[3], torque)
    k4 = _slope(numbers, nips, a + whole * k3[0], b + whole * k3[1], c + whole * k3[2], d + whole * k3[3], torque)
    for i in range(4):
        numbers[i] = numbers[i] + whole / 6.0 * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i])
    a, b = _turned(numbers[0]), _turned(numbers[1])
    c = min(max(numbers[2], -numbers[FIRST_MOST]), numbers[FIRST_MOST])
    d = min(max(numbers[3], -numbers[SECOND_MOST]), numbers[SECOND_MOST])
    numbers[0], numbers[1], numbers[2], numbers[3] = a, b, c, d
    observation[0], observation[1], observation[2], observation[3] = np.cos(a), np.sin(a), np.cos(b), np.sin(b)
    observation[4], observation[5] = c, d
    up = -np.cos(a) - np.cos(b + a) > 1.0
    return (0.0 if up else -1.0), up


class Acrobot(Simulator):
    """Its masses, lengths, torques, and which equations it goes by (`book_or_nips`), are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, 1, NUMBERS)

    @classmethod
    def why_not(cls, environment: Any) -> str | None:
        if environment.torque_noise_max > 0 or len(environment.AVAIL_TORQUE) != NUMBERS - TORQUES:
            return "its torques are noisy, or not three"
        return None

    def adopt(self) -> None:
        one = self.environment
        body = one.LINK_MASS_1, one.LINK_MASS_2, one.LINK_LENGTH_1, one.LINK_COM_POS_1, one.LINK_COM_POS_2, one.LINK_MOI
        self.numbers[:] = (*one.state, *body, one.dt, one.MAX_VEL_1, one.MAX_VEL_2, TWO, *one.AVAIL_TORQUE)
        self.words[0] = one.book_or_nips == "nips"

    def settle(self) -> None:
        self.environment.state = self.numbers[:4].copy()
