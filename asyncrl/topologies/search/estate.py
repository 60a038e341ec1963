"""Recovery after a worker or the learner of a search dies: see `asyncrl.launcher.estate`."""

from __future__ import annotations

from collections.abc import Sequence

from asyncrl.scheduler.modes import UNBOUNDED, Mode
from asyncrl.topologies.search.generations import SearchGround, place_of
from asyncrl.topologies.search.window import finish_using, take_over


class TicketsEstate:
    """Black-box search: what a dead worker held is free again. Nobody needs its moves."""

    def __init__(self, ground: SearchGround):
        self._ground = ground

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """See `Estate`: the window is made one that this mode can go on with."""
        ground = self._ground
        version = ground.version
        used = ground.states.one(version, "used")
        finish_using(ground.tickets, used)
        if ground.arrival and mode.bound >= UNBOUNDED:
            return
        if take_over(ground.tickets, version, ground.population, mode.delay):
            used[:] = -1  # some of them may be done over

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        """See `Estate`."""

    def grant(self, worker: int, epoch_runs: bool) -> None:
        """See `Estate`."""

    def bury(self, worker: int, epoch_runs: bool) -> None:
        """See `Estate`."""
        self._ground.tickets.release(worker)

    def may_be_silent(self, worker: int) -> bool:
        """See `Estate`."""
        return False

    def stand_in(self) -> bool:
        """See `Estate`."""
        return False

    def owes_nothing(self, worker: int) -> bool:
        """See `Estate`: all but the learner, which has to end the epoch."""
        return worker != self._ground.learner

    def close(self) -> None:
        """See `Estate`."""

    def settle_all(self, epoch_runs: bool) -> None:
        """See `Estate`."""
        for worker in range(self._ground.board.workers):
            self._ground.tickets.release(worker)

    def version(self) -> int:
        """See `Estate`."""
        return self._ground.version

    def updates(self) -> int:
        """See `Estate`; versions that changed nothing do not count."""
        return int(self._ground.ledger.total("updates"))

    def told_below(self) -> int | None:
        """See `Estate`: what the newest version was made from. Others may belong to generations that are never completed."""
        ground = self._ground
        return None if ground.board.mode().delay is None else place_of(ground.version * ground.population, 0)
