"""Generations: the update modes for black-box search, over a window of tickets that workers claim.

Ticket n belongs to generation n // P (P tickets each). The learner makes version g + 1 from generation g:

    sync        generation g is claimed once version g is there, and acts on it
    pipelined   generation g is claimed once version g - 1 is there, and acts on it (generation 0: on version 0)
    bounded:K   generation g is claimed once version g - K is there; a ticket acts on the newest version
    async       the same, with K as large as the window

What a ticket is does not depend on who does it, so `sync` and `pipelined` give the same bits with any number of workers,
through kills, and through a gate at any time: what is in the window then, done or not, stays there, and a checkpoint keeps
it. Only before another mode is everything used up that was begun (or done over, where an interruption comes before that:
`window.take_over`). Nobody waits for a slow episode unless the mode says so:
others go on with the next generation. An update takes its generation in the order of dispatch, so episodes that end early
count no more than others; `arrival` (async only) takes the first P evaluations that are done, whatever their generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.scheduler.board import BOUND, DELAY, DRAIN, IN_PLACE, MARK, OPENED, REQUEST, Board
from asyncrl.scheduler.modes import UNBOUNDED
from asyncrl.scheduler.pace import Books
from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, prefixed
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking
from asyncrl.shared.states import States
from asyncrl.shared.tickets import Tickets
from asyncrl.topologies.search.window import use_up

LEAST_WINDOW, WINDOW_TICKETS = 8, 256
"""In `async` so many generations may be under way beside the one that the learner waits for: as many as have so many tickets
(so that a long episode does not stop small generations), but no fewer than LEAST_WINDOW."""

MOST_ATTEMPTS = 3
"""How often an evaluation of a policy without a finite return is made again."""


def window_for(population: int) -> int:
    """Generations of this many tickets that may be under way ahead of the oldest one."""
    return max(LEAST_WINDOW, -(-WINDOW_TICKETS // population))


def slots_for(population: int) -> int:
    """Slots that the window of tickets needs."""
    return population * (window_for(population) + 1)


def place_of(number: int, attempt: int) -> int:
    """Where an evaluation stands in the order of all: by ticket number, then by attempt (from 0)."""
    return number * (MOST_ATTEMPTS + 1) + attempt


@dataclass(frozen=True)
class SearchGround:
    """The shared parts that workers and learner of a search work on. Worker i is place i of the board, the learner the last.

    `over` is the learner's word: the newest epoch that it has ended.
    """

    board: Board
    ledger: Ledger
    parking: Parking
    tickets: Tickets
    snapshots: Snapshots
    states: States
    """The learner's state, of the newest version and of the one before."""
    over: NDArray[np.int64]
    population: int
    arrival: bool
    """Whether `async` takes evaluations as they arrive."""
    retries: int = MOST_ATTEMPTS
    """How often an evaluation without a finite return is made again."""
    most: int | None = None
    """Tickets that are ever given out; None: as many as the steps take. What is left after the last whole generation is done too."""

    @property
    def learner(self) -> int:
        """The learner's place."""
        return self.board.workers - 1

    @property
    def version(self) -> int:
        """Updates made so far."""
        return self.snapshots.version

    def is_over(self) -> bool:
        """Whether it is time for the gate."""
        board = self.board
        return board.order(REQUEST) > board.order(OPENED) or load_acquire(self.over, 0) >= board.order(OPENED)

    def is_used_up(self) -> bool:
        """Whether no update can be made any more: fewer tickets are left than a generation has, and all of them are done."""
        if self.most is None:
            return False
        left = self.most - self.version * self.population
        return left < self.population and len(self.tickets.done(self.population)) >= left

    @staticmethod
    def layout(
        population: int, record: Mapping[str, Any], published_size: int, state: Mapping[str, NDArray[Any]], dtype: DTypeLike = np.float32
    ) -> Layout:
        """`record`: fields of an evaluation; `state`: an example of the learner's; `dtype`: of what is published."""
        return {
            **prefixed("tickets", Tickets.layout(slots_for(population), record)),
            **prefixed("snapshots", Snapshots.layout(published_size, dtype=dtype)),
            **prefixed("states", States.layout(state)),
            "over": ((WORDS_PER_LINE,), np.int64),
        }


class Claim(NamedTuple):
    """A ticket in a worker's hands."""

    number: int
    generation: int
    ticket: int
    """Within its generation."""
    slot: int
    """Of the records."""
    version: int
    """Of the parameters that `claim` has copied."""


class WorkerPace:
    """A worker's side, for one epoch. Its loop, in every mode::

    while (claim := pace.claim(local)) is not None:
        ...                         # evaluate, write the record of claim.slot
        pace.hand_in(claim)
    """

    def __init__(self, ground: SearchGround, worker: int, books: Books):
        self._ground, self._worker, self._books = ground, worker, books
        self._delay = ground.board.order(DELAY)
        self._number = -1
        self._copied = -1

    def claim(self, local: NDArray[Any]) -> Claim | None:
        """Wait for a ticket, copy the parameters that it acts on into `local`; None when it is time for the gate."""
        if not self._take():
            self._wait(self._take)
        if self._number < 0:
            return None
        ground, number = self._ground, self._number
        generation, ticket = divmod(number, ground.population)
        version = self._copy(None if self._delay == IN_PLACE else max(generation - self._delay, 0), local)
        return Claim(number, generation, ticket, ground.tickets.slot(number), version)

    def hand_in(self, claim: Claim) -> None:
        """The record is written: it is the learner's."""
        ground = self._ground
        ground.tickets.hand_in(claim.number)
        if self._may_concern_learner():
            ground.parking.wake(ground.learner)

    def _take(self) -> bool:
        """Whether there is no need to wait: a ticket was claimed, or it is time for the gate."""
        self._number = -1 if self._ground.is_over() else self._ground.tickets.claim(self._worker)
        return self._number >= 0 or self._ground.is_over()

    def _copy(self, wanted: int | None, local: NDArray[Any]) -> int:
        if self._copied != (self._ground.snapshots.version if wanted is None else wanted):
            version = self._ground.snapshots.copy(local, wanted)
            if version is None:
                raise RuntimeError(f"the parameters of version {wanted} are gone: the learner did not wait for worker {self._worker}")
            self._copied = version
        return self._copied

    def _may_concern_learner(self) -> bool:
        """Whether a generation is complete: waking the learner for each evaluation would cost short ones dearly."""
        tickets, population = self._ground.tickets, self._ground.population
        first = self._ground.version * population
        if tickets.all_done(first, first + population) or (self._ground.arrival and len(tickets.done(population)) == population):
            return True
        return self._ground.is_used_up()

    def _wait(self, condition: Callable[[], bool]) -> None:
        began = time.perf_counter()
        self._ground.parking.wait(self._worker, condition)
        self._books.add("wait_seconds", time.perf_counter() - began)


