"""One record per worker, published whole: what a worker has done, and its clock."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, padded_words
from asyncrl.shared.atomics import fence, load_acquire, store_release
from asyncrl.shared.compiled import njit

FloatArray = NDArray[np.float64]


DEPTH = 4
"""Publications that stay readable: in rounds modes a reader may ask for one that its writer has already left behind."""


@njit(cache=True)
def _publish(clocks, entries, worker, draft):  # type: ignore[no-untyped-def]
    clock = clocks[worker * WORDS_PER_LINE] + 1
    fence()  # the last publication is visible before the entry that its readers may still read is overwritten
    entries[worker, clock % DEPTH] = draft
    store_release(clocks, worker * WORDS_PER_LINE, clock)


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


class Ledger:
    """What each worker has done so far: named columns of float64 that only grow, and a clock that counts publications.

    A worker edits its private draft, then `publish` copies it to the oldest of DEPTH entries and moves the clock: all
    columns change together or not at all. Counts are exact up to 2**53.

    Writers:  record and clock of worker i: worker i; after its death, whoever settles its estate.
    Readers:  everybody, at any time. A reader that is overtaken by DEPTH - 1 publications copies once more.
    Stale:    by the publications that happen while one reads. Never torn.
    When full: nothing grows.
    Crash:    the record of the last publication stands; an unpublished draft is gone with its worker, and whoever
              goes on with the slot starts from what was published (`draft_of`).
    """

    def __init__(self, columns: Mapping[str, int], arrays: Mapping[str, NDArray]):
        self.columns = dict(columns)
        self._slices, self.width = _slices(columns)
        self.clocks: NDArray[np.int64] = arrays["clocks"]  # word i at i * WORDS_PER_LINE
        self.entries: FloatArray = arrays["entries"]
        self.workers = self.entries.shape[0]

    @staticmethod
    def layout(columns: Mapping[str, int], workers: int) -> Layout:
        """`columns`: name -> how many numbers."""
        return {"clocks": padded_words(workers), "entries": ((workers, DEPTH, _slices(columns)[1]), np.float64)}

    def column(self, record: FloatArray, name: str) -> FloatArray:
        """View of the numbers of one column in a record (or in a stack of records, along the last axis)."""
        return record[..., self._slices[name]]

    def position(self, name: str) -> int:
        """Index of the first number of a column within a record."""
        return self._slices[name].start

    def draft_of(self, worker: int) -> FloatArray:
        """A private copy of the published record, to be edited and published by the writer of this slot."""
        return self.read(worker)

    def publish(self, worker: int, draft: FloatArray) -> None:
        """Make `draft` the record of `worker`, and move its clock by one."""
        _publish(self.clocks, self.entries, worker, draft)

    def read(self, worker: int) -> FloatArray:
        """A whole copy of one record."""
        record = np.empty(self.width)
        _read(self.clocks, self.entries, worker, record)
        return record

    def read_all(self) -> FloatArray:
        """All records, shape (workers, width); each whole, not all of the same instant."""
        records = np.empty((self.workers, self.width))
        for worker in range(self.workers):
            _read(self.clocks, self.entries, worker, records[worker])
        return records

    def entry(self, worker: int, clock: int) -> FloatArray:
        """View of what `worker` published when its clock became `clock`: for callers who know that it is at most DEPTH - 2 back."""
        return self.entries[worker, clock % DEPTH]

    def restore(self, records: FloatArray) -> None:
        """Begin with these records [workers, width]; ``started`` and ``ended`` are times of another session. Before anybody runs."""
        for worker, record in enumerate(records.copy()):
            for name in {"started", "ended"} & self.columns.keys():
                self.column(record, name)[:] = 0.0
            self.publish(worker, record)

    def clock(self, worker: int) -> int:
        """How many times `worker` has published."""
        return load_acquire(self.clocks, worker * WORDS_PER_LINE)

    def total(self, name: str) -> float:
        """Sum over workers of a column of one number."""
        return _sum_column(self.clocks, self.entries, self._slices[name].start)


def _slices(columns: Mapping[str, int]) -> tuple[dict[str, slice], int]:
    slices, position = {}, 0
    for name, count in columns.items():
        slices[name] = slice(position, position + count)
        position += count
    return slices, position
