"""Tickets: numbered jobs that many workers claim and finish, and that one consumer uses once each, without locks and queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, prefixed
from asyncrl.shared.atomics import compare_and_swap, fence, load_acquire, store_release
from asyncrl.shared.compiled import njit

STRIDE = 4096
"""A slot's word is ``number * STRIDE + holder``: the ticket in the slot, and who holds it."""
FREE, DONE = 0, STRIDE - 1  # values of `holder`; worker i is i + 1
MOST_WORKERS = STRIDE - 2

FIRST, LIMIT = 0, 1  # words of `window`: no ticket before FIRST is left to use; tickets below LIMIT may be claimed


@njit(cache=True)
def _claim(states, window, worker):  # type: ignore[no-untyped-def]
    """Claim the oldest free ticket below the limit for `worker`; returns its number, -1 if there is none."""
    slots = states.size
    for number in range(load_acquire(window, FIRST), load_acquire(window, LIMIT)):
        free = number * STRIDE + FREE
        slot = number % slots
        if load_acquire(states, slot) == free and compare_and_swap(states, slot, free, free + worker + 1) == free:
            fence()  # the claim must be visible before the limit is read again
            if number < load_acquire(window, LIMIT):
                return number
            store_release(states, slot, free)  # the limit was lowered meanwhile
            return -1
    return -1


@njit(cache=True)
def _take(states, window, number, worker):  # type: ignore[no-untyped-def]
    """Claim this one ticket for `worker`; returns whether it was free, and may be claimed."""
    slot, free = number % states.size, number * STRIDE + FREE
    if load_acquire(states, slot) != free or compare_and_swap(states, slot, free, free + worker + 1) != free:
        return False
    fence()  # as in `_claim`
    if number < load_acquire(window, LIMIT):
        return True
    store_release(states, slot, free)
    return False


@njit(cache=True)
def _any_free(states, window):  # type: ignore[no-untyped-def]
    for number in range(load_acquire(window, FIRST), load_acquire(window, LIMIT)):
        if load_acquire(states, number % states.size) == number * STRIDE + FREE:
            return True
    return False


@njit(cache=True)
def _free(states, window):  # type: ignore[no-untyped-def]
    count = 0
    for number in range(load_acquire(window, FIRST), load_acquire(window, LIMIT)):
        if load_acquire(states, number % states.size) == number * STRIDE + FREE:
            count += 1
    return count


@njit(cache=True)
def _all_done(states, start, stop):  # type: ignore[no-untyped-def]
    for number in range(start, stop):  # noqa: SIM110 - all() does not compile
        if load_acquire(states, number % states.size) != number * STRIDE + DONE:
            return False
    return True


