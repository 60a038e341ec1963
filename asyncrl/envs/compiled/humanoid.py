"""Humanoid-v5, as `gymnasium.envs.mujoco` has it: forward speed of the centre of mass, as long as the body stands."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.compiled.arithmetic import clipped
from asyncrl.envs.compiled.engine import ACTUATORS, CONTROL, OWN, POSITION, MujocoSimulator, advance, observe, squares, vector
from asyncrl.envs.compiled.simulator import simulating

HIDDEN, TERMINATES, CENTRES, MASSES, BODIES, PARTS, FORCES, FORCE_COUNT, BLOCKS = range(OWN, OWN + 9)
"""Positions in `words`: how many positions an observation leaves out, whether a fall ends an episode; addresses of the bodies' centres
[bodies, 3] and masses, and how many; how many blocks of numbers an observation ends with; the address of the forces of contacts, and how
many numbers these are; from BLOCKS on of each block address and size."""
TIME, FORWARD, CONTROL_COST, CONTACT_COST, HEALTHY, LOW, HIGH, LEAST, MOST, MASS, NUMBERS = range(11)
"""Positions in `numbers`: seconds of a step, the environment's weights, heights at which it stands, bounds of the cost of contacts, the sum
of the masses."""
MOST_BLOCKS = 4


@simulating
def show_blocks(words, observation, at):  # type: ignore[no-untyped-def]
    """Write the blocks of words[W] to observation[D] from `at` on."""
    for k in range(words[PARTS]):
        block = vector(words[BLOCKS + 2 * k], words[BLOCKS + 2 * k + 1])
        for i in range(block.size):
            observation[at + i] = block[i]
        at += block.size


@simulating
def _centre(words, numbers):  # type: ignore[no-untyped-def]
    """x of the centre of mass."""
    centres, masses, total = vector(words[CENTRES], 3 * words[BODIES]), vector(words[MASSES], words[BODIES]), 0.0
    for k in range(masses.size):
        total += masses[k] * centres[3 * k]
    return total / numbers[MASS]


@simulating
def _simulate(words, numbers, action, observation):  # type: ignore[no-untyped-def]
    place, control, forces = vector(words[POSITION], 3), vector(words[CONTROL], words[ACTUATORS]), vector(words[FORCES], words[FORCE_COUNT])
    before = _centre(words, numbers)
    advance(words, action)
    pace = (_centre(words, numbers) - before) / numbers[TIME]
    show_blocks(words, observation, observe(words, words[HIDDEN], np.inf, observation))
    stands = numbers[LOW] < place[2] < numbers[HIGH]
    contacts = clipped(numbers[CONTACT_COST] * squares(forces), numbers[LEAST], numbers[MOST])
    costs = numbers[CONTROL_COST] * squares(control) + contacts
    return (numbers[FORWARD] * pace + (numbers[HEALTHY] if stands else 0.0)) - costs, bool(words[TERMINATES]) and not stands


def observed_blocks(environment: Any) -> list[int]:
    """Address and size of each block of numbers with which an observation ends, as the environment was told to show them.

    The first body is the world, and the first six actuator forces are those of the root: they are left out.
    """
    one, data = environment, environment.data
    blocks = (
        (one._include_cinert_in_observation, data.cinert, 10),
        (one._include_cvel_in_observation, data.cvel, 6),
        (one._include_qfrc_actuator_in_observation, data.qfrc_actuator, 6),
        (one._include_cfrc_ext_in_observation, data.cfrc_ext, 6),
    )
    return [word for shown, array, start in blocks if shown is True for word in (array.ctypes.data + 8 * start, array.size - start)]


class Humanoid(MujocoSimulator):
    """Its weights, what counts as standing, and what is observed, are read from the environment."""

    simulate: ClassVar[Any] = _simulate

    def __init__(self, environment: Any):
        super().__init__(environment, BLOCKS + 2 * MOST_BLOCKS, NUMBERS)

    def describe(self, environment: Any) -> None:
        one, model, data = environment, environment.model, environment.data
        blocks = observed_blocks(one)
        bodies = data.xipos.ctypes.data, model.body_mass.ctypes.data, model.nbody
        hidden = 2 * bool(one._exclude_current_positions_from_observation)
        forces = data.cfrc_ext.ctypes.data, data.cfrc_ext.size
        self.words[OWN:BLOCKS] = (hidden, bool(one._terminate_when_unhealthy), *bodies, len(blocks) // 2, *forces)
        self.words[BLOCKS : BLOCKS + len(blocks)] = blocks
        weights = one.dt, one._forward_reward_weight, one._ctrl_cost_weight, one._contact_cost_weight, one._healthy_reward
        mass = np.sum(np.expand_dims(model.body_mass, axis=1))
        self.numbers[:] = (*weights, *one._healthy_z_range, *one._contact_cost_range, mass)
