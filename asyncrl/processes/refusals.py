"""What cannot travel to other processes: which variable, attribute or argument of the user's function it is."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

REFUSALS = (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError, RuntimeError, OSError)
"""What objects raise that refuse to be pickled."""

Pickling = Callable[[Any], Any]
"""Pickles a value, or raises one of REFUSALS."""


class CannotTravel(pickle.PicklingError):
    """A tensor that is pickled is not in the CPU's memory."""


def told(value: Any, refusal: Exception, pickling: Pickling) -> str:
    """Which part of a value cannot be pickled, and why: what `pickling` it raised was `refusal`."""
    path, culprit, reason = _culprit(value, refusal, pickling)
    where = " of ".join(reversed(path)) or "it"
    why = str(reason) if isinstance(reason, CannotTravel) else "cannot be pickled"
    return f"{where} (of type {type(culprit).__name__}) {why}"


def _refusal(value: Any, pickling: Pickling) -> Exception | None:
    """What pickling it raises."""
    try:
        pickling(value)
    except REFUSALS as refusal:
        return refusal
    return None


def _culprit(value: Any, refusal: Exception, pickling: Pickling) -> tuple[list[str], Any, Exception]:
    """The innermost part that cannot be pickled although all of its own parts can, the way to it, and what it raises."""
    path: list[str] = []
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        found = next(_refused(value, seen, pickling), None)
        if found is None:
            break
        name, value, refusal = found
        path.append(name)
    return path, value, refusal


def _refused(value: Any, seen: set[int], pickling: Pickling) -> Iterator[tuple[str, Any, Exception]]:
    """The parts of a value that cannot be pickled, by name, and what they raise; without those whose id is in `seen`."""
    for name, part in _parts(value):
        if id(part) not in seen and (refusal := _refusal(part, pickling)) is not None:
            yield name, part, refusal


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
