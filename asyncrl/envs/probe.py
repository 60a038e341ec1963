"""Shipping environments to other processes, and checking what they give."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from asyncrl.envs.make import EnvSource
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError

_LARGEST = float(np.finfo(np.float32).max)
# what objects raise that refuse to be pickled
_REFUSALS = (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError, RuntimeError, OSError)


def ship(source: EnvSource) -> bytes:
    """An environment's id or function as bytes, for ``unship`` in another process of this run.

    Raises UserError that names the variable or attribute which cannot travel.
    """
    if not isinstance(source, str) and not callable(source):
        raise UserError(f"an environment is given as an id or a function that makes one, not as {type(source).__name__}")
    refusal = _refusal(source)
    if refusal is None:
        return cloudpickle.dumps(source)
    path, culprit = _culprit(source)
    name = getattr(source, "__qualname__", type(source).__name__)
    where = " of ".join(reversed(path)) or "it"
    raise UserError(
        f"environment function {name!r} cannot be sent to a worker process: {where} (of type {type(culprit).__name__}) "
        f"cannot be pickled; create it inside the function"
    ) from refusal


def unship(data: bytes) -> EnvSource:
    """What ``ship`` was given. Executes code: only for bytes that this run's own processes made, never for a file."""
    return pickle.loads(data)


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


def _refusal(value: Any) -> Exception | None:
    try:
        cloudpickle.dumps(value)
    except _REFUSALS as refusal:
        return refusal
    return None


def _culprit(value: Any) -> tuple[list[str], Any]:
    """The innermost part that cannot be pickled although all of its own parts can, and the way to it."""
    path: list[str] = []
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        found = next(((name, part) for name, part in _parts(value) if id(part) not in seen and _refusal(part) is not None), None)
        if found is None:
            break
        path.append(found[0])
        value = found[1]
    return path, value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What gets pickled along with a value, by name."""
    if isinstance(value, FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, MethodType):
        yield "the object of the method", value.__self__
    elif isinstance(value, functools.partial):
        yield "the function of the partial", value.func
        yield from ((f"argument {place}", part) for place, part in enumerate(value.args))
        yield from ((f"argument {name!r}", part) for name, part in value.keywords.items())
    elif isinstance(value, dict):
        yield from ((f"entry {name!r}", part) for name, part in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"item {place}", part) for place, part in enumerate(value))
    elif not isinstance(value, ModuleType):
        yield from ((f"attribute {name!r}", part) for name, part in getattr(value, "__dict__", {}).items() if not name.startswith("__"))
        if isinstance(value, type) and "__init__" in vars(value):
            yield "method '__init__'", vars(value)["__init__"]


def _function_parts(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    assert isinstance(function, FunctionType)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        with contextlib.suppress(ValueError):  # a cell that is not filled yet
            yield f"variable {name!r}", cell.cell_contents
    names = set(_names(function.__code__))
    yield from ((f"global variable {name!r}", part) for name, part in function.__globals__.items() if name in names)
    yield from ((f"default argument {place}", part) for place, part in enumerate(function.__defaults__ or ()))
    yield from ((f"default of argument {name!r}", part) for name, part in (function.__kwdefaults__ or {}).items())


def _names(code: CodeType) -> Iterator[str]:
    """Names that a function, and the functions within, look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
