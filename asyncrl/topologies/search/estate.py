"""Recovery after a worker or the learner of a search dies."""

from __future__ import annotations

from collections.abc import Sequence

from asyncrl.launcher.contract import Estate
from asyncrl.scheduler.modes import UNBOUNDED, Mode
from asyncrl.topologies.search.generations import SearchGround, place_of
from asyncrl.topologies.search.window import finish_using, take_over


class TicketsEstate(Estate):
    """The tickets that a dead worker held are free again. Nobody needs anything else of it."""

    def __init__(self, ground: SearchGround):
        self._ground = ground

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """Make the window of tickets one that this mode can go on with."""
        ground = self._ground
        version = ground.version
        used = ground.states.one(version, "used")
        finish_using(ground.tickets, used)
        if ground.arrival and mode.bound >= UNBOUNDED:
            return
        if take_over(ground.tickets, version, ground.population, mode.delay):
            used[:] = -1  # some of them may be done over

    def bury(self, worker: int, epoch_runs: bool) -> None:
        self._ground.tickets.release(worker)

    def owes_nothing(self, worker: int) -> bool:
        """True of all but the learner, which has to end the epoch."""
        return worker != self._ground.learner

    def settle_all(self, epoch_runs: bool) -> None:
        for worker in range(self._ground.board.workers):
            self._ground.tickets.release(worker)

    def version(self) -> int:
        return self._ground.version

    def updates(self) -> int:
        """Updates as the learner counts them: versions that changed nothing are not among them."""
        return int(self._ground.ledger.total("updates"))

    def told_below(self) -> int | None:
        """All that the newest version was made from, and what came before. Others may belong to generations that are never completed."""
        ground = self._ground
        return None if ground.board.mode().delay is None else place_of(ground.version * ground.population, 0)
