"""In place: the modes in which every worker updates the shared parameters itself, without locks (`bounded:K`, `async`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import BOUND, ROUNDS
from asyncrl.scheduler.modes import UNBOUNDED
from asyncrl.scheduler.pace import Books, Clockwork, Ground, Pace
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.atomics import load_acquire
from asyncrl.shared.optimizers import Place, clip_scale, norm
from asyncrl.shared.stages import Stages


class InPlacePace(Clockwork, Pace):
    """Hogwild, with or without a bound on how far anybody may be ahead of the slowest.

    Under `bounded:K` with W workers the lag is at most (2K + 1)(W - 1): while one worker is in its round c, each other one can
    complete only the rounds c - K to c + K. Injected staleness comes on top of that.

    Optimizer statistics are shared, unless `parameters.own_statistics` has rows: then each worker has its own. The optimizer is told
    how many updates its statistics have seen. For shared ones these are everybody's; for a worker's own it is the count in its
    ledger record, which outlives deaths and resumed runs as the statistics do.
    """

    def __init__(
        self, ground: Ground, worker: int, books: Books, copies: OldCopies | None = None, stages: Stages | None = None
    ):
        super().__init__(ground, worker, books, copies, stages)
        board, parameters = ground.board, ground.parameters
        self._bound = board.order(BOUND)
        self._rounds_before = board.order(ROUNDS)
        self._more_before = self._rounds_before * (ground.rule.updates_a_round(board.workers) - 1)  # updates, beyond one a version
        self._vector, shared_statistics = parameters.buffer(board.order(ROUNDS))
        own = parameters.own_statistics
        self._private = len(own) > 0
        self._statistics = own[worker] if self._private else shared_statistics
        self._target = parameters.targets[board.order(ROUNDS) & 1] if len(parameters.targets) else None
        self._published_steps = books["steps"]
        self._acted_on = 0

    def version(self) -> int:
        """Updates that the shared parameters have seen: rounds of earlier epochs, and everybody's updates in place."""
        return self._rounds_before + int(self.ground.ledger.total("updates"))

    def _is_over(self) -> bool:
        return self.ground.board.is_over(self.ground.ledger.total("steps"))

    def _may_start(self) -> bool:
        board, clocks = self.ground.board, self.ground.ledger.clocks
        position = self.ground.ledger.clock(self.worker) - load_acquire(board.base, self.worker)
        return position - board.slowest(clocks) <= self._bound or self._is_over()

    def start_round(self, local: NDArray[np.float32]) -> int | None:
        if self._bound < UNBOUNDED:
            self.wait(self._may_start)
        if self._is_over():
            return None
        version = self._copy(local)
        self._acted_on = self.acts_on(local, version)
        return version

    def _copy(self, local: NDArray[np.float32]) -> int:
        """Copy the newest parameters into local [N]; returns their version."""
        before, after = self.ground.ledger.copy_between("updates", self._vector, local)
        if after > before:
            self.books.add("torn", after - before)
        return self._rounds_before + int(before)

    def records(self) -> Sequence[NDArray[np.float64]]:
        """The newest ledger records [columns] of all workers."""
        return list(self.ground.ledger.read_all())

    def add_up(self, name: str, own: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.ground.ledger.add_newest(name, self.worker, own, out)

    def total_steps(self) -> float:
        return self.ground.ledger.total("steps")

    def present(self, local: NDArray[np.float32]) -> None:
        local[:] = self._vector[: local.size]

    def copy_target(self, local: NDArray[np.float32]) -> None:
        """Copy the newest target network into local [N]."""
        assert self._target is not None
        local[:] = self._target[: local.size]

    def finish_round(self, gradient: NDArray[np.float32]) -> None:
        began = self.stages.now()
        length = norm(gradient)
        if self.usable(length):
            self._apply(gradient, length)
        self.books.add("apply_seconds", self.stages.applied() - began)
        if self._target is None:
            self.ground.ledger.publish(self.worker, self.books.draft)
        else:
            self._publish_and_refresh(self._target)
        if self._bound < UNBOUNDED:
            self.ground.parking.wake_all()

    def _apply(self, gradient: NDArray[np.float32], length: float) -> None:
        """Make an update by a gradient [N] of this norm."""
        version = self.version()
        lag = version - self._acted_on
        seen = int(self.books["updates"]) if self._private else version + self._more_before
        steps = self.ground.ledger.total("steps")
        self._used(length, lag, self._step((self._vector, self._statistics), gradient, length, steps, lag, seen + 1))

    def _step(self, place: Place, gradient: NDArray[np.float32], length: float, steps: float, lag: int, count: int) -> float:
        """The update itself: of `place`, after `steps` of all workers, by a gradient [N] of this norm that is `lag` versions old.

        `count`: updates that the statistics have seen, with this one. Returns what the gradient was scaled by.
        """
        rule = self.ground.rule
        scale = clip_scale(length, rule.longest)
        rule.optimizer.step(place, gradient, slice(0, gradient.size), scale, rule.rate_at(steps, lag), count)
        return scale

    def _used(self, length: float, lag: int, scale: float) -> None:
        """Enter an update into the books."""
        self.books.updated(lag, length, scale)

    def _refresh(self, target: NDArray[np.float32], vector: NDArray[np.float32]) -> None:
        """Make vector [N] the target network [N]."""
        target[:] = vector

    def _publish_and_refresh(self, target: NDArray[np.float32]) -> None:
        """Publish the books; if that carries the total past a multiple of `target_every`, copy the parameters into the target network.

        If the copy is known to be due before the books are published, it is made first: a worker that is killed in between has not
        published its books, so whoever publishes next makes the copy again. If other workers publish at the same time, it may turn
        out only afterwards that the total has passed a multiple. Then several workers may make the copy, each of parameters
        that differ by the few updates in between.
        """
        rule, ledger = self.ground.rule, self.ground.ledger
        before = ledger.total("steps")
        ahead = before + self.books["steps"] - self._published_steps
        if rule.refreshes(before, ahead):
            self._refresh(target, self._vector)
        ledger.publish(self.worker, self.books.draft)
        self._published_steps = self.books["steps"]
        if rule.refreshes(ahead, ledger.total("steps")):
            self._refresh(target, self._vector)
