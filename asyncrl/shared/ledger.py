"""One record of counts per worker, published atomically, with a clock that counts publications."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, padded_words
from asyncrl.shared.atomics import fence, load_acquire, store_release
from asyncrl.shared.compiled import njit

FloatArray = NDArray[np.float64]


DEPTH = 4
"""How many of the last publications stay readable: in rounds modes a reader may ask for one that is not the newest any more."""


@njit(cache=True)
def _publish(clocks, entries, worker, draft):  # type: ignore[no-untyped-def]
    clock = clocks[worker * WORDS_PER_LINE] + 1
    fence()  # the last publication must be visible before an older entry, which readers may still copy, is overwritten
    entries[worker, clock % DEPTH] = draft
    store_release(clocks, worker * WORDS_PER_LINE, clock)


@njit(cache=True)
def _publish_in_total(clocks, entries, worker, draft, totals):  # type: ignore[no-untyped-def]
    before = entries[worker, clocks[worker * WORDS_PER_LINE] % DEPTH]
    for column in range(draft.size):
        totals[column] += draft[column] - before[column]
    _publish(clocks, entries, worker, draft)


@njit(cache=True)
def _read(clocks, entries, worker, out):  # type: ignore[no-untyped-def]
    while True:
        clock = load_acquire(clocks, worker * WORDS_PER_LINE)
        out[:] = entries[worker, clock % DEPTH]
        fence()
        if load_acquire(clocks, worker * WORDS_PER_LINE) < clock + DEPTH - 1:
            return clock


@njit(cache=True)
def _sum_column(clocks, entries, column):  # type: ignore[no-untyped-def]
    total = 0.0
    for worker in range(entries.shape[0]):
        while True:
            clock = load_acquire(clocks, worker * WORDS_PER_LINE)
            value = entries[worker, clock % DEPTH, column]
            fence()
            if load_acquire(clocks, worker * WORDS_PER_LINE) < clock + DEPTH - 1:
                break
        total += value
    return total


@njit(cache=True, nogil=True)
def _copy_between(clocks, entries, column, source, out):  # type: ignore[no-untyped-def]
    """(total of a column, the same after source[N] has been copied to out[N])."""
    before = _sum_column(clocks, entries, column)
    for i in range(out.size):
        out[i] = source[i]
    fence()  # the copy was made before the second total is read
    return before, _sum_column(clocks, entries, column)


@njit(cache=True)
def _add_newest(clocks, entries, start, worker, own, out, read):  # type: ignore[no-untyped-def]
    """out[n] = the sum over all workers of columns start to start + n, of `worker` own[n]; read[n] is its to write to."""
    for i in range(own.size):
        out[i] = 0.0
    for other in range(entries.shape[0]):
        while other != worker:
            clock = load_acquire(clocks, other * WORDS_PER_LINE)
            for i in range(own.size):
                read[i] = entries[other, clock % DEPTH, start + i]
            fence()
            if load_acquire(clocks, other * WORDS_PER_LINE) < clock + DEPTH - 1:
                break
        for i in range(own.size):
            out[i] += own[i] if other == worker else read[i]


@njit(cache=True)
def _add_entries(entries, handed, count, start, worker, own, out):  # type: ignore[no-untyped-def]
    """The same of the records that made the clocks handed[W] + count."""
    for i in range(own.size):
        out[i] = 0.0
    for other in range(entries.shape[0]):
        for i in range(own.size):
            out[i] += own[i] if other == worker else entries[other, (handed[other] + count) % DEPTH, start + i]


@njit(cache=True)
def _add_known(words, entries, start, worker, own, out, clocks):  # type: ignore[no-untyped-def]
    """The same of the newest records, whose clocks are written into clocks[W]; false where one was overwritten meanwhile."""
    for other in range(clocks.size):
        clocks[other] = load_acquire(words, other * WORDS_PER_LINE)
    _add_entries(entries, clocks, 0, start, worker, own, out)
    fence()
    standing = 0
    for other in range(clocks.size):
        standing += load_acquire(words, other * WORDS_PER_LINE) < clocks[other] + DEPTH - 1
    return standing == clocks.size


class Ledger:
    """What each worker has done so far: named columns of float64 that only grow, and a clock that counts publications.

    A worker edits its private draft, a record of shape [width]; `publish` copies it to the oldest of DEPTH entries and
    increments the clock, so that all columns change together. Counts are exact up to 2**53.

    Writers:  worker i writes its record and clock; after its death, the launcher's recovery does.
    Readers:  every process, at any time. A reader that is overtaken by DEPTH - 1 publications copies again.
    Stale:    by the publications during the read. Never torn.
    When full: not applicable, the size is fixed.
    With the array ``totals`` [width], the sums over all workers are kept beside: of ledgers that one process alone writes at a time, as
    that of a simulated run. Those of counts are exact; the others' last bits depend on the order in which records were published, so a
    checkpoint keeps them too.

    Crash:    the record last published remains. An unpublished draft is lost with its worker, and the replacement starts
              from the published record (`draft_of`).
    """

    def __init__(self, columns: Mapping[str, int], arrays: Mapping[str, NDArray]):
        self.columns = dict(columns)
        self._slices, self.width = _slices(columns)
        self.clocks: NDArray[np.int64] = arrays["clocks"]  # word i at i * WORDS_PER_LINE
        self.entries: FloatArray = arrays["entries"]  # [workers, DEPTH, width]
        self.workers = self.entries.shape[0]
        self._read = np.empty(self.width)
        self._totals: FloatArray | None = arrays["totals"] if "totals" in arrays else None  # noqa: SIM401 - SharedArrays is no dict

    @staticmethod
    def layout(columns: Mapping[str, int], workers: int) -> Layout:
        """Layout for `workers` records; `columns`: name -> how many numbers it has."""
        return {"clocks": padded_words(workers), "entries": ((workers, DEPTH, _slices(columns)[1]), np.float64)}

    def column(self, record: FloatArray, name: str) -> FloatArray:
        """View [..., numbers of the column] of a record [width], or of a stack of records [..., width]."""
        return record[..., self._slices[name]]

    def position(self, name: str) -> int:
        """Index of the first number of a column within a record."""
        return self._slices[name].start

    def draft_of(self, worker: int) -> FloatArray:
        """A private copy [width] of the published record, for the worker that will edit and publish it."""
        return self.read(worker)

    def publish(self, worker: int, draft: FloatArray) -> None:
        """Publish draft[width] as the record of `worker` and increment its clock."""
        if self._totals is None:
            _publish(self.clocks, self.entries, worker, draft)
        else:
            _publish_in_total(self.clocks, self.entries, worker, draft, self._totals)

    def read(self, worker: int) -> FloatArray:
        """A consistent copy [width] of one worker's record."""
        record = np.empty(self.width)
        _read(self.clocks, self.entries, worker, record)
        return record

    def read_all(self) -> FloatArray:
        """All records [workers, width]. Each is consistent in itself; they need not be of the same instant."""
        records = np.empty((self.workers, self.width))
        for worker in range(self.workers):
            _read(self.clocks, self.entries, worker, records[worker])
        return records

    def add_newest(self, name: str, worker: int, own: FloatArray, out: FloatArray) -> None:
        """Write into out[n] the sum over all workers of a column of n numbers; `worker`'s are own[n], which are newer."""
        if self._totals is None:
            _add_newest(self.clocks, self.entries, self._slices[name].start, worker, own, out, self._read[: own.size])
        else:
            part = self._slices[name]
            out[:] = self._totals[part] + (own - self.entry(worker, self.clock(worker))[part])

    def add_entries(self, name: str, handed: NDArray[np.int64], count: int, worker: int, own: FloatArray, out: FloatArray) -> None:
        """The same of the records that made the clocks handed[W] + count; as old as for `entry`."""
        _add_entries(self.entries, handed, count, self._slices[name].start, worker, own, out)

    def read_known(self, clocks: NDArray[np.int64]) -> FloatArray:
        """As `read_all`; writes into clocks[W] which publication of each worker's was read."""
        records = np.empty((self.workers, self.width))
        for worker in range(self.workers):
            clocks[worker] = _read(self.clocks, self.entries, worker, records[worker])
        return records

    def add_known(self, name: str, worker: int, own: FloatArray, out: FloatArray, clocks: NDArray[np.int64]) -> None:
        """As `add_newest`, with own[n] and out[n]; writes into clocks[W] which publication of each worker's was read."""
        start = self._slices[name].start
        while not _add_known(self.clocks, self.entries, start, worker, own, out, clocks):
            continue

    def entry(self, worker: int, clock: int) -> FloatArray:
        """View [width] of the record that made the clock `clock`. The caller must know that it is at most DEPTH - 2 publications old."""
        return self.entries[worker, clock % DEPTH]

    def restore(self, records: FloatArray) -> None:
        """Publish records[workers, width] of a checkpoint, before any worker runs.

        The columns ``started`` and ``ended`` are set to 0: they are times of the earlier session.
        """
        for worker, record in enumerate(records.copy()):
            for name in {"started", "ended"} & self.columns.keys():
                self.column(record, name)[:] = 0.0
            self.publish(worker, record)

    def clock(self, worker: int) -> int:
        """How often `worker` has published."""
        return load_acquire(self.clocks, worker * WORDS_PER_LINE)

    def total(self, name: str) -> float:
        """Sum over all workers of a column that has one number, and counts."""
        if self._totals is not None:
            return float(self._totals[self._slices[name].start])
        return _sum_column(self.clocks, self.entries, self._slices[name].start)

    def copy_between(self, name: str, source: NDArray[np.float32], out: NDArray[np.float32]) -> tuple[float, float]:
        """(`total`, the same once the first numbers of source [M] have been copied to out [N])."""
        if self._totals is None:
            before, after = _copy_between(self.clocks, self.entries, self._slices[name].start, source, out)
            return before, after
        total = self.total(name)
        out[:] = source[: out.size]
        return total, self.total(name)


def _slices(columns: Mapping[str, int]) -> tuple[dict[str, slice], int]:
    slices, position = {}, 0
    for name, count in columns.items():
        slices[name] = slice(position, position + count)
        position += count
    return slices, position