class LearnerPace:
    """The learner's side, for one epoch. Its loop, in every mode::

    while (numbers := pace.batch()) is not None:
        ...                         # make the next version from the records of these tickets
        pace.publish(numbers, vector, used_steps)
    """

    def __init__(self, ground: SearchGround, used_steps: int):
        """`used_steps`: steps of all evaluations used so far."""
        self._ground = ground
        board = ground.board
        self._in_place = board.order(DELAY) == IN_PLACE
        self._ahead = min(board.order(BOUND), window_for(ground.population)) if self._in_place else board.order(DELAY)
        self._arrival = ground.arrival and board.order(BOUND) >= UNBOUNDED
        self._used_steps = used_steps
        self._numbers: NDArray[np.int64] | None = None
        self.reissued = 0
        self.has_ended = False
        """Set by the learner where the search has come to its own end."""

    def batch(self) -> NDArray[np.int64] | None:
        """Wait until an update can be made; returns its tickets in order, or None when it is time for the gate."""
        self._numbers = None
        # Where a predecessor has ended the epoch, nobody works any more: there is nothing to wait for.
        if not self.has_ended and load_acquire(self._ground.over, 0) < self._ground.board.order(OPENED):
            self._set_limit()
            self._ground.parking.wait(self._ground.learner, self._look)
        if self._numbers is None:
            store_release(self._ground.over, 0, self._ground.board.order(OPENED))
            self._ground.parking.wake_all()
        return self._numbers

    def publish(self, numbers: NDArray[np.int64], vector: NDArray[Any], used_steps: int) -> int:
        """Make `vector` the next version, made from these tickets; returns it. The learner's state is saved already."""
        version = self._ground.snapshots.publish(vector)
        use_up(self._ground.tickets, numbers)
        self._used_steps = used_steps
        return version

    def _set_limit(self) -> None:
        """Whole generations always: else, of `arrival`'s, fewer than an update takes could be left over, and nothing claimable."""
        tickets, population = self._ground.tickets, self._ground.population
        if not self._is_done():
            room = tickets.first // population * population + tickets.slots
            limit = min((self._ground.version + 1 + self._ahead) * population, room)
            tickets.set_limit(limit if self._ground.most is None else min(limit, self._ground.most))
        elif self._in_place and self._is_closing():
            self._end_claims()
        self._ground.parking.wake_all()

    def _end_claims(self) -> None:
        """Let the generations be finished that were begun, and no more."""
        tickets, population = self._ground.tickets, self._ground.population
        while True:
            newest = tickets.newest_begun() // population
            tickets.set_limit((newest + 1) * population)
            if tickets.newest_begun() // population <= newest:
                return  # otherwise something was claimed before the limit was lowered

    def _is_closing(self) -> bool:
        """The mark is reached, another mode follows, and what was begun has to be used up first."""
        return self._is_done() and 0 < self._ground.board.order(DRAIN) <= self._used_steps

    def _is_done(self) -> bool:
        return self._used_steps >= self._ground.board.order(MARK)

    def _look(self) -> bool:
        """Whether `batch` can return; what it returns is then in `_numbers`."""
        ground, tickets, population = self._ground, self._ground.tickets, self._ground.population
        self._numbers = None
        if ground.board.order(REQUEST) > ground.board.order(OPENED) or (self._is_done() and not self._is_closing()):
            return True
        if ground.is_used_up():
            return True
        first = ground.version * population
        if self._arrival:
            numbers = tickets.done(population)
            if len(numbers) == population and not self._reissue(numbers):
                self._numbers = numbers.copy()
                return True
        elif tickets.all_done(first, first + population) and not self._reissue(numbers := np.arange(first, first + population)):
            self._numbers = numbers
            return True
        return self._is_closing() and tickets.limit <= tickets.first

    def _reissue(self, numbers: NDArray[np.int64]) -> bool:
        """Give out again what has no finite return, unless it was tried often enough. Whether there was any."""
        tickets = self._ground.tickets
        slots = numbers % tickets.slots
        made = tickets.records["made"]
        again = ~np.isfinite(tickets.records["value"][slots]) & (made[slots] < self._ground.retries)
        for number in numbers[again]:
            slot = tickets.slot(int(number))
            tickets.records["attempt"][slot] = made[slot] + 1  # not += 1: whoever is killed here is succeeded by one that comes here again
            tickets.reissue(int(number))
            self.reissued += 1
        if again.any():
            self._ground.parking.wake_all()
        return bool(again.any())
