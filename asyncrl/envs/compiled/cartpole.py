"""CartPole, as `gymnasium.envs.classic_control.cartpole` has it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.draws import uniform
from asyncrl.envs.compiled.simulator import Simulator, simulating

STATE, GRAVITY, TOTAL_MASS, POLE_MASS, LENGTH, POLE_MASS_LENGTH, FORCE, TAU, X_LIMIT, ANGLE_LIMIT, NUMBERS = 0, *range(4, 14)
"""Positions in `numbers`: x, its speed, the angle, its speed; then the environment's attributes."""
SUTTON_BARTO, SEMI_IMPLICIT, FELL, WORDS = range(4)
"""Positions in `words`; FELL: whether the pole has fallen."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    x, x_speed, angle, angle_speed = numbers[0], numbers[1], numbers[2], numbers[3]
    mass, length, tau = numbers[TOTAL_MASS], numbers[LENGTH], numbers[TAU]
    force = numbers[FORCE] if action[0] == 1 else -numbers[FORCE]
    cosine, sine = np.cos(angle), np.sin(angle)
    push = (force + numbers[POLE_MASS_LENGTH] * (angle_speed * angle_speed) * sine) / mass
    turn = (numbers[GRAVITY] * sine - cosine * push) / (length * (4.0 / 3.0 - numbers[POLE_MASS] * (cosine * cosine) / mass))
    pull = push - numbers[POLE_MASS_LENGTH] * turn * cosine / mass
    if words[SEMI_IMPLICIT]:
        x_speed, angle_speed = x_speed + tau * pull, angle_speed + tau * turn
        x, angle = x + tau * x_speed, angle + tau * angle_speed
    else:
        x, angle = x + tau * x_speed, angle + tau * angle_speed
        x_speed, angle_speed = x_speed + tau * pull, angle_speed + tau * turn
    numbers[0], numbers[1], numbers[2], numbers[3] = x, x_speed, angle, angle_speed
    for i in range(4):
        observation[i] = numbers[i]
    fell = abs(x) > numbers[X_LIMIT] or abs(angle) > numbers[ANGLE_LIMIT]
    words[FELL] = fell
    if words[SUTTON_BARTO]:
        return (-1.0 if fell else 0.0), fell
    return 1.0, fell


@simulating
def _begin(words, numbers, draws, observation):  # type: ignore[no-untyped-def]
    for i in range(4):
        numbers[i] = uniform(draws, -0.05, 0.05)
        observation[i] = numbers[i]
    words[FELL] = False
    return True


class CartPole(Simulator):
    """Its masses, lengths, limits and way to integrate are read from the environment."""

    simulate: ClassVar[Any] = _simulate
    begin: ClassVar[Any] = _begin

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def adopt(self) -> None:
        one = self.environment
        mass = one.gravity, one.total_mass, one.masspole, one.length, one.polemass_length
        self.numbers[:] = (*one.state, *mass, one.force_mag, one.tau, one.x_threshold, one.theta_threshold_radians)
        self.words[:] = one._sutton_barto_reward, one.kinematics_integrator != "euler", one.steps_beyond_terminated is not None

    def settle(self) -> None:
        self.environment.state = self.numbers[:4].copy()
        self.environment.steps_beyond_terminated = 0 if self.words[FELL] else None
