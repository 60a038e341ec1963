"""Named arrays in one anonymous shared segment."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing import reduction
from multiprocessing.context import assert_spawning
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.errors import UserError

Layout = Mapping[str, tuple[tuple[int, ...], DTypeLike]]
"""name -> (shape, dtype). The one description from which both sides of a segment make their views."""

CACHE_LINE = 64
WORDS_PER_LINE = CACHE_LINE // 8


class SharedMemoryError(UserError):
    """There is too little shared memory (or too few open files) for what was asked."""


def padded_words(count: int) -> tuple[tuple[int, ...], DTypeLike]:
    """Layout entry for `count` int64 words with a cache line each. Word i is element ``i * WORDS_PER_LINE``."""
    return (count * WORDS_PER_LINE,), np.int64


def offsets_of(layout: Layout) -> tuple[dict[str, int], int]:
    """Byte offset of each array, every one on a cache line of its own, and the size of the whole."""
    offsets, position = {}, 0
    for name, (shape, dtype) in layout.items():
        offsets[name] = position
        size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        position += -(-size // CACHE_LINE) * CACHE_LINE
    return offsets, max(position, CACHE_LINE)


def free_bytes(directory: str | None) -> int:
    """Bytes that a new segment may take: the free space of the file system at `directory`, or the machine's available memory."""
    if directory is not None:
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize
    with open("/proc/meminfo") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


class SharedArrays:
    """A zeroed shared memory segment with named numpy arrays in it, each aligned to a cache line.

    Writers:  this class only lays out bytes; the class that uses an array documents who writes it.
    Readers:  every process that received the object as an argument when it was started.
    When full: the segment has a fixed size. `allocate` checks the free space and reserves every page, so that too little
              memory is an error at the start and not a SIGBUS later. With `reserve=False` the pages of anonymous memory
              are allocated when they are first written, for arrays that may be large and never be filled.
    Crash:    the segment has no name in any file system: it is an open file descriptor that child processes inherit.
              The kernel frees it when the last process that holds it has ended, also after SIGKILL.
    """

    def __init__(self, descriptor: int, layout: Layout):
        self.layout = dict(layout)
        offsets, size = offsets_of(layout)
        self._map = mmap.mmap(descriptor, size)
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in self.layout.items():
            count = int(np.prod(shape, dtype=np.int64))
            flat = np.frombuffer(self._map, dtype=dtype, count=count, offset=offsets[name])
            self._arrays[name] = flat.reshape(shape)
        self._parts: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in self._arrays.items():
            part, _, rest = name.partition("/")
            self._parts.setdefault(part, {})[rest] = array
        self._descriptor = descriptor  # set last: if mapping fails, the caller closes the descriptor and `__del__` must not

    @classmethod
    def allocate(cls, layout: Layout, directory: str | None = None, reserve: bool = True) -> SharedArrays:
        """Allocate a segment for `layout`, in the file system at `directory` or, without one, in anonymous memory.

        Without `reserve`, pages of anonymous memory are allocated when they are first written.

        Raises SharedMemoryError if less memory is free than the layout needs.
        """
        size = offsets_of(layout)[1]
        if directory is None and not hasattr(os, "memfd_create"):
            directory = tempfile.gettempdir()
        try:
            free = free_bytes(directory)
        except OSError as error:
            raise _cannot_share(error, f"cannot look at {directory or '/proc/meminfo'}") from error
        if size > free:
            raise SharedMemoryError(_too_little(size, free, directory))
        descriptor = _open(directory)
        try:
            if hasattr(os, "posix_fallocate") and (reserve or directory is not None):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.ftruncate(descriptor, size)
            return cls(descriptor, layout)
        except OSError as error:
            os.close(descriptor)
            raise _cannot_share(error, _too_little(size, free, directory)) from error

    @property
    def size(self) -> int:
        """Bytes of the segment."""
        return len(self._map)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose names begin with ``prefix/``, by their names without that prefix."""
        first, slash, more = prefix.partition("/")
        found = {name: array for name, array in self._parts.get(first, {}).items() if name}
        start = more + "/" if slash else ""
        return {name.removeprefix(start): array for name, array in found.items() if name.startswith(start)}

    def __reduce__(self) -> tuple[Any, ...]:
        # Only while a process is started: otherwise DupFd would start a server thread that hands descriptors out.
        assert_spawning(self)
        return _attach, (reduction.DupFd(self._descriptor), self.layout)

    def close(self) -> None:
        """Close the descriptor. The memory stays mapped until the last array that views it is gone."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()


def _attach(duplicate: Any, layout: Layout) -> SharedArrays:
    return SharedArrays(duplicate.detach(), layout)


def _open(directory: str | None) -> int:
    try:
        if directory is None:
            return os.memfd_create("asyncrl", os.MFD_CLOEXEC)
        descriptor, path = tempfile.mkstemp(prefix="asyncrl-", dir=directory)
    except OSError as error:
        raise _cannot_share(error, "cannot open a shared segment") from error
    os.unlink(path)
    return descriptor


def _cannot_share(error: OSError, what: str) -> SharedMemoryError:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return SharedMemoryError(f"cannot open a shared segment: {error.strerror} (raise the limit with `ulimit -n`)")
    return SharedMemoryError(f"{what}: {error.strerror}")


def _too_little(size: int, free: int, directory: str | None) -> str:
    place = f"in {directory}" if directory else "on this machine"
    return f"too little shared memory: {size:,} bytes are needed, {free:,} are free {place}; use fewer workers or a smaller network"


def prefixed(prefix: str, layout: Layout) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """The same layout with ``prefix/`` before every name, so that several layouts fit into one segment."""
    return {f"{prefix}/{name}": entry for name, entry in layout.items()}
