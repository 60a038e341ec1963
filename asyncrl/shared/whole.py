"""Parameters whose updates are whole: each is made on a copy and put in place by one compare-and-swap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, padded_words
from asyncrl.shared.atomics import compare_and_swap, fence, load_acquire, store_release
from asyncrl.shared.compiled import njit
from asyncrl.shared.parameters import FLOATS_PER_LINE

INDEX_BITS = 16
"""The lower bits of the head say which buffer is current, those above which version that is: up to 2**47 updates."""
INDEX = (1 << INDEX_BITS) - 1


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(head, stamps, steps, buffers, vector, target, statistics):  # type: ignore[no-untyped-def]
    """Copy the first elements of the current buffer [rows, N]; an output without elements is left out. Returns (version, steps)."""
    rows = buffers.shape[1]
    while True:
        word = load_acquire(head, 0)
        at, version = word & INDEX, word >> INDEX_BITS
        vector[:] = buffers[at, 0, : vector.size]
        if target.size:
            target[:] = buffers[at, 1, : target.size]
        if statistics.size:
            statistics[:] = buffers[at, rows - statistics.shape[0] :]
        counted = load_acquire(steps, at * WORDS_PER_LINE)
        fence()
        if load_acquire(stamps, at * WORDS_PER_LINE) == version:
            return version, counted


@njit(cache=True, nogil=True, error_model="numpy")
def _draft(head, stamps, steps, buffers, first, last):  # type: ignore[no-untyped-def]
    """Copy the current buffer into one of a worker's two, `first` and `first` + 1, rather not `last`. Returns (head, that buffer)."""
    while True:
        word = load_acquire(head, 0)
        at, version = word & INDEX, word >> INDEX_BITS
        own = first if last != first else first + 1
        if own == at:  # only where `last` is not known, as a successor's
            own = first if at != first else first + 1
        store_release(stamps, own * WORDS_PER_LINE, version + 1)  # its readers, if there are any left, copy again
        fence()
        buffers[own] = buffers[at]
        store_release(steps, own * WORDS_PER_LINE, load_acquire(steps, at * WORDS_PER_LINE))
        fence()
        if load_acquire(stamps, at * WORDS_PER_LINE) == version:
            return word, own


_NOTHING, _NO_STATISTICS = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)


