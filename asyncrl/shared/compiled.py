"""Numba's `njit` for kernels, with two faults of its own mended.

Numba compiles at the first call. If a signal handler raises an exception there (Ctrl-C), Numba's tables and LLVM's objects are left
incomplete: later calls fail, and finalisers print tracebacks of their own. So signals are held back meanwhile.

What is compiled is kept for the next start, under the time and size of the function's own file. But it holds the functions that it calls
and the numbers that it names, and these are often another file's: after an update of that one the old code would go on. So it is kept
under the contents of its file and of all of ours that this one imports.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit as numba_njit

from asyncrl.processes.interrupts import held

_PACKAGE = Path(__file__).parents[1]
_IMPORTED = re.compile(rf"^\s*(?:from|import)\s+({_PACKAGE.name}[\w.]*)(?:\s+import\s+(\([^)]*\)|[^\n]*))?", re.MULTILINE)
"""A module, and the names that are imported of it, which may be modules too."""


def njit(**options: Any) -> Callable[[Any], Any]:
    """The decorator `numba.njit` with the same options. A signal that arrives during compilation is handled after it."""
    decorate = numba_njit(**options)

    def compiled(function: Any) -> Any:
        dispatcher = decorate(function)
        if hasattr(dispatcher, "_compile_for_args"):  # with NUMBA_DISABLE_JIT set it is the plain function, without this attribute
            dispatcher._compile_for_args = _with_signals_held(dispatcher._compile_for_args)  # what Numba calls for new argument types
            kept, file = getattr(dispatcher._cache, "_cache_file", None), Path(function.__code__.co_filename)
            if kept is not None and file.is_file():  # without `cache` there is none; a notebook's function has no file
                kept._source_stamp = contents_of(file)
        return dispatcher

    return compiled


def _with_signals_held(compile_for: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(compile_for)
    def compile_held(*arguments: Any) -> Any:
        with held():
            return compile_for(*arguments)

    return compile_held


@functools.cache
def contents_of(file: Path) -> str:
    """A digest of a file and of those of this package that it imports, directly or by others."""
    seen, waiting = {file}, [file]
    while waiting:
        for other in _imports(waiting.pop()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return hashlib.blake2b(b"".join(sorted(map(_digest, seen))), digest_size=16).hexdigest()


@functools.cache
def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@functools.cache
def _digest(file: Path) -> bytes:
    return hashlib.blake2b(_text(file).encode(), digest_size=16).digest()


@functools.cache
def _imports(file: Path) -> tuple[Path, ...]:
    """Files of this package's modules that a file imports."""
    found = []
    for module, names in _IMPORTED.findall(_text(file)):
        place = _PACKAGE.joinpath(*module.split(".")[1:])
        inside = [place / f"{name}.py" for name in re.findall(r"\w+", names)]
        found += [one for one in (place.with_suffix(".py"), place / "__init__.py", *inside) if one.is_file()]
    return tuple(found)
