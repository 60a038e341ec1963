"""What the dead leave: how each topology settles a dead worker's words, and what else it does when epochs begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncrl.scheduler.board import ROUNDS, UPDATES, Board
from asyncrl.scheduler.generations import SearchGround, place_of
from asyncrl.scheduler.modes import UNBOUNDED, Mode
from asyncrl.scheduler.pace import Books, Ground
from asyncrl.scheduler.rounds import RoundsPace
from asyncrl.scheduler.streams import Streams
from asyncrl.scheduler.window import finish_using, take_over
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parking import Parking


class SharedGround(Protocol):
    """What every topology's ground has."""

    @property
    def board(self) -> Board: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def parking(self) -> Parking: ...


class Estate(Protocol):
    """A topology's part of the launcher's work."""

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """An epoch is about to begin under `mode`; `owned[i]`: worker i's words are its process's. Everybody is at the gate."""

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        """The epoch has begun: its orders are those that whoever stands in reads."""

    def grant(self, worker: int, epoch_runs: bool) -> None:
        """Worker i's words are about to become its process's."""

    def bury(self, worker: int, epoch_runs: bool) -> None:
        """Worker i is confirmed dead; the launcher is the writer of its words from now on."""

    def may_be_silent(self, worker: int) -> bool:
        """Whether worker i may work for minutes without a sign of life: its successor would only begin the same again."""

    def stand_in(self) -> bool:
        """Make the moves that the dead owe the living. Returns whether any was made."""

    def owes_nothing(self, worker: int) -> bool:
        """Whether the epoch may end without worker i, which is dead."""

    def close(self) -> None:
        """The epoch is over."""

    def settle_all(self, epoch_runs: bool) -> None:
        """All are dead: finish what was handed over."""

    def version(self) -> int:
        """The newest version of the shared parameters."""

    def updates(self) -> int:
        """Updates that were made so far. A version may hold several, or none: what is published is not always new."""

    def told_below(self) -> int | None:
        """Every finished episode whose `order` is below this has been told. None in modes without an order, where they count as they come.

        To be asked before the episodes are collected.
        """


class RoundsEstate:
    """Actor-learners: in rounds modes the others need the dead worker's empty contribution and its shard."""

    def __init__(self, ground: Ground):
        self._ground = ground
        self._stand_ins: dict[int, RoundsPace] = {}

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """See `Estate`."""
        board, ledger = self._ground.board, self._ground.ledger
        board.set_order(ROUNDS, board.applied_by_all())
        board.set_order(UPDATES, self.version())
        for worker, is_owned in enumerate(owned):
            store_release(board.base, worker, ledger.clock(worker))
            store_release(board.live, worker, int(is_owned))

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        """See `Estate`."""
        if mode.delay is not None:
            self._stand_ins = {worker: self._pace(worker) for worker, is_owned in enumerate(owned) if not is_owned}

    def grant(self, worker: int, epoch_runs: bool) -> None:
        """See `Estate`."""
        board, ledger = self._ground.board, self._ground.ledger
        self._stand_ins.pop(worker, None)
        if epoch_runs and board.mode().delay is None and board.live.any():
            # At least level with the slowest, so that nobody waits for it to make up what was missed. Never set back,
            # since others count on how far this slot can still go while they are in their round.
            level = max(board.slowest(ledger.clocks), ledger.clock(worker) - load_acquire(board.base, worker))
            store_release(board.base, worker, ledger.clock(worker) - level)
        store_release(board.live, worker, 1)

    def bury(self, worker: int, epoch_runs: bool) -> None:
        """See `Estate`."""
        store_release(self._ground.board.live, worker, 0)
        if epoch_runs and self._ground.board.mode().delay is not None:
            self._stand_ins[worker] = self._pace(worker)

    def may_be_silent(self, worker: int) -> bool:
        """See `Estate`."""
        return False

    def stand_in(self) -> bool:
        """See `Estate`."""
        moved = False
        for pace in list(self._stand_ins.values()):
            while pace.stand_in():
                moved = True
        return moved

    def owes_nothing(self, worker: int) -> bool:
        """See `Estate`."""
        return worker not in self._stand_ins or self._stand_ins[worker].at_gate()

    def close(self) -> None:
        """See `Estate`."""
        self._stand_ins.clear()

    def settle_all(self, epoch_runs: bool) -> None:
        """Finish the round in which all died, so that every gradient that was handed over counts."""
        if not epoch_runs or self._ground.board.mode().delay is None:
            return
        self._stand_ins = {worker: self._pace(worker) for worker in range(self._ground.board.workers)}
        while any(pace.stand_in() for pace in self._stand_ins.values()):
            continue

    def version(self) -> int:
        """See `Estate`."""
        return self._ground.board.applied_by_all() + int(self._ground.ledger.total("updates"))

    def updates(self) -> int:
        """See `Estate`."""
        return self.version()

    def told_below(self) -> int | None:
        """See `Estate`."""
        return _complete(self._ground.board.mode(), self.version())

    def _pace(self, worker: int) -> RoundsPace:
        return RoundsPace(self._ground, worker, Books(self._ground.ledger, worker))


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
        return _complete(self._board.mode(), self.version())


def _complete(mode: Mode, version: int) -> int | None:
    """Below which version all acting is over, once `version` is there: round r, the update of version r, acted on r - delay."""
    return None if mode.delay is None else version - mode.delay


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
