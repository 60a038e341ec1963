"""The window of a site: what was offered, and what is done, in the learner's place of the site's shared memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.cluster.engine import NUMBERS
from asyncrl.shared.atomics import store_release
from asyncrl.shared.tickets import DONE, FIRST, FREE, LIMIT, STRIDE
from asyncrl.topologies.search.generations import SearchGround


class Window:
    """Tickets of a site, under the numbers that they have in the run.

    Writers:  the site's main process, with one lock for all its threads, writes ``window`` and the words of tickets that nobody holds;
              workers claim and hand in as everywhere.
    Readers:  the site's workers.
    Stale:    a worker may look at tickets that were collected already; they are not free.
    When full: a ticket whose slot a worker still has, for an earlier number, is refused (`put`).
    Crash:    it ends with the site.
    """

    def __init__(self, ground: SearchGround):
        self._ground, self._tickets = ground, ground.tickets
        self._tickets.states[:] = -1  # of no number, and held by nobody
        self._lock = threading.Lock()
        self._outstanding: dict[int, int] = {}

    def warm_up(self) -> None:
        """Load the kernels before the clock runs, and before any worker is there."""
        self.put(np.zeros((1, 2), np.int64))
        self.withdraw()

    def put(self, tickets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Let workers claim tickets [n, 2] of (number, attempt); returns the numbers [m] for which there is no room."""
        states, records, refused = self._tickets.states, self._tickets.records, []
        with self._lock:
            for number, attempt in tickets.tolist():
                slot = self._tickets.slot(number)
                if number in self._outstanding or int(states[slot]) % STRIDE not in (FREE, DONE):
                    refused.append(number)
                    continue
                records["attempt"][slot] = attempt
                store_release(states, slot, number * STRIDE + FREE)
                self._outstanding[number] = attempt
            self._set_window()
        return np.array(refused, np.int64)

    def withdraw(self) -> NDArray[np.int64]:
        """Take back every ticket that no worker has begun; returns their numbers [m]."""
        with self._lock:
            taken = [number for number in self._outstanding if self._take_back(number)]
            return self._dropped(taken)

    def forget(self, numbers: NDArray[np.int64]) -> None:
        """Take these tickets [m] back where nobody has begun them: nobody waits for them any more."""
        with self._lock:
            self._dropped([number for number in numbers.tolist() if number in self._outstanding and self._take_back(number)])

    def forget_strays(self) -> None:
        """After a worker's death: what it held is free again, also what is not outstanding."""
        with self._lock:
            states = self._tickets.states
            for number in (states[states % STRIDE == FREE] // STRIDE).tolist():
                if number not in self._outstanding:
                    self._take_back(number)

    def has_news(self) -> bool:
        """Whether something is done that was not collected."""
        with self._lock:
            return bool(len(self._done()))

    def is_done(self) -> bool:
        """Whether everything that was offered is done."""
        with self._lock:
            return len(self._done()) == len(self._outstanding)

    def collect(self) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Take what is done: its numbers [n], and copies of the records' fields [n, ...]."""
        with self._lock:
            numbers = self._done()
            slots = numbers % self._tickets.slots
            records = {name: array[slots] for name, array in self._tickets.records.items()}
            for number in numbers.tolist():
                del self._outstanding[number]
            self._set_window()
        return numbers, records

    def _done(self) -> NDArray[np.int64]:
        if not self._outstanding:
            return NUMBERS
        numbers = np.fromiter(self._outstanding, np.int64, len(self._outstanding))
        return np.sort(numbers[self._tickets.states[numbers % self._tickets.slots] == numbers * STRIDE + DONE])

    def _take_back(self, number: int) -> bool:
        if not self._tickets.take(number, self._ground.learner):
            return False
        store_release(self._tickets.states, self._tickets.slot(number), -1)
        return True

    def _dropped(self, numbers: list[int]) -> NDArray[np.int64]:
        for number in numbers:
            del self._outstanding[number]
        self._set_window()
        return np.array(numbers, np.int64)

    def _set_window(self) -> None:
        """From the oldest outstanding ticket to behind the newest one. Without any there is nothing to claim."""
        window = self._tickets.window
        if not self._outstanding:
            store_release(window, FIRST, int(window[LIMIT]))
            return
        oldest, newest = min(self._outstanding), max(self._outstanding)
        store_release(window, FIRST, oldest)
        store_release(window, LIMIT, newest + 1)
