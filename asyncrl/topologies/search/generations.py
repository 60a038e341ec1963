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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.scheduler.board import OPENED, REQUEST, Board
from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, prefixed
from asyncrl.shared.atomics import load_acquire
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking
from asyncrl.shared.states import States
from asyncrl.shared.tickets import Tickets

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
    each: bool = False
    """Whether the learner's place is told of every evaluation: on a site, where it collects them for a learner elsewhere."""

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
