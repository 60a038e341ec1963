"""Numba's `njit` for kernels, made when they are first wanted, and with two faults of its own mended.

Numba takes a quarter of a second to load, and half a millisecond for each function that it is shown, of which we have some three
hundred. A help text needs none of them, and a policy that acts needs some ten. So a kernel is a name until it is called, or until another
kernel that calls it is compiled.

Numba compiles at the first call. If a signal handler raises an exception there (Ctrl-C), Numba's tables and LLVM's objects are left
incomplete: later calls fail, and finalisers print tracebacks of their own. So signals are held back meanwhile.

What is compiled is kept for the next start, under the time and size of the function's own file. But it holds the functions that it calls
and the numbers that it names, and these are often another file's: after an update of that one the old code would go on. So it is kept
under the contents of its file and of all of ours that this one imports.

Processes of a run come to the same kernel at the same time. Where it is not kept yet one of them compiles it, and the others wait and
load it: so a first run on a machine takes as long with many workers as with one. Whatever becomes of who compiles, a process waits in
vain once for a file's kernels, `WAIT_SECONDS` at most; one that ends lets go of the lock.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from asyncrl.processes.interrupts import held

_PACKAGE = Path(__file__).parents[1]
WAIT_SECONDS = 30.0
"""For another process that compiles kernels of the same file; then they are compiled twice."""
LOOK_SECONDS = 0.005
_given_up: set[Path] = set()
"""Files whose lock this process has waited for in vain."""
_IMPORTED = re.compile(rf"^\s*(?:from|import)\s+({_PACKAGE.name}[\w.]*)(?:\s+import\s+(\([^)]*\)|[^\n]*))?", re.MULTILINE)
"""A module, and the names that are imported of it, which may be modules too."""


class Kernel:
    """A function that Numba compiles, before Numba has seen it. Whatever is asked of it is asked of Numba's dispatcher, which is made then.

    From then on the dispatcher itself stands under the function's name in our modules, so that later calls do not come by here. Who
    has taken hold of a kernel before, and calls it at every step, asks `ready` for the dispatcher.
    """

    def __init__(self, function: Callable[..., Any], make: Callable[[Any], Any]):
        functools.update_wrapper(self, function)
        self._function, self._make = function, make

    @functools.cached_property
    def _made(self) -> Any:
        with held():
            made = self._make(self._function)
        named = self._function.__name__
        for module in _modules():
            if vars(module).get(named) is self:
                setattr(module, named, made)
        return made

    def __call__(self, *arguments: Any) -> Any:
        return self._made(*arguments)

    def __getattr__(self, name: str) -> Any:
        """Numba itself asks for `_numba_type_`, where a kernel is compiled that calls this one."""
        if name.startswith("__"):  # what Python looks for, to copy or pickle it, is not the dispatcher's
            raise AttributeError(name)
        return getattr(self._made, name)


def njit(**options: Any) -> Callable[[Any], Any]:
    """The decorator `numba.njit` with the same options. A signal that arrives during compilation is handled after it."""

    def make(function: Any) -> Any:
        from numba import njit as numba_njit

        _make_named(function.__code__, function.__globals__)
        return _mended(numba_njit(**options)(function), function)

    return lambda function: Kernel(function, make)


def intrinsic(function: Any) -> Any:
    """The decorator `numba.extending.intrinsic`; the function itself imports what it needs of Numba."""

    def make(function: Any) -> Any:
        from numba.extending import intrinsic as numba_intrinsic

        return numba_intrinsic(function)

    return Kernel(function, make)


def ready(kernel: Any) -> Any:
    """Numba's dispatcher of a kernel; anything else is given back as it is."""
    return kernel._made if isinstance(kernel, Kernel) else kernel


def make_all() -> None:
    """Make the dispatchers of all kernels of modules that are loaded: for a process that is forked, whose children have them then."""
    for module in _modules():
        for kernel in list(vars(module).values()):
            ready(kernel)


def load_kept(*packages: str) -> int:
    """Load what is kept on disk of the kernels of these packages ("shared"), so that processes forked after that need not.

    Nothing is compiled: on a machine that has run nothing yet there is nothing to load. Returns how many there were.
    """
    from numba.core.dispatcher import Dispatcher

    count = 0
    for module in _modules(*packages):
        for kernel in list(vars(module).values()):
            if isinstance(kernel, Dispatcher) and kernel.py_func.__module__ == module.__name__:
                count += _load(kernel)
    return count


def _load(kernel: Any) -> int:
    """Load whatever is kept of one kernel, for each combination of argument types that it was called with on such a processor."""
    kept, file = kernel._cache, getattr(kernel._cache, "_cache_file", None)
    if file is None or file in _given_up:
        return 0
    index, codegen = file._load_index(), kernel.targetctx.codegen()
    signatures = [key[0] for key in index if key == kept._index_key(key[0], codegen) and key[0] not in kernel.overloads]
    for signature in signatures:
        kernel.compile(signature)
    return len(signatures)


def _modules(*packages: str) -> list[ModuleType]:
    starts = tuple(f"{_PACKAGE.name}.{package}." for package in packages) or (f"{_PACKAGE.name}.",)
    return [module for name, module in list(sys.modules.items()) if name.startswith(starts)]


def _make_named(code: CodeType, names: dict[str, Any]) -> None:
    """Make the kernels that a function names: Numba looks for them among the names of its module."""
    for name in code.co_names:
        if isinstance(names.get(name), Kernel):
            names[name] = ready(names[name])


def _mended(dispatcher: Any, function: Any) -> Any:
    if hasattr(dispatcher, "_compile_for_args"):  # with NUMBA_DISABLE_JIT set it is the plain function, without this attribute
        kept, file = getattr(dispatcher._cache, "_cache_file", None), Path(function.__code__.co_filename)
        kept_of = file if kept is not None and file.is_file() else None  # without `cache` nothing is; a notebook's function has no file
        if kept is not None and kept_of is not None:
            kept._source_stamp = contents_of(file)
        dispatcher._compile_for_args = _with_signals_held(dispatcher._compile_for_args, kept_of)  # what Numba calls for new types
    return dispatcher


def _with_signals_held(compile_for: Callable[..., Any], file: Path | None) -> Callable[..., Any]:
    @functools.wraps(compile_for)
    def compile_held(*arguments: Any) -> Any:
        with _alone(file), held():
            return compile_for(*arguments)

    return compile_held


@contextmanager
def _alone(file: Path | None) -> Iterator[None]:
    """Meanwhile no other process compiles kernels of this file, whose lock this takes; None: of no file, and no lock.

    A lock of the system's on an open file, so it needs no file of its own and no right to write. It is gone with the process.
    """
    if file is None or file in _given_up:
        yield
        return
    descriptor, deadline = os.open(file, os.O_RDONLY | os.O_CLOEXEC), time.monotonic() + WAIT_SECONDS
    try:
        while not _is_locked(descriptor):
            if time.monotonic() > deadline:  # not once more for each of its kernels
                _given_up.add(file)
                break
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: who compiles twice loses time alone
        return True
    return True


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
