"""A worker's side of a search (see `generations`): which ticket it may claim, and on which version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from asyncrl.scheduler.board import DELAY, IN_PLACE
from asyncrl.scheduler.pace import Books, slept
from asyncrl.topologies.search.generations import SearchGround


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
        """Wait for a ticket, copy the parameters that it acts on into local [N]; None when it is time for the gate."""
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
        if ground.each or self._may_concern_learner():
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
        self._books.add("wait_seconds", slept(self._ground.parking, self._worker, condition))
