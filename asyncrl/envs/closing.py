"""Environments are closed by whoever runs them: a simulator that one has started would outlive the run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gymnasium

_made: ContextVar[list[Any] | None] = ContextVar("made", default=None)
"""Where `make_env` puts down what it has made; None where nobody has asked for it."""


def put_down(env: gymnasium.Env[Any, Any]) -> None:
    """An environment has been made, and somebody is to close it."""
    made = _made.get()
    if made is not None:
        made.append(env)


def collect() -> list[gymnasium.Env[Any, Any]]:
    """A list in which all lie that are made from now on, in this context, for `close_all`."""
    made: list[Any] = []
    _made.set(made)
    return made


def close_all(made: list[gymnasium.Env[Any, Any]], tell: Callable[[str], None], begins: Callable[[str], None] = lambda what: None) -> None:
    """Close each of them once, the newest first. What one raises is told; `begins(what)` is called before each."""
    while made:
        env = made.pop()
        what = f"close() of environment {type(env.unwrapped).__name__}"
        begins(what)
        try:
            env.close()
        except Exception as error:  # noqa: BLE001 - the user's code, and there are others to close
            tell(f"{what} raised {type(error).__name__}: {error}")


@contextlib.contextmanager
def closed_environments() -> Iterator[None]:
    """In the caller's process: what is made within is closed as it ends. What that raises is a warning."""
    before = _made.get()
    made = collect()
    try:
        yield
    finally:
        _made.set(before)
        close_all(made, lambda text: warnings.warn(text, stacklevel=2))
