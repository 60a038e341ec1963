"""One gymnasium environment whose faults are told."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.faults import EnvironmentFault, observation_fault, raised, wrong_observation, wrong_reward
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED

LIFE_LOST = 3
"""What `LivesEnvironment.step` says of a step that cost a life, beside the values of `Trajectory.ended`."""


def checked_reset(env: gymnasium.Env[Any, Any], spec: EnvSpec, seed: int | None) -> tuple[Any, dict[str, Any]]:
    """Reset, and raise UserError where the result is not an (observation, info) that fits the spec."""
    result = env.reset(seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise UserError(f"{env} returned {type(result).__name__} from reset; gymnasium asks for (observation, info)")
    fault = observation_fault(result[0], spec)
    if fault is not None:
        raise UserError(f"{env} returned a wrong observation from reset: {fault}")
    return result


class CheckedEnvironment:
    """One gymnasium environment; everything that goes wrong in it is raised as EnvironmentFault."""

    def __init__(self, environment: gymnasium.Env[Any, Any], spec: EnvSpec):
        self.environment, self.spec = environment, spec
        self._step = environment.step

    def reset(self, seed: int | None) -> Any:
        """Begin an episode. Returns its first observation, of the spec's shape and finite."""
        try:
            return checked_reset(self.environment, self.spec, seed)[0]
        except UserError as error:
            raise EnvironmentFault(str(error)) from error
        except Exception as error:
            raise raised("reset", error) from error

    def step(self, action: Any) -> tuple[Any, float, int]:
        """(observation, reward, and GOES_ON, TERMINATED or TRUNCATED). The observation is as the environment gave it, not checked."""
        step = self._step  # as a local it is called without the search for a method of that name
        try:
            observation, reward, terminated, truncated, _ = step(action)
            ended = TERMINATED if terminated else TRUNCATED if truncated else GOES_ON
        except UserError:
            raise
        except Exception as error:
            raise raised("step", error) from error
        try:
            return observation, float(reward), ended
        except (TypeError, ValueError) as error:
            raise wrong_reward(reward) from error

    def array(self, observation: Any) -> NDArray[Any]:
        """An observation that `step` returned, as an array [*observation_shape] of the spec's dtype; it may be non-finite."""
        try:
            array = np.asarray(observation, self.spec.observation_dtype)
        except (TypeError, ValueError):
            array = np.zeros(())
        if array.shape != self.spec.observation_shape:
            raise wrong_observation(observation, self.spec)
        return array


class LivesEnvironment(CheckedEnvironment):
    """One whose innermost environment says in `life_lost` whether its newest step cost a life."""

    def __init__(self, environment: gymnasium.Env[Any, Any], spec: EnvSpec):
        super().__init__(environment, spec)
        self._player: Any = environment.unwrapped

    def step(self, action: Any) -> tuple[Any, float, int]:
        """As `CheckedEnvironment.step`, but LIFE_LOST where a life was lost and the episode goes on."""
        observation, reward, ended = super().step(action)
        return observation, reward, ended or (LIFE_LOST if self._player.life_lost else GOES_ON)


def checked(environment: gymnasium.Env[Any, Any], spec: EnvSpec) -> CheckedEnvironment:
    """The environment for who learns from it."""
    kind = LivesEnvironment if hasattr(environment.unwrapped, "life_lost") else CheckedEnvironment
    return kind(environment, spec)
