"""Waiting without locks and without busy loops: spin briefly, yield, then sleep until woken."""

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
from asyncrl.shared.stages import Stages

SPINS = 4
PATIENT_SPINS = 300
LONGEST_REST = 40
YIELDS = 4
RECHECK_SECONDS = 0.1


@njit(cache=True)
def _rest(turns):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        fence()  # takes some tens of cycles without reading memory


@njit(cache=True)
def _anybody_sleeps(sleeping):  # type: ignore[no-untyped-def]
    # The fence orders the caller's store of its progress before these loads: either the sleeper is seen here, or
    # the sleeper's second check sees the progress.
    fence()
    for index in range(0, sleeping.size, WORDS_PER_LINE):  # noqa: SIM110 - any() does not compile
        if load_acquire(sleeping, index) != 0:
            return True
    return False


class Parking:
    """One place per waiting process, where it sleeps until another process makes progress and wakes it (an event count).

    Writers:  waiter i writes word i of ``sleeping``: 1 while it sleeps or is about to. Any process may write to its pipe.
    Readers:  every process that makes progress checks whether a waiter sleeps.
    Stale:    harmless. A waiter sets its word, then checks its condition once more, then sleeps; a process that makes
              progress stores it first, then reads the words. An unneeded wake-up costs one more check.
    When full: a full pipe already holds a wake-up, so nothing is written.
    Crash:    a dead waiter leaves its word at 1, which costs one write per wake-up until its replacement sleeps again.
              In any case every sleeper checks its condition ten times a second.
    """

    def __init__(self, sleeping: NDArray[np.int64], pipes: list[tuple[int, int]]):
        """`sleeping`: the array of `layout`, [places * WORDS_PER_LINE]; `pipes`: (read end, write end) of each place."""
        self._sleeping = sleeping
        self._pipes = pipes
        self._polls: dict[int, Any] = {}
        self.spins = SPINS
        """How often a waiter checks its condition before it yields and sleeps. PATIENT_SPINS (about 0.4 ms) is faster if
        every waiter has a core of its own, since waking a sleeping core takes longer than most waits; otherwise it would
        take time from other processes."""
        self.now: Callable[[], float] = time.perf_counter
        """The time by which waiting is measured, in seconds."""
        self.waited = 0.0
        """Seconds that this process has waited here."""

    def stages(self, place: int) -> Stages:
        """What the worker at `place` tells when a stage of its round ends."""
        return Stages()

    @staticmethod
    def layout(places: int) -> Layout:
        """Layout of the array ``sleeping`` for so many places."""
        return {"sleeping": padded_words(places)}

    @classmethod
    def allocate(cls, sleeping: NDArray[np.int64]) -> Parking:
        """Open a pipe for each place of sleeping[places * WORDS_PER_LINE]. Raises SharedMemoryError at the limit of open files."""
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
        """The pipes in a form that can be an argument of a process that is being started."""
        return PipesToCarry(self._pipes)

    def fileno(self, place: int) -> int:
        """The file descriptor that becomes readable when `place` is woken, for a select loop of its owner."""
        return self._pipes[place][0]

    def announce(self, place: int) -> None:
        """Announce that `place` is about to sleep; its condition must be checked once more after this."""
        store_release(self._sleeping, place * WORDS_PER_LINE, 1)
        fence()

    def arise(self, place: int) -> None:
        """Withdraw the announcement and discard pending wake-ups."""
        store_release(self._sleeping, place * WORDS_PER_LINE, 0)
        try:
            while os.read(self._pipes[place][0], 64):
                continue
        except BlockingIOError:
            return  # empty: nothing is pending

    def wake_all(self) -> None:
        """Wake every sleeping place. To be called after the progress was stored."""
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
        """Return True once `condition()` is true, False after `seconds`. Only the process that owns `place` may call this."""
        if condition():
            return True
        began = time.perf_counter()
        try:
            return self._wait(place, condition, seconds)
        finally:
            self.waited += time.perf_counter() - began

    def _wait(self, place: int, condition: Callable[[], Any], seconds: float | None) -> bool:
        for turn in range(self.spins - 1):
            _rest(min(turn, LONGEST_REST))
            if condition():
                return True
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
        """Close this process's ends of the pipes."""
        for ends in set(self._pipes):
            for end in ends:
                os.close(end)
        self._pipes = []


class HostedParking(Parking):
    """The main process's side where all places but the last, its own, are of virtual workers in one process, their host.

    They share one pipe, by which the host is told to look at what they wait for. It looks in any case before it sleeps, so it is
    told always, and no word says whether it sleeps; `sleeping` is the host's own.
    """

    @classmethod
    def allocate(cls, sleeping: NDArray[np.int64]) -> HostedParking:
        two = Parking.allocate(sleeping[: 2 * WORDS_PER_LINE])
        host, own = two._pipes
        return cls(sleeping, [*[host] * (sleeping.size // WORDS_PER_LINE - 1), own])

    def carried(self) -> PipesToCarry:
        return PipesToCarry(self._pipes, HostedParking)

    def announce(self, place: int) -> None:
        """Nothing: the main process is woken whenever there is news for it."""

    def arise(self, place: int) -> None:
        if place == len(self._pipes) - 1:
            super().arise(place)

    def wake_all(self) -> None:
        self.wake(0)


class PipesToCarry:
    """The pipes of a Parking as an argument for a child process: pickling duplicates their descriptors, each once."""

    def __init__(self, pipes: list[tuple[int, int]], kind: type[Parking] = Parking):
        """`kind`: of the parking over them."""
        self.pipes, self._kind = pipes, kind
        self.own: Parking | None = None
        """Set by the host of virtual workers: what all of them wait with, instead of another one over the pipes."""

    def parking(self, sleeping: NDArray[np.int64]) -> Parking:
        """A parking over the pipes and the words sleeping[places * WORDS_PER_LINE]."""
        return self._kind(sleeping, self.pipes) if self.own is None else self.own

    def __reduce__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        different = list(dict.fromkeys(self.pipes))
        which = [different.index(ends) for ends in self.pipes]
        return _receive, ([tuple(reduction.DupFd(end) for end in ends) for ends in different], which, self._kind)


def _receive(duplicates: list[tuple[Any, Any]], which: list[int], kind: type[Parking]) -> PipesToCarry:
    pipes = [(read_end.detach(), write_end.detach()) for read_end, write_end in duplicates]
    return PipesToCarry([pipes[number] for number in which], kind)
