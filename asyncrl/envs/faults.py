"""What can be wrong with what an environment gives, and how the user is told."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError

LONGEST_EPISODE = 1_000_000
"""Steps after which an episode counts as one that never ends."""

_LARGEST = float(np.finfo(np.float32).max)


class EnvironmentFault(UserError):
    """An environment raised an exception, or gave something that cannot be used."""


def raised(what: str, error: Exception) -> EnvironmentFault:
    """The fault of an environment whose method `what` ("reset" or "step") raised; to be raised from that error."""
    return EnvironmentFault(f"{what} raised {type(error).__name__}: {error}")


def not_made(name: str, problem: Exception, done: str = "made") -> EnvironmentFault:
    """The fault of an environment whose own code raised while it was made or `done` otherwise, and where; to be raised from that error."""
    what = f"{type(problem).__name__}: {in_one_line(problem)}{_place(problem)}"
    return EnvironmentFault(f"environment {name!r} cannot be {done}: {what}")


def in_one_line(problem: BaseException) -> str:
    """What an exception says, without line breaks."""
    return " ".join(str(problem).split())


def _place(problem: BaseException) -> str:
    """The file and line where an exception was raised, in parentheses; "" for a SyntaxError, whose text has them."""
    last = traceback.extract_tb(problem.__traceback__)[-1]
    return "" if isinstance(problem, SyntaxError) else f" ({last.filename}:{last.lineno})"


def wrong_observation(observation: Any, spec: EnvSpec) -> EnvironmentFault:
    """The fault of a step that returned such an observation."""
    return EnvironmentFault(f"step returned a wrong observation: {observation_fault(observation, spec)}")


def wrong_reward(reward: Any) -> EnvironmentFault:
    """The fault of a step that returned such a reward."""
    return EnvironmentFault(f"step returned a wrong reward: {reward_fault(reward)}")


def endless(evaluates: bool, steps: int = LONGEST_EPISODE) -> str:
    """What the user is told of an episode that did not end within so many steps, in training or in evaluation."""
    kind, limit = ("an evaluation episode", "") if evaluates else ("an episode", "limit it with --episode-limit, or ")
    return f"{kind} did not end within {steps:,} steps; {limit}give the environment a time limit"


def observation_fault(observation: Any, spec: EnvSpec) -> str | None:
    """One line that says what is wrong with an observation, or None. Costs about two microseconds for a small vector."""
    try:
        array = np.asarray(observation)
    except ValueError:
        return f"observation of type {type(observation).__name__} is no array of numbers (declared: shape {spec.observation_shape})"
    if array.dtype.kind not in "fiub":
        return f"observation has dtype {array.dtype} (type {type(observation).__name__}), which is not a number"
    if array.shape != spec.observation_shape:
        return f"observation has shape {array.shape}, declared is {spec.observation_shape}"
    if spec.is_image:
        return None if array.dtype == np.uint8 else f"observation has dtype {array.dtype}, declared is uint8"
    # one comparison finds NaN, infinity, and what would become infinite as float32
    if np.abs(array).max() <= _LARGEST:
        return None
    index = int(np.argmin(np.abs(array) <= _LARGEST))
    return f"observation is not finite: {array[index]} at index {index} of {array.size}"


def reward_fault(reward: Any) -> str | None:
    """One line that says what is wrong with a reward, or None."""
    try:
        value = float(reward)
    except (TypeError, ValueError):
        return f"reward of type {type(reward).__name__} is not a number"
    return None if abs(value) <= _LARGEST else f"reward is not finite: {value}"
