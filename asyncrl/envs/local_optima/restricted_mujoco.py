"""MuJoCo's tasks with restricted actions: `asyncrl/RestrictedHopper-v0` and its kin (seed 002, appendix C.3.1)."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv  # raises DependencyNotInstalled where MuJoCo is missing

from asyncrl.envs.local_optima.restricted import Restriction, spheres_for, substitute_of
from asyncrl.envs.local_optima.spheres import CODES_SEED
from asyncrl.errors import unknown

TASKS = {
    "InvertedPendulum": ("inverted_pendulum", "InvertedPendulumEnv", "minus_one"),
    "InvertedDoublePendulum": ("inverted_double_pendulum", "InvertedDoublePendulumEnv", "minus_one"),
    "Hopper": ("hopper", "HopperEnv", "zeros"),
    "Walker2d": ("walker2d", "Walker2dEnv", "zeros"),
    "HalfCheetah": ("half_cheetah", "HalfCheetahEnv", "zeros"),
    "Ant": ("ant", "AntEnv", "zeros"),
}
"""For each task gymnasium's module and class, and what is simulated for an invalid action. For pendulums doing nothing is often best,
so that zeros would be a gift."""
SIMULATORS = ("v5", "v4")


def restricted_mujoco(
    task: str,
    difficulty: str = "code",
    simulator: str = "v5",
    n_spheres: int | None = None,
    radius: float | None = None,
    seed: int = CODES_SEED,
    invalid: str | None = None,
    invalid_reward: float | None = None,
    first_step_free: bool = False,
    **more: Any,
) -> gymnasium.Env[Any, Any]:
    """A task of gymnasium's in which invalid actions are simulated as zeros or, of pendulums, as a force of -1 in the model's units.

    All else is the task's own: a cost of controls is that of the action which was asked for. `info["valid_action"]` says whether
    the action was valid.

    task            one of TASKS
    difficulty      "code": the research code's spheres, in which most actions are valid; "hard", "harder": smaller ones
    simulator       "v5"; or "v4", with which the paper's figures were made: other observations and rewards, see gymnasium
    invalid         None: as TASKS says; "zeros" or "minus_one"
    n_spheres, radius, seed, invalid_reward, first_step_free     as for `RestrictedAction`: the paper leaves the reward of an
                    invalid action alone (None), the research code makes it -10.0 and allows a pendulum's first action
    more            arguments of the task's own, such as `render_mode`

    Raises UserError for a word that is not among those allowed.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if simulator not in SIMULATORS:
        raise unknown("simulator", simulator, SIMULATORS)
    module, name, usual = TASKS[task]
    base = getattr(importlib.import_module(f"gymnasium.envs.mujoco.{module}_{simulator}"), name)
    env: Any = type(f"Restricted{name}", (_Restricted, base), {"__module__": __name__})(**more)
    spheres = spheres_for(env.action_space, difficulty, n_spheres, radius, seed)
    env.restriction = Restriction.of_box(env.action_space, spheres, first_step_free)
    env.substitute = substitute_of(env.action_space, usual if invalid is None else invalid)
    env.invalid_reward = invalid_reward
    return env  # type: ignore[no-any-return]


class _Restricted(MujocoEnv):
    """Stands before a task's class, and takes invalid actions out on their way to the simulation."""

    restriction: Restriction
    substitute: Any
    invalid_reward: float | None
    _first = _valid = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._first = True
        return super().reset(seed=seed, options=options)

    def do_simulation(self, ctrl: Any, n_frames: int) -> None:
        self._valid = self.restriction.allows(ctrl, self._first)
        self._first = False
        super().do_simulation(ctrl if self._valid else self.substitute, n_frames)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        given = float(reward) if self._valid or self.invalid_reward is None else self.invalid_reward
        return observation, given, terminated, truncated, {**info, "valid_action": self._valid}
