"""HumanoidStandup-v5, as `gymnasium.envs.mujoco` has it: the height of the body, at a cost of control and of impacts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.arithmetic import clipped
from asyncrl.envs.compiled.engine import ACTUATORS, CONTROL, POSITION, MujocoSimulator, advance, observe, squares, vector
from asyncrl.envs.compiled.humanoid import BLOCKS, FORCE_COUNT, FORCES, HIDDEN, MOST_BLOCKS, PARTS, observed_blocks, show_blocks
from asyncrl.envs.compiled.simulator import simulating

TIME, CONTROL_COST, IMPACT_COST, LEAST, MOST, NUMBERS = range(6)
"""Positions in `numbers`: seconds of a step of MuJoCo's, the environment's weights, bounds of the cost of impacts. In `words` what both
humanoids have is at the same places."""


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    place, control, forces = vector(words[POSITION], 3), vector(words[CONTROL], words[ACTUATORS]), vector(words[FORCES], words[FORCE_COUNT])
    advance(words, action)
    show_blocks(words, observation, observe(words, words[HIDDEN], np.inf, observation))
    impact = clipped(numbers[IMPACT_COST] * squares(forces), numbers[LEAST], numbers[MOST])
    return place[2] / numbers[TIME] - numbers[CONTROL_COST] * squares(control) - impact + 1, False


class HumanoidStandup(MujocoSimulator):
    """Its weights and what is observed are read from the environment. (Its `uph_cost_weight` has no effect there, nor here.)"""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, BLOCKS + 2 * MOST_BLOCKS, NUMBERS)

    def describe(self, environment: Any) -> None:
        one, forces, blocks = environment, environment.data.cfrc_ext, observed_blocks(environment)
        self.words[HIDDEN], self.words[PARTS] = 2 * bool(one._exclude_current_positions_from_observation), len(blocks) // 2
        self.words[FORCES], self.words[FORCE_COUNT] = forces.ctypes.data, forces.size
        self.words[BLOCKS : BLOCKS + len(blocks)] = blocks
        weights = one.model.opt.timestep, one._ctrl_cost_weight, one._impact_cost_weight
        self.numbers[:] = (*weights, *one._impact_cost_range)
