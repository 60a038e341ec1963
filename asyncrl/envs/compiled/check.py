"""Whether a simulator gives what its environment gives, to the last bit: looked at before every run, on this machine and these versions.

Sines differ from one processor to the next, packages change. So nobody keeps a list of what was tried: two environments are played
side by side for a moment, and where they differ the run takes the environment itself.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from asyncrl.envs.compiled.draws import addresses
from asyncrl.envs.compiled.registry import begins, simulator_of
from asyncrl.envs.faults import raised
from asyncrl.envs.spec import EnvSpec
from asyncrl.shared.calling import STEPPED, address_of

Environment = gymnasium.Env[Any, Any]
STEPS = 200
"""Of the comparison: enough for episodes to end, and for a difference in the last bit to grow; some milliseconds."""


def first_difference(one: Environment, other: Environment, spec: EnvSpec, steps: int = STEPS, seed: int = 0) -> str | None:
    """Where a simulator of `one` differs from `other`, which was made like it; None if nowhere in so many steps of random actions.

    Both are reset. Their time limits are left alone. Raises EnvironmentFault where `other` raises, what Numba raises for a simulator that
    cannot be compiled, and TypeError for one that returns something else.
    """
    generator, seeds = np.random.default_rng(seed), iter(range(seed, seed + steps + 1))
    here, there = one.unwrapped, other.unwrapped
    simulator = simulator_of(one)
    seen, chosen = np.zeros(spec.observation_shape, spec.observation_dtype), np.zeros(spec.action_size, np.float32)
    address_of(type(simulator).simulate, (simulator.words, simulator.numbers, chosen, seen), STEPPED)
    by_itself = begins(one)
    other.action_space.seed(seed)
    over = True
    for t in range(steps):
        if over and t and by_itself:
            draws = np.array(addresses(here.np_random))
            type(simulator).begin(simulator.words, simulator.numbers, draws, seen)
            if not np.array_equal(seen, there.reset()[0]):
                return f"observation of the reset at step {t}"
        elif over:
            begin = next(seeds)
            seen[:], _ = here.reset(seed=begin)
            there.reset(seed=begin)
            simulator.adopt()
        action = other.action_space.sample() if generator.random() < 0.5 else _extreme(other.action_space, generator)
        try:
            expected = there.step(action)
        except Exception as error:
            raise raised("step", error) from error
        chosen[:] = np.asarray(action, np.float32).reshape(-1) - np.float32(spec.action_start[0] if spec.action_start else 0)
        reward, over = type(simulator).simulate(simulator.words, simulator.numbers, chosen, seen)
        if not np.array_equal(seen, np.asarray(expected[0], seen.dtype), equal_nan=True):
            return f"observation at step {t}"
        if reward != float(expected[1]) or over != bool(expected[2]):
            return f"reward or end at step {t}"
    return None


def _extreme(space: Any, generator: np.random.Generator) -> Any:
    """A bound of each component of a Box; of other spaces any action."""
    if not isinstance(space, gymnasium.spaces.Box):
        return space.sample()
    low, high = np.maximum(space.low, -1e3), np.minimum(space.high, 1e3)
    return np.where(generator.random(space.shape) < 0.5, low, high).astype(space.dtype)
