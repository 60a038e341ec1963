"""Which tickets a place has lent to its site, and which it has given to others since the site was silent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import DELAY, IN_PLACE
from asyncrl.topologies.search.generations import SearchGround


class Loan(NamedTuple):
    """A ticket on its way to a site."""

    number: int
    attempt: int
    version: int | None
    """That it acts on; None for the newest."""


class Lending:
    """The tickets of one place.

    A ticket that is *held* is this place's in the run's window. A *stray* is one that the site may still do, although it was given back:
    whoever answers first counts, and `accept` says whether an answer is that.
    """

    def __init__(self, ground: SearchGround, place: int):
        self._ground, self._tickets, self._place = ground, ground.tickets, place
        self.held: dict[int, int] = {}
        """Number -> attempt."""
        self.strays: dict[int, int] = {}

    def __len__(self) -> int:
        """Tickets that the site may have."""
        return len(self.held) + len(self.strays)

    def claim(self, most: int) -> list[Loan]:
        """Claim at most so many tickets, without waiting."""
        delay, loans = self._ground.board.order(DELAY), list[Loan]()
        while len(loans) < most and not self._ground.is_over() and (number := self._tickets.claim(self._place)) >= 0:
            attempt = int(self._tickets.records["attempt"][self._tickets.slot(number)])
            generation = number // self._ground.population
            self.strays.pop(number, None)
            self.held[number] = attempt
            loans.append(Loan(number, attempt, None if delay == IN_PLACE else max(generation - delay, 0)))
        return loans

    def give_up(self) -> None:
        """Give everything that is held to others. What comes of it may still be taken."""
        self.strays |= self.held
        for number in self.held:
            self._tickets.give_back(number)
        if self.held:
            self.held = {}
            self._ground.parking.wake_all()

    def forget(self) -> None:
        """The site is gone: nothing will come of what it had."""
        self.give_up()
        self.strays = {}

    def returned(self, numbers: NDArray[np.int64]) -> None:
        """The site does not do these tickets [m]."""
        for number in numbers.tolist():
            self.strays.pop(number, None)
            if self.held.pop(number, None) is not None:
                self._tickets.give_back(number)
        if len(numbers):
            self._ground.parking.wake_all()

    def accept(self, number: int, made: int) -> bool:
        """Whether the result of this attempt counts: it is held then, and to be handed in. Else another has done it, or is at it."""
        if self.held.get(number) == made:
            return True
        if self.strays.pop(number, None) != made or not self._tickets.take(number, self._place):
            return False
        if int(self._tickets.records["attempt"][self._tickets.slot(number)]) != made:
            self._tickets.give_back(number)
            return False
        return True

    def done(self, number: int) -> None:
        """A result was handed in."""
        self.held.pop(number, None)
