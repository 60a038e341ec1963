"""Numba's `njit`, with signals held back while a function is compiled or loaded from the cache.

Numba compiles at the first call. If a signal handler raises an exception there (Ctrl-C), Numba's tables and LLVM's objects are left
incomplete: later calls fail, and finalisers print tracebacks of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import njit as numba_njit

from asyncrl.processes.interrupts import held


def njit(**options: Any) -> Callable[[Any], Any]:
    """The decorator `numba.njit` with the same options. A signal that arrives during compilation is handled after it."""
    decorate = numba_njit(**options)

    def compiled(function: Any) -> Any:
        dispatcher = decorate(function)
        if hasattr(dispatcher, "_compile_for_args"):  # with NUMBA_DISABLE_JIT set it is the plain function, without this attribute
            dispatcher._compile_for_args = _with_signals_held(dispatcher._compile_for_args)  # what Numba calls for new argument types
        return dispatcher

    return compiled


def _with_signals_held(compile_for: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compile_for)
    def compile_held(*arguments: Any) -> Any:
        with held():
            return compile_for(*arguments)

    return compile_held
