"""Recovery after an actor or the learner of a stream dies."""

from __future__ import annotations

from collections.abc import Sequence

from asyncrl.launcher.contract import Estate, complete_below
from asyncrl.scheduler.board import Board
from asyncrl.scheduler.modes import Mode
from asyncrl.shared.ledger import Ledger
from asyncrl.topologies.streams.streams import Streams


class StreamsEstate(Estate):
    """A unit that a dead actor had not published counts as never begun. Nobody stands in for a dead learner."""

    def __init__(self, streams: Streams, board: Board, ledger: Ledger):
        self._streams, self._board, self._ledger = streams, board, ledger

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        for worker, is_owned in enumerate(owned[:-1]):
            if not is_owned:
                self._streams.settle(worker)

    def bury(self, worker: int, epoch_runs: bool) -> None:
        if worker < self._board.workers - 1:
            self._streams.settle(worker)

    def may_be_silent(self, worker: int) -> bool:
        """True of the learner, whose updates may be long."""
        return worker == self._board.workers - 1

    def owes_nothing(self, worker: int) -> bool:
        """True of all but the learner, which has to end the epoch."""
        return worker != self._board.workers - 1

    def version(self) -> int:
        return self._streams.snapshots.version

    def updates(self) -> int:
        """Updates as the learner counts them: a version may hold several."""
        return int(self._ledger.total("updates"))

    def told_below(self) -> int | None:
        return complete_below(self._board.mode(), self.version())
