"""Recovery after an actor or the learner of a stream dies: see `asyncrl.launcher.estate`."""

from __future__ import annotations

from collections.abc import Sequence

from asyncrl.launcher.estate import complete_below
from asyncrl.scheduler.board import Board
from asyncrl.scheduler.modes import Mode
from asyncrl.shared.ledger import Ledger
from asyncrl.topologies.streams.streams import Streams


class StreamsEstate:
    """Actors -> rings -> learner: a dead actor's unit that was not published was never begun. Nobody stands in for a dead learner."""

    def __init__(self, streams: Streams, board: Board, ledger: Ledger):
        self._streams, self._board, self._ledger = streams, board, ledger

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """See `Estate`."""
        for worker, is_owned in enumerate(owned[:-1]):
            if not is_owned:
                self._streams.settle(worker)

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        """See `Estate`."""

    def grant(self, worker: int, epoch_runs: bool) -> None:
        """See `Estate`."""

    def bury(self, worker: int, epoch_runs: bool) -> None:
        """See `Estate`."""
        if worker < self._board.workers - 1:
            self._streams.settle(worker)

    def may_be_silent(self, worker: int) -> bool:
        """See `Estate`: the learner, whose updates may be long."""
        return worker == self._board.workers - 1

    def stand_in(self) -> bool:
        """See `Estate`."""
        return False

    def owes_nothing(self, worker: int) -> bool:
        """See `Estate`: all but the learner, which has to end the epoch."""
        return worker != self._board.workers - 1

    def close(self) -> None:
        """See `Estate`."""

    def settle_all(self, epoch_runs: bool) -> None:
        """See `Estate`: the rings end with the run."""

    def version(self) -> int:
        """See `Estate`."""
        return self._streams.snapshots.version

    def updates(self) -> int:
        """See `Estate`: the learner counts them."""
        return int(self._ledger.total("updates"))

    def told_below(self) -> int | None:
        """See `Estate`."""
        return complete_below(self._board.mode(), self.version())
