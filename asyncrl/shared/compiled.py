"""Numba's `njit`, for functions that are compiled, or loaded from the cache, without an interruption in the middle.

Numba compiles at the first call. An exception that a signal's handler raises there leaves Numba's tables and LLVM's objects half-made:
later calls fail, and finalisers print tracebacks of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import njit as numba_njit

from asyncrl.processes.interrupts import held


def njit(**options: Any) -> Callable[[Any], Any]:
    """The decorator `numba.njit` with the same options; a signal that comes while the function is compiled raises once that is done."""
    decorate = numba_njit(**options)

    def compiled(function: Any) -> Any:
        dispatcher = decorate(function)
        if hasattr(dispatcher, "_compile_for_args"):  # not where NUMBA_DISABLE_JIT is set: then it is the function itself
            dispatcher._compile_for_args = _in_one_piece(dispatcher._compile_for_args)  # what Numba calls for types that are new
        return dispatcher

    return compiled


def _in_one_piece(compile_for: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compile_for)
    def compile_held(*arguments: Any) -> Any:
        with held():
            return compile_for(*arguments)

    return compile_held