class WholeParameters:
    """Parameters, target network, optimizer statistics and the steps that they are made from: two buffers a worker, one of them current.

    A worker copies the current buffer into its own spare one, makes its update there, and swaps the head, one word of (version, buffer),
    if that is still what it has copied. Otherwise it does it over on the newer one, so somebody always gets on. The order of the versions
    is total, and every version is made from the one before.

    Writers:  the head: every worker, by compare and swap; the main process while nobody works. Buffers 1 + 2i and 2 + 2i with their words
              of ``stamps`` and ``steps``: worker i, but only the one that is not current. Buffer 0, and the current one's ``steps`` while
              all are at the gate: the main process.
    Readers:  every process, at any time. A stamp is the version that its buffer is written for, and is set before that begins; a reader
              that does not find the version of the head there after its copy copies again.
    Torn:     never. Stale: by what is published during the copy.
    When full: not applicable, the size is fixed.
    Crash:    the head names a whole version at any instant. A worker that dies before its swap leaves nothing but its own spare buffer;
              one that dies after it, and before it publishes its books, leaves an update that the ledger does not count.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], target: bool):
        """`arrays`: those of `layout`; `target`: whether there is a target network."""
        self._head: NDArray[np.int64] = arrays["head"]
        self._stamps: NDArray[np.int64] = arrays["stamps"]
        self._steps: NDArray[np.int64] = arrays["steps"]
        self._buffers: NDArray[np.float32] = arrays["buffers"]  # [2W + 1, 1 + T + S, N]: parameters, target (T is 0 or 1), statistics
        self._last: dict[int, int] = {}  # of the workers in this process: the buffer that each published last
        self._has_target = target

    @staticmethod
    def layout(size: int, statistics: int, workers: int, target: bool) -> Layout:
        """For N = `size` parameters, `statistics` vectors of the optimizer's, and a target network or none."""
        padded, count = -(-size // FLOATS_PER_LINE) * FLOATS_PER_LINE, 2 * workers + 1
        return {
            "head": ((WORDS_PER_LINE,), np.int64),
            "stamps": padded_words(count),
            "steps": padded_words(count),
            "buffers": ((count, 1 + target + max(statistics, 1), padded), np.float32),
        }

    @classmethod
    def warm_up(cls) -> None:
        """Load the compiled functions, on memory of this process's own, before the clock runs."""
        one = cls({name: np.zeros(shape, kind) for name, (shape, kind) in cls.layout(1, 1, 1, False).items()}, False)
        one.copy(np.zeros(1, np.float32))
        one.swap(one.draft(0), 0)

    @property
    def version(self) -> int:
        """Updates that the current parameters have seen."""
        return load_acquire(self._head, 0) >> INDEX_BITS

    def copy(
        self, vector: NDArray[np.float32], target: NDArray[np.float32] = _NOTHING, statistics: NDArray[np.float32] = _NO_STATISTICS
    ) -> tuple[int, int]:
        """Copy the newest version into vector[n], target[n] and statistics[S, N]; returns its number, and the steps it is made from.

        n is N or less. All that is copied is of the same version.
        """
        version, steps = _copy(self._head, self._stamps, self._steps, self._buffers, vector, target, statistics)
        return version, steps

    def draft(self, worker: int) -> Draft:
        """A copy of the newest version, in the spare buffer of `worker`, which is this process's."""
        head, own = _draft(self._head, self._stamps, self._steps, self._buffers, 1 + 2 * worker, self._last.get(worker, -1))
        return Draft(self, worker, head, own)

    def swap(self, draft: Draft, steps: int) -> bool:
        """Make a draft the next version, which is made from so many steps; False where another version has come meanwhile."""
        store_release(self._steps, draft.index * WORDS_PER_LINE, steps)
        following = (draft.version + 1) << INDEX_BITS | draft.index
        if compare_and_swap(self._head, 0, draft.head, following) != draft.head:
            return False
        self._last[draft.worker] = draft.index
        return True

    def buffer(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """Views of a buffer: parameters [N], statistics [S, N], and the target network [N] if there is one."""
        rows = self._buffers[index]
        return rows[0], rows[1 + self._has_target :], rows[1] if self._has_target else None

    def steps_of(self, index: int) -> int:
        """The steps that what a buffer holds is made from."""
        return load_acquire(self._steps, index * WORDS_PER_LINE)

    # The main process, while nobody works.

    def current(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """Views of the newest version, as `buffer`: [N], [S, N], [N] or None. They stay what they are until somebody works again."""
        return self.buffer(load_acquire(self._head, 0) & INDEX)

    def begin(
        self, version: int, steps: int, vector: NDArray[np.float32], statistics: NDArray[np.float32], target: NDArray[np.float32] | None
    ) -> None:
        """Set vector[N], statistics[S, N] and target[N] as `version`, made from so many steps."""
        parameters, kept, copy = self.buffer(0)
        parameters[:], kept[:] = vector, statistics
        if copy is not None:
            copy[:] = target
        store_release(self._steps, 0, steps)
        store_release(self._stamps, 0, version)
        store_release(self._head, 0, version << INDEX_BITS)

    def recount(self, steps: int) -> None:
        """Say anew how many steps the newest version is made from: those of rounds without an update are not in its count."""
        store_release(self._steps, (load_acquire(self._head, 0) & INDEX) * WORDS_PER_LINE, steps)


class Draft:
    """A worker's copy of a version, on which it makes the next one. Nobody else reads it before it is swapped in."""

    def __init__(self, whole: WholeParameters, worker: int, head: int, index: int):
        """`head`: the word that was copied; `index`: the buffer that has the copy."""
        self.worker, self.head, self.index = worker, head, index
        self.version = head >> INDEX_BITS
        """Of the copy."""
        self.vector, self.statistics, self.target = whole.buffer(index)
        self.steps = whole.steps_of(index)
        """That the copy is made from."""
