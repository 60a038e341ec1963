"""Pusher-v5, as `gymnasium.envs.mujoco` has it: an arm that pushes an object to a goal, at little cost of control."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.engine import OWN, POSITION, SPEED, MujocoSimulator, advance, body, distance, squares, vector
from asyncrl.envs.compiled.simulator import simulating

TIPS, OBJECT, GOAL, WORDS = range(OWN, OWN + 4)
"""Positions in `words`: addresses of places [3] of bodies."""
NEAR, FAR, CONTROL_COST, NUMBERS = range(4)
"""Positions in `numbers`: the environment's weights."""
JOINTS = 7


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    place, speed = vector(words[POSITION], JOINTS), vector(words[SPEED], JOINTS)
    tips, thing, goal = vector(words[TIPS], 3), vector(words[OBJECT], 3), vector(words[GOAL], 3)
    advance(words, action)
    for i in range(JOINTS):
        observation[i], observation[JOINTS + i] = place[i], speed[i]
    for i in range(3):
        observation[2 * JOINTS + i] = tips[i]
        observation[2 * JOINTS + 3 + i], observation[2 * JOINTS + 6 + i] = thing[i], goal[i]
    effort = -squares(action) * np.float32(numbers[CONTROL_COST])
    near, far = -distance(thing, tips) * numbers[NEAR], -distance(thing, goal) * numbers[FAR]
    return far + np.float64(effort) + near, False


class Pusher(MujocoSimulator):
    """Its weights are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def describe(self, environment: Any) -> None:
        one = environment
        self.words[OWN:] = body(one, "tips_arm"), body(one, "object"), body(one, "goal")
        self.numbers[:] = one._reward_near_weight, one._reward_dist_weight, one._reward_control_weight
