"""Shipping environments to other processes, and checking what they give."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from asyncrl.envs.make import EnvSource
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.processes.parcels import Parcel, pack
from asyncrl.processes.refusals import packed

_LARGEST = float(np.finfo(np.float32).max)


def ship(source: EnvSource) -> Parcel:
    """An environment's id or function as a parcel, for ``unship`` in another process of this run.

    Tensors that the user has moved to shared memory are shared; see `asyncrl.processes.parcels.pack`.

    Raises UserError that names the variable or attribute which cannot travel.
    """
    if not isinstance(source, str) and not callable(source):
        raise UserError(f"an environment is given as an id or a function that makes one, not as {type(source).__name__}")
    return packed(source, "environment function") if callable(source) else pack(source)


def unship(parcel: Parcel) -> EnvSource:
    """What ``ship`` was given. Executes code: only for parcels that this run's own processes made, never for a file."""
    source: EnvSource = parcel.unpack()
    return source


def checked_reset(env: gymnasium.Env[Any, Any], spec: EnvSpec, seed: int | None) -> tuple[Any, dict[str, Any]]:
    """Reset, and raise UserError where the result is not an (observation, info) that fits the spec."""
    result = env.reset(seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise UserError(f"{env} returned {type(result).__name__} from reset; gymnasium asks for (observation, info)")
    fault = observation_fault(result[0], spec)
    if fault is not None:
        raise UserError(f"{env} returned a wrong observation from reset: {fault}")
    return result


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
