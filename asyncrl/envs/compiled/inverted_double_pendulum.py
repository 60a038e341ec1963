"""InvertedDoublePendulum-v5, as `gymnasium.envs.mujoco` has it: the tip high above the middle, and slow."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from asyncrl.envs.compiled.arithmetic import TWO, clipped, power
from asyncrl.envs.compiled.engine import OWN, POSITION, POSITIONS, SPEED, SPEEDS, MujocoSimulator, advance, vector
from asyncrl.envs.compiled.simulator import simulating

TIP, FORCE, WORDS = range(OWN, OWN + 3)
"""Positions in `words`: addresses of the tip's place [3], and of the forces of constraints."""
HEALTHY, SQUARE, NUMBERS = range(3)
"""Positions in `numbers`: the reward of a step above the fall, the exponent 2."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    place, speed = vector(words[POSITION], words[POSITIONS]), vector(words[SPEED], words[SPEEDS])
    tip, force, two = vector(words[TIP], 3), vector(words[FORCE], 1), numbers[SQUARE]
    advance(words, action)
    angles = place.size - 1
    observation[0] = place[0]
    for i in range(angles):
        observation[1 + i] = math.sin(place[1 + i])
        observation[1 + angles + i] = math.cos(place[1 + i])
    for i in range(speed.size):
        observation[1 + 2 * angles + i] = clipped(speed[i], -10.0, 10.0)
    observation[1 + 2 * angles + speed.size] = clipped(force[0], -10.0, 10.0)
    fell = tip[2] <= 1
    far = 0.01 * power(tip[0], two) + power(tip[2] - 2, two)
    fast = 1e-3 * power(speed[1], two) + 5e-3 * power(speed[2], two)
    return (0.0 if fell else numbers[HEALTHY]) - far - fast, fell


class InvertedDoublePendulum(MujocoSimulator):
    """Its reward for a step is read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def describe(self, environment: Any) -> None:
        data = environment.data
        self.words[OWN:] = data.site_xpos.ctypes.data, data.qfrc_constraint.ctypes.data
        self.numbers[:] = environment._healthy_reward, TWO
