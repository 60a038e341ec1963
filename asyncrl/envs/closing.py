"""Closing environments: the code that runs them closes all that were made, since a simulator that one has started could outlive the run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import gymnasium

_made: ContextVar[list[Any] | None] = ContextVar("made", default=None)
"""The list to which `make_env` adds the environments it makes; None if they are not collected."""


def put_down(env: gymnasium.Env[Any, Any]) -> None:
    """Add an environment that was made to the list of those to close, if there is one."""
    made = _made.get()
    if made is not None:
        made.append(env)


def collect() -> list[gymnasium.Env[Any, Any]]:
    """A new list, to which every environment is added that is made from now on in this context, for `close_all`."""
    made: list[Any] = []
    _made.set(made)
    return made


def close_all(made: list[gymnasium.Env[Any, Any]], tell: Callable[[str], None], begins: Callable[[str], None] = lambda what: None) -> None:
    """Close each environment of the list once, the newest first.

    `tell` is called with a text for each exception that is raised; `begins(what)` is called before each one is closed.
    """
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
    """Close the environments that are made within the block when it ends; exceptions of their close() become warnings."""
    before = _made.get()
    made = collect()
    try:
        yield
    finally:
        _made.set(before)
        close_all(made, lambda text: warnings.warn(text, stacklevel=2))
