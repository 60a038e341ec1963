"""Environments sent to other processes, as bytes."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import cloudpickle

from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError

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
