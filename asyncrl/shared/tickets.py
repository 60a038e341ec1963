"""Tickets: numbered jobs that many workers claim, do and hand in, and that one consumer uses once each. No lock, no queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, prefixed
from asyncrl.shared.atomics import compare_and_swap, fence, load_acquire, store_release
from asyncrl.shared.compiled import njit

STRIDE = 4096
"""A slot's word is ``number * STRIDE + holder``: the ticket that it stands for, and who has it."""
FREE, DONE = 0, STRIDE - 1  # holders; worker i is i + 1
MOST_WORKERS = STRIDE - 2

FIRST, LIMIT = 0, 1  # words of `window`: the oldest ticket that may not be used up yet; claimable are tickets below LIMIT


@njit(cache=True)
def _claim(states, window, worker):  # type: ignore[no-untyped-def]
    """The oldest free ticket below the limit, now the worker's; -1 where there is none."""
    slots = states.size
    for number in range(load_acquire(window, FIRST), load_acquire(window, LIMIT)):
        free = number * STRIDE + FREE
        slot = number % slots
        if load_acquire(states, slot) == free and compare_and_swap(states, slot, free, free + worker + 1) == free:
            fence()  # the claim is visible before the limit is looked at again
            if number < load_acquire(window, LIMIT):
                return number
            store_release(states, slot, free)  # the limit was lowered meanwhile
            return -1
    return -1


@njit(cache=True)
def _any_free(states, window):  # type: ignore[no-untyped-def]
    for number in range(load_acquire(window, FIRST), load_acquire(window, LIMIT)):
        if load_acquire(states, number % states.size) == number * STRIDE + FREE:
            return True
    return False


@njit(cache=True)
def _all_done(states, start, stop):  # type: ignore[no-untyped-def]
    for number in range(start, stop):  # noqa: SIM110 - all() does not compile
        if load_acquire(states, number % states.size) != number * STRIDE + DONE:
            return False
    return True


@njit(cache=True)
def _done(states, start, stop, most, out):  # type: ignore[no-untyped-def]
    """Numbers of finished tickets in [start, stop), the oldest first, at most `most`, into out; returns how many."""
    found = 0
    for number in range(start, stop):
        if found == most:
            break
        if load_acquire(states, number % states.size) == number * STRIDE + DONE:
            out[found] = number
            found += 1
    return found


@njit(cache=True)
def _hand_in(states, number):  # type: ignore[no-untyped-def]
    store_release(states, number % states.size, number * STRIDE + DONE)
    fence()  # visible before anybody looks whether this was the last one


@njit(cache=True)
def _release(states, worker):  # type: ignore[no-untyped-def]
    released = 0
    for slot in range(states.size):
        state = load_acquire(states, slot)
        if state % STRIDE == worker + 1:
            store_release(states, slot, state - (worker + 1))
            released += 1
    return released


