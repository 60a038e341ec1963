"""Named arrays that never change, once in memory for a process and all that descend from it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout, SharedMemoryError, free_bytes, offsets_of

try:
    import fcntl

    _SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
except (ImportError, AttributeError):  # not Linux
    _SEALS = 0

Arrays = Mapping[str, NDArray[Any]]

_MAPPED: weakref.WeakValueDictionary[str, mmap.mmap] = weakref.WeakValueDictionary()
"""The segments that this process has mapped, by their names, while an array of theirs is in use."""


def sealed_arrays(name: str, layout: Layout, fill: Callable[[dict[str, NDArray[Any]]], None]) -> Arrays:
    """The arrays of `layout` that `fill` has written, read-only: those of this process or of an ancestor, or else newly made.

    Writers:  whoever makes the segment, within `fill`, which is given zeroed arrays and must keep none of them. Then the segment
              is sealed: the kernel refuses every further write, also to its maker.
    Readers:  every process that asks for the same name and layout. It looks among its own open files, then among those of the
              processes from which it descends. So who starts workers asks first, and keeps the arrays: that is the one segment
              of all. It must keep them also while nobody there needs them, since it makes an environment only to look at it.
    Torn, stale: never. A segment without its seals is not taken, and one with them cannot change.
    When full: the segment has a fixed size; too little free memory raises SharedMemoryError before anything is written.
    Crash:    it has no name in any file system: the kernel frees it when the last process that holds it has ended, after
              SIGKILL too. Who is killed while it fills leaves nothing behind; whoever needs the arrays next makes them.
    Without such a segment (descendants of somebody who has not asked, systems without memfd or /proc) a process has one of its
    own with the same numbers: `name` must say all that `fill` depends on.
    """
    if not _SEALS:
        return _private(layout, fill)
    key, size = _key(name, layout), offsets_of(layout)[1]
    whole = _opened(key, size)
    return _views(_whole(_made(key, layout, fill), key, size) if whole is None else whole, layout)


class SealedArray:
    """A read-only array that can be sent to processes which descend from this one, without its numbers: they are in memory once.

    Who sends it keeps this object until they have looked at `array`. The same contract as that of `sealed_arrays`.
    """

    def __init__(self, array: NDArray[Any]):
        """One that lies in a sealed segment is taken as it is; any other one [...] is copied into a segment of its own.

        Raises SharedMemoryError for too little memory.
        """
        place = _place_of(array)
        if place is None:
            array = np.ascontiguousarray(array)
            name = hashlib.blake2b(array.data, digest_size=16).hexdigest()
            layout = {"array": (array.shape, array.dtype)}
            array = sealed_arrays(name, layout, lambda arrays: np.copyto(arrays["array"], array))["array"]
            place = _place_of(array)
        self._array: NDArray[Any] | None = array
        self._place = place
        self.shape, self.dtype = array.shape, array.dtype

    @property
    def array(self) -> NDArray[Any]:
        """[*shape], read-only. Raises OSError in a process that does not descend from one that holds it."""
        if self._array is None:
            assert self._place is not None
            key, size, offset = self._place
            whole = _opened(key, size)
            if whole is None:
                raise OSError(errno.ENOENT, "the array's memory is not open in this process or one from which it descends")
            self._array = np.ndarray(self.shape, self.dtype, whole, offset)
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": self._array if self._place is None else None}


def _place_of(array: NDArray[Any]) -> tuple[str, int, int] | None:
    """(name, bytes of the segment, bytes before the array) of one that lies in a segment which is mapped here, or None."""
    if not array.flags.c_contiguous or array.flags.writeable:
        return None
    first = array.ctypes.data
    for key, whole in list(_MAPPED.items()):
        start = np.frombuffer(whole, np.uint8).ctypes.data
        if start <= first and first + array.nbytes <= start + len(whole):
            return key, len(whole), first - start
    return None


def _key(name: str, layout: Layout) -> str:
    """The segment's name, which tells apart whatever differs in name or layout."""
    parts = [(part, tuple(shape), np.dtype(dtype).str) for part, (shape, dtype) in layout.items()]
    return "asyncrl-" + hashlib.blake2b(repr((name, parts)).encode(), digest_size=16).hexdigest()


def _opened(key: str, size: int) -> mmap.mmap | None:
    """The sealed segment of that name and size in bytes: as it is mapped here already, or of this family; None where there is none."""
    whole = _MAPPED.get(key)
    if whole is None and (descriptor := _of_this_family(key, size)) is not None:
        whole = _whole(descriptor, key, size)
    return whole


def _of_this_family(key: str, size: int) -> int | None:
    """A descriptor of the sealed segment of that name and size in bytes, or None."""
    for process in _this_and_ancestors():
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            for entry in os.scandir(f"/proc/{process}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) == f"/memfd:{key} (deleted)":
                        return _checked(os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC), size)
    return None


def _this_and_ancestors() -> Iterator[int]:
    yield os.getpid()
    with contextlib.suppress(psutil.Error):
        yield from (process.pid for process in psutil.Process().parents())


def _checked(descriptor: int, size: int) -> int:
    """The descriptor; closes it and raises OSError where the segment is not sealed, or of another size."""
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS and os.fstat(descriptor).st_size == size:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EAGAIN, "it is being filled")


def _made(key: str, layout: Layout, fill: Callable[[dict[str, NDArray[Any]]], None]) -> int:
    """A descriptor of a new segment, filled and sealed."""
    size, free = offsets_of(layout)[1], free_bytes(None)
    if size > free:
        raise SharedMemoryError(f"too little memory: {size:,} bytes are needed, {free:,} are free on this machine")
    descriptor = os.memfd_create(key, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(descriptor, 0, size)
        whole = mmap.mmap(descriptor, size)
        fill(_views(whole, layout))
        whole.close()  # the seals need that nobody maps it for writing. After an exception its traceback still holds the arrays.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _whole(descriptor: int, key: str, size: int) -> mmap.mmap:
    """A segment of so many bytes, which holds itself open. Closes the descriptor."""
    try:
        _MAPPED[key] = whole = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        return whole
    finally:
        os.close(descriptor)


def _views(whole: mmap.mmap, layout: Layout) -> dict[str, NDArray[Any]]:
    offsets = offsets_of(layout)[0]
    return {
        name: np.frombuffer(whole, dtype, int(np.prod(shape, dtype=np.int64)), offsets[name]).reshape(shape)
        for name, (shape, dtype) in layout.items()
    }


def _private(layout: Layout, fill: Callable[[dict[str, NDArray[Any]]], None]) -> Arrays:
    arrays: dict[str, NDArray[Any]] = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}
    fill(arrays)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
