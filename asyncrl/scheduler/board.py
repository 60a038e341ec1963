"""The words by which workers and launcher agree: who may act, which mode holds, who has arrived at the gate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.modes import MODES, Mode
from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, padded_words
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.compiled import njit

SCHEDULER_COLUMNS = {"weight": 1, "gate": 1}
"""Ledger columns of the scheduler: weight of the round's gradient (0: none); the newest gate request that was seen."""

# Words of `orders`, written by the launcher alone.
REQUEST, OPENED, DELAY, BOUND, MARK, COMMAND, ROUNDS, UPDATES, STOP, DRAIN, MODE = range(11)
# DRAIN: from so many steps on another mode holds, and everything that was begun under this one is to be used up; 0: none.
# ROUNDS: updates made by rounds when the epoch was opened; also which buffer is current. UPDATES: all updates until then.
IN_PLACE = -1

# Words of a worker's line of `station`, written by that worker (after its death, by the launcher).
ARRIVED, OBEYED, HEARTBEAT, PHASE = range(4)
PHASES = ("starting", "waiting", "acting", "learning", "applying", "at the gate", "saving")



@njit(cache=True)
def _lowest(words, subtrahend):  # type: ignore[no-untyped-def]
    low = np.int64(1) << 60
    for worker in range(subtrahend.size):
        low = min(low, load_acquire(words, worker * WORDS_PER_LINE) - load_acquire(subtrahend, worker))
    return low


@njit(cache=True)
def _lowest_live(words, base, live):  # type: ignore[no-untyped-def]
    low = np.int64(1) << 60
    for worker in range(base.size):
        if load_acquire(live, worker):
            low = min(low, load_acquire(words, worker * WORDS_PER_LINE) - load_acquire(base, worker))
    return low


@njit(cache=True)
def _is_over(orders, steps):  # type: ignore[no-untyped-def]
    return load_acquire(orders, REQUEST) > load_acquire(orders, OPENED) or steps >= load_acquire(orders, MARK)


class Board:
    """Orders from the launcher to the workers, and where each worker stands.

    An *epoch* is the time between two openings of the gate. In it one mode holds. It ends when the steps reach `MARK`, or
    when the launcher requests the next gate; then every worker finishes its round and goes to the gate.

    Writers:  ``orders``, ``base`` and ``live``: the launcher. Line i of ``station`` and word i of
              ``applied``: worker i; once it is confirmed dead, the launcher, until it grants the slot to a successor.
    Readers:  everybody.
    When full: nothing grows.
    Stale:    orders of an epoch are written before OPENED is moved and stay until all have arrived at the next gate;
              REQUEST may be seen late, so rounds modes agree on it through the ledger (column ``gate``).
    Crash:    a dead worker's words are settled by the launcher, as its topology's estate says.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.int64]]):
        self.orders = arrays["orders"]
        self.base = arrays["base"]  # the worker's clock at the opening: round 0 of the epoch
        self.live = arrays["live"]  # whether the bound of `bounded` waits for this worker
        self.station = arrays["station"]
        self.applied = arrays["applied"]  # rounds whose shard this worker has applied, over all epochs
        self.workers = self.base.size
        self._zeros = np.zeros(self.workers, np.int64)

    @staticmethod
    def layout(workers: int) -> Layout:
        """The words for so many workers."""
        line, words = ((2 * WORDS_PER_LINE,), np.int64), ((workers,), np.int64)
        padded = padded_words(workers)
        return {"orders": line, "base": words, "live": words, "station": padded, "applied": padded}

    def order(self, word: int) -> int:
        """Read a word of the launcher's."""
        return load_acquire(self.orders, word)

    def set_order(self, word: int, value: int) -> None:
        """Write a word of the launcher's. Launcher only."""
        store_release(self.orders, word, value)

    def stands(self, worker: int, word: int) -> int:
        """Read a word of a worker's line."""
        return load_acquire(self.station, worker * WORDS_PER_LINE + word)

    def stand(self, worker: int, word: int, value: int) -> None:
        """Write a word of a worker's line. Owner of the slot only."""
        store_release(self.station, worker * WORDS_PER_LINE + word, value)

    def applied_by_all(self) -> int:
        """Rounds whose update is complete: every shard of it has been applied."""
        return _lowest(self.applied, self._zeros)

    def handed_by_all(self, clocks: NDArray[np.int64]) -> int:
        """Rounds of this epoch that every worker has handed over; clocks [W * padding] are the ledger's."""
        return _lowest(clocks, self.base)

    def slowest(self, clocks: NDArray[np.int64]) -> int:
        """Rounds of this epoch that the slowest live worker has completed; clocks [W * padding] are the ledger's."""
        return _lowest_live(clocks, self.base, self.live)

    def is_over(self, steps: float) -> bool:
        """Whether the epoch is over after so many steps of all workers: they have reached its mark, or the next gate is requested."""
        return bool(_is_over(self.orders, steps))

    def mode(self) -> Mode:
        """The mode of this epoch."""
        return list(MODES.values())[self.order(MODE)].with_bound(self.order(BOUND))

    def set_mode(self, mode: Mode) -> None:
        """Order the mode of the next epoch. Launcher only, while everybody is at the gate."""
        self.set_order(MODE, list(MODES).index(mode.name))
        self.set_order(DELAY, IN_PLACE if mode.delay is None else mode.delay)
        self.set_order(BOUND, mode.bound)
