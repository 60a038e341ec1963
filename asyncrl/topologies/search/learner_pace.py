"""The learner's side of a search (see `generations`): which tickets an update takes, and when the epoch is over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import BOUND, DELAY, DRAIN, IN_PLACE, MARK, OPENED, REQUEST
from asyncrl.scheduler.modes import UNBOUNDED
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.topologies.search.generations import SearchGround, window_for
from asyncrl.topologies.search.window import use_up


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
        """Wait until an update can be made; returns its tickets [n] in order, or None when it is time for the gate."""
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
        """Make vector [N] the next version, made from the tickets numbers [n]; returns its number. The learner's state is saved already."""
        version = self._ground.snapshots.publish(vector)
        use_up(self._ground.tickets, numbers)
        self._used_steps = used_steps
        return version

    def _set_limit(self) -> None:
        """Let workers claim tickets up to the limit that the mode allows, in whole generations.

        With `arrival` an update takes any `population` evaluations. If the limit cut a generation in two, fewer tickets than that
        could be left in the window: no update could be made of them, and workers would have nothing to claim.
        """
        tickets, population = self._ground.tickets, self._ground.population
        if not self._is_done():
            room = tickets.first // population * population + tickets.slots
            limit = min((self._ground.version + 1 + self._ahead) * population, room)
            tickets.set_limit(limit if self._ground.most is None else min(limit, self._ground.most))
        elif self._in_place and self._is_closing():
            self._end_claims()
        self._ground.parking.wake_all()

    def _end_claims(self) -> None:
        """Lower the limit to the end of the newest generation of which a ticket was claimed."""
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
        """Give out again the tickets without a finite return that may still be tried. Returns whether there were any."""
        tickets = self._ground.tickets
        slots = numbers % tickets.slots
        made = tickets.records["made"]
        again = ~np.isfinite(tickets.records["value"][slots]) & (made[slots] < self._ground.retries)
        for number in numbers[again]:
            slot = tickets.slot(int(number))
            tickets.records["attempt"][slot] = made[slot] + 1  # not += 1: if a learner is killed here, its successor runs this line again
            tickets.reissue(int(number))
            self.reissued += 1
        if again.any():
            self._ground.parking.wake_all()
        return bool(again.any())
