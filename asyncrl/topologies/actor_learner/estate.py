"""Recovery after an actor-learner dies."""

from __future__ import annotations

from collections.abc import Sequence

from asyncrl.launcher.contract import Estate, complete_below
from asyncrl.scheduler.board import ROUNDS, UPDATES
from asyncrl.scheduler.modes import Mode
from asyncrl.scheduler.pace import Books, Ground
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.topologies.actor_learner.rounds import RoundsPace


class RoundsEstate(Estate):
    """In rounds modes the others need the dead worker's empty contribution and its shard."""

    def __init__(self, ground: Ground):
        self._ground = ground
        self._stand_ins: dict[int, RoundsPace] = {}

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        board, ledger = self._ground.board, self._ground.ledger
        board.set_order(ROUNDS, board.applied_by_all())
        board.set_order(UPDATES, self.version())
        if self._ground.whole is not None:
            self._ground.whole.recount(int(ledger.total("steps")))
        for worker, is_owned in enumerate(owned):
            store_release(board.base, worker, ledger.clock(worker))
            store_release(board.live, worker, int(is_owned))

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        if mode.delay is not None:
            self._stand_ins = {worker: self._pace(worker) for worker, is_owned in enumerate(owned) if not is_owned}

    def grant(self, worker: int, epoch_runs: bool) -> None:
        board, ledger = self._ground.board, self._ground.ledger
        self._stand_ins.pop(worker, None)
        if epoch_runs and board.mode().delay is None and board.live.any():
            # At least level with the slowest, so that nobody waits for it to make up what was missed. Never set back,
            # since others count on how far this slot can still go while they are in their round.
            level = max(board.slowest(ledger.clocks), ledger.clock(worker) - load_acquire(board.base, worker))
            store_release(board.base, worker, ledger.clock(worker) - level)
        store_release(board.live, worker, 1)

    def bury(self, worker: int, epoch_runs: bool) -> None:
        store_release(self._ground.board.live, worker, 0)
        if epoch_runs and self._ground.board.mode().delay is not None:
            self._stand_ins[worker] = self._pace(worker)

    def stand_in(self) -> bool:
        moved = False
        for pace in list(self._stand_ins.values()):
            while pace.stand_in():
                moved = True
        return moved

    def owes_nothing(self, worker: int) -> bool:
        return worker not in self._stand_ins or self._stand_ins[worker].at_gate()

    def close(self) -> None:
        self._stand_ins.clear()

    def settle_all(self, epoch_runs: bool) -> None:
        """Finish the round in which all died, so that every gradient that was handed over counts."""
        if not epoch_runs or self._ground.board.mode().delay is None:
            return
        self._stand_ins = {worker: self._pace(worker) for worker in range(self._ground.board.workers)}
        while any(pace.stand_in() for pace in self._stand_ins.values()):
            continue

    def version(self) -> int:
        if self._ground.whole is not None:
            return self._ground.whole.version
        return self._ground.board.applied_by_all() + int(self._ground.ledger.total("updates"))

    def updates(self) -> int:
        if self._ground.rule.each:  # every gradient that was used made one, in rounds and in place
            return int(self._ground.ledger.total("lag_count"))
        return self.version()

    def told_below(self) -> int | None:
        return complete_below(self._ground.board.mode(), self.version())

    def _pace(self, worker: int) -> RoundsPace:
        return RoundsPace(self._ground, worker, Books(self._ground.ledger, worker))