@njit(cache=True)
def _done(states, start, stop, most, out):  # type: ignore[no-untyped-def]
    """Write the numbers of finished tickets in start..stop - 1, oldest first and at most `most`, to out[slots]; returns how many."""
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
    fence()  # must be visible before the worker checks whether this was the last one


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
    """The newest ticket that is held, done or used up; if there is none, the number before the first ticket."""
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
    """A window of `slots` consecutive tickets, each with a record: row ``slot(number)`` of the arrays in `records`.

    Writers:  the consumer writes ``window``. The word and the record of a ticket are written by its holder. A free ticket
              is claimed by compare and swap (its word is the only one that several processes may write, and one of them
              wins); a held ticket is written by that worker until it is handed in; a done one by the consumer until it
              is used up. Then the slot holds the free ticket ``number + slots``.
    Readers:  every process.
    Stale:    an old value of FIRST is harmless: tickets that are used up are not free, so none is claimed twice. A worker
              reads LIMIT again after its claim is visible and releases a ticket beyond it; so a consumer that lowers
              LIMIT and then calls `newest_begun` sees every claim that remains.
    When full: LIMIT is at most FIRST + slots; no ticket can be claimed until the consumer uses one up.
    Crash:    `release` frees the tickets that a dead worker held. Those it had finished stay done; each is used once.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]):
        """`arrays`: those of `layout`."""
        self.states: NDArray[np.int64] = arrays["states"]  # [slots]
        self.window: NDArray[np.int64] = arrays["window"]  # [WORDS_PER_LINE]
        self.records = {name.removeprefix("records/"): arrays[name] for name in arrays if name.startswith("records/")}
        self.slots = self.states.size
        self._found = np.zeros(self.slots, np.int64)

    @staticmethod
    def layout(slots: int, fields: Mapping[str, Any]) -> Layout:
        """Layout for `slots` tickets; `fields`: name -> (shape, dtype) of one record's fields."""
        records = {name: ((slots, *shape), dtype) for name, (shape, dtype) in fields.items()}
        return {"states": ((slots,), np.int64), "window": ((WORDS_PER_LINE,), np.int64), **prefixed("records", records)}

    def begin(self, first: int = 0) -> None:
        """Make every slot free, with ticket `first` as the oldest, before any worker claims."""
        numbers = first + (np.arange(self.slots) - first) % self.slots
        self.states[:] = numbers * STRIDE + FREE
        self.begin_at(first)

    def begin_at(self, first: int) -> None:
        """Let the window begin with ticket `first`, with none to be claimed yet; the slots do not change. While no worker claims."""
        store_release(self.window, FIRST, first)
        store_release(self.window, LIMIT, first)

    # For workers.

    def claim(self, worker: int) -> int:
        """Claim the oldest free ticket for `worker`; returns its number, -1 if there is none."""
        return _claim(self.states, self.window, worker)

    def take(self, number: int, worker: int) -> bool:
        """Claim this ticket for `worker`, if nobody has it or has done it; returns whether it is the worker's now."""
        return bool(_take(self.states, self.window, number, worker))

    def give_back(self, number: int) -> None:
        """Make a held ticket free again, so that another does it. Its holder only, who has not handed it in."""
        store_release(self.states, number % self.slots, number * STRIDE + FREE)

    def any_free(self) -> bool:
        """Whether there is a ticket to claim."""
        return bool(_any_free(self.states, self.window))

    def free(self) -> int:
        """How many tickets there are to claim."""
        return int(_free(self.states, self.window))

    def hand_in(self, number: int) -> None:
        """Mark a held ticket as done, after its record was written."""
        _hand_in(self.states, number)

    def slot(self, number: int) -> int:
        """Row of a ticket's record in the arrays `records`."""
        return number % self.slots

    # For the consumer.

    @property
    def first(self) -> int:
        """The oldest ticket that is not used up."""
        return load_acquire(self.window, FIRST)

    @property
    def limit(self) -> int:
        """Tickets below this number may be claimed."""
        return load_acquire(self.window, LIMIT)

    def set_limit(self, limit: int) -> None:
        """Let tickets below `limit` be claimed. Raises ValueError if it is beyond the window."""
        if limit > self.first + self.slots:
            raise ValueError(f"limit {limit} is more than {self.slots} slots beyond ticket {self.first}")
        store_release(self.window, LIMIT, limit)
        fence()  # must be visible before the consumer reads the claims

    def all_done(self, start: int, stop: int) -> bool:
        """Whether all tickets in start..stop - 1 were handed in."""
        return bool(_all_done(self.states, start, stop))

    def done(self, most: int) -> NDArray[np.int64]:
        """Numbers [n] of finished tickets, oldest first, n <= `most`. A view that the next call overwrites."""
        first = self.first
        count = _done(self.states, first, first + self.slots, most, self._found)
        return self._found[:count]

    def newest_begun(self) -> int:
        """The newest ticket that is held, done or used up; if there is none, the number before the first ticket."""
        return int(_newest_begun(self.states))

    def reissue(self, number: int) -> None:
        """Make a finished ticket free, so that it is done again."""
        store_release(self.states, number % self.slots, number * STRIDE + FREE)

    def use_up(self, numbers: NDArray[np.int64]) -> None:
        """Mark the finished tickets numbers[n] as used up, and make their slots free for later tickets."""
        _use_up(self.states, self.window, numbers)

    # For the recovery after a worker's death.

    def release(self, worker: int) -> int:
        """Make the tickets free that a dead worker held; returns how many."""
        return int(_release(self.states, worker))