@njit(cache=True)
def _newest_begun(states):  # type: ignore[no-untyped-def]
    """The newest ticket that is held, done or used up; the one before the first where none is."""
    newest = -1
    for slot in range(states.size):
        state = load_acquire(states, slot)
        newest = max(newest, state // STRIDE - (states.size if state % STRIDE == FREE else 0))
    return newest


@njit(cache=True)
def _use_up(states, window, numbers):  # type: ignore[no-untyped-def]
    slots = states.size
    for number in numbers:
        store_release(states, number % slots, (number + slots) * STRIDE + FREE)
    first = window[FIRST]
    while load_acquire(states, first % slots) // STRIDE > first:
        first += 1
    store_release(window, FIRST, first)


class Tickets:
    """A window of `slots` consecutive tickets, each with a record (its slot of the arrays in `fields`).

    Writers:  ``window``: the consumer. Word and record of a ticket: whoever has it. A free one belongs to whoever swaps its
              own name in (the one word that several may write: compare and swap lets one of them win); a held one to that
              worker, until it is handed in; a done one to the consumer, until it is used up: then the slot is the free
              ticket ``number + slots``.
    Readers:  everybody.
    Stale:    FIRST may be seen late: tickets that are used up are no longer free, so nobody takes them twice. A claimer
              looks at LIMIT after its claim is visible, and gives back what is no longer to be done; so a consumer that
              lowers LIMIT and then looks sees every claim that stands (`newest_begun`).
    When full: LIMIT is at most FIRST + slots; nobody can claim until the consumer uses something up.
    Crash:    `release` makes free what a dead worker held. What it had done stays done; each counts once.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]):
        self.states: NDArray[np.int64] = arrays["states"]
        self.window: NDArray[np.int64] = arrays["window"]
        self.records = {name.removeprefix("records/"): arrays[name] for name in arrays if name.startswith("records/")}
        self.slots = self.states.size
        self._found = np.zeros(self.slots, np.int64)

    @staticmethod
    def layout(slots: int, fields: Mapping[str, Any]) -> Layout:
        """`fields`: name -> (shape, dtype) of a record's part."""
        records = {name: ((slots, *shape), dtype) for name, (shape, dtype) in fields.items()}
        return {"states": ((slots,), np.int64), "window": ((WORDS_PER_LINE,), np.int64), **prefixed("records", records)}

    def begin(self, first: int = 0) -> None:
        """Every slot free, from ticket `first` on. Before anybody claims."""
        numbers = first + (np.arange(self.slots) - first) % self.slots
        self.states[:] = numbers * STRIDE + FREE
        self.begin_at(first)

    def begin_at(self, first: int) -> None:
        """The window begins with ticket `first`, and none may be claimed yet; the slots are as they are. While nobody claims."""
        store_release(self.window, FIRST, first)
        store_release(self.window, LIMIT, first)

    # For workers.

    def claim(self, worker: int) -> int:
        """The oldest free ticket, now this worker's; -1 where there is none."""
        return _claim(self.states, self.window, worker)

    def any_free(self) -> bool:
        """Whether there is something to claim."""
        return bool(_any_free(self.states, self.window))

    def hand_in(self, number: int) -> None:
        """The record is written: the ticket is the consumer's."""
        _hand_in(self.states, number)

    def slot(self, number: int) -> int:
        """Where the record of a ticket lies."""
        return number % self.slots

    # For the consumer.

    @property
    def first(self) -> int:
        """The oldest ticket that is not used up."""
        return load_acquire(self.window, FIRST)

    @property
    def limit(self) -> int:
        """Tickets below it may be claimed."""
        return load_acquire(self.window, LIMIT)

    def set_limit(self, limit: int) -> None:
        """Let tickets below `limit` be claimed."""
        if limit > self.first + self.slots:
            raise ValueError(f"limit {limit} is more than {self.slots} slots beyond ticket {self.first}")
        store_release(self.window, LIMIT, limit)
        fence()  # visible before claims are looked at

    def all_done(self, start: int, stop: int) -> bool:
        """Whether all of [start, stop) have been handed in."""
        return bool(_all_done(self.states, start, stop))

    def done(self, most: int) -> NDArray[np.int64]:
        """Finished tickets, the oldest first, at most so many. A view, overwritten by the next call."""
        first = self.first
        count = _done(self.states, first, first + self.slots, most, self._found)
        return self._found[:count]

    def newest_begun(self) -> int:
        """The newest ticket that is held, done or used up; the one before the first where none is."""
        return int(_newest_begun(self.states))

    def reissue(self, number: int) -> None:
        """A finished ticket is to be done again."""
        store_release(self.states, number % self.slots, number * STRIDE + FREE)

    def use_up(self, numbers: NDArray[np.int64]) -> None:
        """These finished tickets have been used: their slots are free for later ones."""
        _use_up(self.states, self.window, numbers)

    # For whoever settles a dead worker's estate.

    def release(self, worker: int) -> int:
        """Make free what a dead worker held; returns how many."""
        return int(_release(self.states, worker))
