"""InvertedPendulum, as `gymnasium.envs.mujoco` has it (-v5, -v4): 1 for every step, until the pole leans too far."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.engine import OWN, POSITION, POSITIONS, SPEED, SPEEDS, MujocoSimulator, advance, observe, vector
from asyncrl.envs.compiled.simulator import simulating

ALWAYS_REWARDED, WORDS = OWN, OWN + 1
"""Position in `words`: whether the last step is rewarded too (-v4)."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    place, speed = vector(words[POSITION], words[POSITIONS]), vector(words[SPEED], words[SPEEDS])
    advance(words, action)
    observe(words, 0, np.inf, observation)
    fell = abs(place[1]) > 0.2
    for i in range(place.size):
        fell = fell or not np.isfinite(place[i])
    for i in range(speed.size):
        fell = fell or not np.isfinite(speed[i])
    return (0.0 if fell and not words[ALWAYS_REWARDED] else 1.0), fell


class InvertedPendulum(MujocoSimulator):
    """It has no weights."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, 0)

    def describe(self, environment: Any) -> None:
        self.words[ALWAYS_REWARDED] = type(environment).__module__.endswith("_v4")
