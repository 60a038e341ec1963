"""Ant-v5, as `gymnasium.envs.mujoco` has it: forward speed, as long as the body is neither low nor high, at a cost of contacts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.arithmetic import clipped
from asyncrl.envs.compiled.engine import (
    OWN,
    POSITION,
    POSITIONS,
    SPEED,
    SPEEDS,
    MujocoSimulator,
    advance,
    body,
    observe,
    squares,
    vector,
)
from asyncrl.envs.compiled.simulator import simulating

HIDDEN, TERMINATES, SHOWS_FORCES, TORSO, FORCES, FORCE_COUNT, WORDS = range(OWN, OWN + 7)
"""Positions in `words`: how many positions an observation leaves out, whether an unhealthy state ends an episode, whether contacts are
observed; addresses of the main body's place and of the forces [bodies * 6], and how many numbers these are."""
TIME, FORWARD, CONTROL_COST, CONTACT_COST, HEALTHY, LOW, HIGH, LEAST, MOST, NUMBERS = range(10)
"""Positions in `numbers`: seconds of a step, the environment's weights, healthy heights, bounds of forces; then the forces within them."""


@simulating
def _healthy(words, numbers):  # type: ignore[no-untyped-def]
    place, speed = vector(words[POSITION], words[POSITIONS]), vector(words[SPEED], words[SPEEDS])
    healthy = numbers[LOW] <= place[2] <= numbers[HIGH]
    for i in range(place.size):
        healthy = healthy and np.isfinite(place[i])
    for i in range(speed.size):
        healthy = healthy and np.isfinite(speed[i])
    return healthy


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    torso, forces = vector(words[TORSO], 1), vector(words[FORCES], words[FORCE_COUNT])
    before = torso[0]
    advance(words, action)
    pace = (torso[0] - before) / numbers[TIME]
    shown, felt = observe(words, words[HIDDEN], np.inf, observation), numbers[NUMBERS:]
    for i in range(forces.size):
        felt[i] = clipped(forces[i], numbers[LEAST], numbers[MOST])
    if words[SHOWS_FORCES]:
        for i in range(6, forces.size):  # the first body is the world
            observation[shown + i - 6] = felt[i]
    healthy = _healthy(words, numbers)
    effort = np.float64(np.float32(numbers[CONTROL_COST]) * squares(action))
    costs = effort + numbers[CONTACT_COST] * squares(felt)
    return (pace * numbers[FORWARD] + (numbers[HEALTHY] if healthy else 0.0)) - costs, bool(words[TERMINATES]) and not healthy


class Ant(MujocoSimulator):
    """Its weights, and what counts as healthy, are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, WORDS, NUMBERS + environment.data.cfrc_ext.size)

    def describe(self, environment: Any) -> None:
        one, forces = environment, environment.data.cfrc_ext
        shown = 2 * bool(one._exclude_current_positions_from_observation), bool(one._terminate_when_unhealthy)
        contacts = bool(one._include_cfrc_ext_in_observation), body(one, one._main_body), forces.ctypes.data, forces.size
        self.words[OWN:] = (*shown, *contacts)
        weights = one.dt, one._forward_reward_weight, one._ctrl_cost_weight, one._contact_cost_weight, one._healthy_reward
        self.numbers[:NUMBERS] = (*weights, *one._healthy_z_range, *one._contact_force_range)
