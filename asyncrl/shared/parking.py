"""Waiting without locks and without burning a core: spin briefly, yield, then sleep until woken."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.context import assert_spawning
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, SharedMemoryError, padded_words
from asyncrl.shared.atomics import fence, load_acquire, store_release
from asyncrl.shared.compiled import njit

SPINS = 4
PATIENT_SPINS = 300
LONGEST_REST = 40
YIELDS = 4
RECHECK_SECONDS = 0.1


@njit(cache=True)
def _rest(turns):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        fence()  # some tens of cycles in which the core leaves the memory bus to others


@njit(cache=True)
def _anybody_sleeps(sleeping):  # type: ignore[no-untyped-def]
    # The fence keeps the caller's progress store before these loads: either we see the sleeper, or it sees the progress.
    fence()
    for index in range(0, sleeping.size, WORDS_PER_LINE):  # noqa: SIM110 - any() does not compile
        if load_acquire(sleeping, index) != 0:
            return True
    return False


class Parking:
    """A place per waiter where it sleeps until somebody's progress wakes it (an event count).

    Writers:  word i of ``sleeping`` belongs to waiter i: 1 while it sleeps or is about to. Anybody writes to its pipe.
    Readers:  everybody who makes progress looks whether somebody sleeps.
    Stale:    harmless. A waiter announces, then checks its condition once more, then sleeps; who makes progress
              stores it first, then looks for announcements. A superfluous wake-up costs one more check.
    When full: a pipe that is full already holds a wake-up.
    Crash:    a dead waiter leaves its word at 1, which costs one write a wake-up until its replacement sleeps again.
              As a last resort every sleeper re-checks ten times a second.
    """

    def __init__(self, sleeping: NDArray[np.int64], pipes: list[tuple[int, int]]):
        self._sleeping = sleeping
        self._pipes = pipes
        self._polls: dict[int, Any] = {}
        self.spins = SPINS
        """How often a waiter looks before it yields and sleeps. PATIENT_SPINS (some 0.4 ms) pays where every waiter has
        a core to itself: waking a sleeping core takes longer than most waits. Elsewhere it would take time from others."""

    @staticmethod
    def layout(places: int) -> Layout:
        """The words that `allocate` needs."""
        return {"sleeping": padded_words(places)}

    @classmethod
    def allocate(cls, sleeping: NDArray[np.int64]) -> Parking:
        """Make the pipes for as many places as `sleeping` has lines. Raises SharedMemoryError for too few open files."""
        parking = cls(sleeping, [])
        for _ in range(sleeping.size // WORDS_PER_LINE):
            try:
                ends = os.pipe()
            except OSError as error:
                parking.close()
                raise SharedMemoryError(f"cannot open a pipe to wait on: {error.strerror} (raise the limit with `ulimit -n`)") from error
            for end in ends:
                os.set_blocking(end, False)
            parking._pipes.append(ends)
        return parking

    def carried(self) -> PipesToCarry:
        """What a process that is being started needs, beside the shared words."""
        return PipesToCarry(self._pipes)

    def fileno(self, place: int) -> int:
        """The descriptor that becomes readable when `place` is woken: for use in a select loop of the owner."""
        return self._pipes[place][0]

    def announce(self, place: int) -> None:
        """Say that `place` is about to sleep; the condition must be checked once more after this."""
        store_release(self._sleeping, place * WORDS_PER_LINE, 1)
        fence()

    def arise(self, place: int) -> None:
        """Take the announcement back and swallow pending wake-ups."""
        store_release(self._sleeping, place * WORDS_PER_LINE, 0)
        try:
            while os.read(self._pipes[place][0], 64):
                continue
        except BlockingIOError:
            return  # empty: nothing is pending

    def wake_all(self) -> None:
        """Wake every sleeper. To be called after the progress has been stored."""
        if _anybody_sleeps(self._sleeping):
            for place in range(len(self._pipes)):
                if load_acquire(self._sleeping, place * WORDS_PER_LINE):
                    self.wake(place)

    def wake(self, place: int) -> None:
        """Wake one place, whether or not it sleeps."""
        try:
            os.write(self._pipes[place][1], b"\0")
        except BlockingIOError:
            return  # full: it holds a wake-up already

    def wait(self, place: int, condition: Callable[[], Any], seconds: float | None = None) -> bool:
        """Return True once `condition()` holds; False after `seconds`. Only the owner of `place` may call this."""
        for turn in range(self.spins):
            if condition():
                return True
            _rest(min(turn, LONGEST_REST))
        for _ in range(YIELDS):
            os.sched_yield()
            if condition():
                return True
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            self.announce(place)
            if condition():
                self.arise(place)
                return True
            remaining = RECHECK_SECONDS if deadline is None else min(RECHECK_SECONDS, deadline - time.monotonic())
            if remaining <= 0:
                self.arise(place)
                return bool(condition())
            self._sleep(place, remaining)
            self.arise(place)

    def _sleep(self, place: int, seconds: float) -> None:
        if place not in self._polls:
            self._polls[place] = select.poll()
            self._polls[place].register(self._pipes[place][0], select.POLLIN)
        self._polls[place].poll(seconds * 1000)

    def close(self) -> None:
        """Close the pipes of this process."""
        for ends in self._pipes:
            for end in ends:
                os.close(end)
        self._pipes = []


class PipesToCarry:
    """The pipes of a Parking on their way into a child process."""

    def __init__(self, pipes: list[tuple[int, int]]):
        self.pipes = pipes

    def __reduce__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return _receive, ([tuple(reduction.DupFd(end) for end in ends) for ends in self.pipes],)


def _receive(duplicates: list[tuple[Any, Any]]) -> PipesToCarry:
    pipes = [(read_end.detach(), write_end.detach()) for read_end, write_end in duplicates]
    return PipesToCarry(pipes)
