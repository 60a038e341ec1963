"""Hopper and Walker2d, as `gymnasium.envs.mujoco` has them (-v5, -v4): forward speed, as long as the body stands."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.engine import OWN, POSITION, POSITIONS, SPEED, SPEEDS, MujocoSimulator, observe, squares, travel, vector
from asyncrl.envs.compiled.simulator import simulating

HIDDEN, TERMINATES, ALWAYS_REWARDED, WORDS = range(OWN, OWN + 4)
"""Positions in `words`: how many positions an observation leaves out; whether falling ends an episode; and whether the reward for standing
is given in the step of the fall too (-v4)."""
TIME, FORWARD, CONTROL_COST, HEALTHY, LOW, HIGH, LEFT, RIGHT, LEAST, MOST, NUMBERS = range(11)
"""Positions in `numbers`: seconds of a step, the environment's weights, and what counts as standing: height, angle, other numbers."""


@simulating
def _stands(words, numbers):  # type: ignore[no-untyped-def]
    place, speed = vector(words[POSITION], words[POSITIONS]), vector(words[SPEED], words[SPEEDS])
    sound = numbers[LOW] < place[1] < numbers[HIGH] and numbers[LEFT] < place[2] < numbers[RIGHT]
    if numbers[LEAST] == -np.inf and numbers[MOST] == np.inf:
        return sound
    for i in range(2, place.size):
        sound = sound and numbers[LEAST] < place[i] < numbers[MOST]
    for i in range(speed.size):
        sound = sound and numbers[LEAST] < speed[i] < numbers[MOST]
    return sound


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    pace = travel(words, action) / numbers[TIME]
    observe(words, words[HIDDEN], 10.0, observation)
    stands = _stands(words, numbers)
    standing = numbers[HEALTHY] if stands or words[ALWAYS_REWARDED] else 0.0
    cost = np.float32(numbers[CONTROL_COST]) * squares(action)
    return (numbers[FORWARD] * pace + standing) - np.float64(cost), bool(words[TERMINATES]) and not stands


class Hopper(MujocoSimulator):
    """What counts as standing is read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS)

    def describe(self, environment: Any) -> None:
        one = environment
        ends = bool(one._terminate_when_unhealthy)
        self.words[OWN:] = bool(one._exclude_current_positions_from_observation), ends, ends and type(one).__module__.endswith("_v4")
        weights = one.dt, one._forward_reward_weight, one._ctrl_cost_weight, one._healthy_reward
        self.numbers[:] = (*weights, *one._healthy_z_range, *one._healthy_angle_range, *getattr(one, "_healthy_state_range", _ANY))


_ANY = (-np.inf, np.inf)
