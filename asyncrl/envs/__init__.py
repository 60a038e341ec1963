"""Environments: making them from an id or a function, describing and checking them, sending them to processes, saving them."""

from asyncrl.envs.checked import CheckedEnvironment, checked_reset
from asyncrl.envs.closing import closed_environments
from asyncrl.envs.faults import EnvironmentFault, observation_fault, reward_fault
from asyncrl.envs.generators import (
    kept_generators,
    load_generators,
    own_generators,
    save_generators,
    seed_generators,
    seed_process,
    take_generators,
)
from asyncrl.envs.make import EnvSource, make_env, ship, unship
from asyncrl.envs.spec import EnvSpec, spec_of
from asyncrl.envs.state import load_state, save_state, why_not
from asyncrl.envs.stepping import GymnasiumStepping

__all__ = [
    "CheckedEnvironment",
    "EnvSource",
    "EnvSpec",
    "EnvironmentFault",
    "GymnasiumStepping",
    "checked_reset",
    "closed_environments",
    "kept_generators",
    "load_generators",
    "load_state",
    "make_env",
    "observation_fault",
    "own_generators",
    "reward_fault",
    "save_generators",
    "save_state",
    "seed_generators",
    "seed_process",
    "ship",
    "spec_of",
    "take_generators",
    "unship",
    "why_not",
]
