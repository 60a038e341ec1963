"""Rounds: the modes in which all workers' gradients of a round become one update (`sync`, `pipelined`).

There is no central learner. Worker i hands over its gradient (a publication of its ledger), and when all have handed over
round k, it applies the update of round k to its own shard, from the buffer of version k to the buffer of version k + 1.
Its moves are HAND(0), APPLY(0), HAND(1), APPLY(1), ... in either mode. Only the acting lies differently:

    sync        act(k) on version k, HAND(k), APPLY(k)
    pipelined   act(k) on version k-1, APPLY(k-1), HAND(k)         (round 0 acts on version 0)

Each round is one update, by the mean of all gradients (A2C); with `--round-updates each` it is one by every worker's gradient, in
worker order: as many updates a step as in place. A round makes one version either way, but lag is counted in updates.

What a worker may do next follows from shared words alone: its clock (rounds handed over) and its `applied` word. That is
why the launcher can stand in for a dead worker at any moment, and a successor can go on.

Why nobody writes what another still reads:
    gradient slot k % 2  was last read in APPLY(k-2); HAND(k) comes after all have applied k-2 (sync: k-1)
    buffer of version k+1 held version k-1, last read by act(k-1) in sync and by act(k) in pipelined; APPLY(k) waits until
                         all have handed over k, in pipelined after acting k+1 itself
    ledger entries       are at most two publications behind their writer, which leaves DEPTH = 4 of them alone
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import DELAY, MARK, OPENED, REQUEST, ROUNDS, UPDATES
from asyncrl.scheduler.pace import Books, Clockwork, Ground, Pace
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.optimizers import Place, clip_scale, norm, weighted_mean
from asyncrl.shared.stages import Stages


class RoundsPace(Clockwork, Pace):
    """Sync (delay 0) and pipelined (delay 1): see the module."""

    def __init__(
        self, ground: Ground, worker: int, books: Books, copies: OldCopies | None = None, stages: Stages | None = None
    ):
        super().__init__(ground, worker, books, copies, stages)
        board = ground.board
        self.delay = board.order(DELAY)
        self._first_version = board.order(UPDATES)
        self._first_buffer = board.order(ROUNDS)
        self._a_round = ground.rule.updates_a_round(board.workers)
        # Updates that the shared statistics have seen: where workers have their own, those in place are in none of them.
        in_place = 0 if len(ground.parameters.own_statistics) else self._first_version - self._first_buffer
        self._first_count = in_place + self._a_round * self._first_buffer
        self._base = [load_acquire(board.base, other) for other in range(board.workers)]
        self._bases = np.array(self._base)
        self._mean = np.zeros(ground.parameters.vectors.shape[1], np.float32)
        self._weights = np.zeros(board.workers, np.float32)
        ledger = ground.ledger
        self._steps, self._weight, self._gate = (ledger.position(name) for name in ("steps", "weight", "gate"))
        self._lags = ledger.position("lag_sum"), ledger.position("lag_count")
        self._round, self._acted_on = 0, 0  # versions: the one that this round has read, and the one that acts

    # Where this worker, and everybody, stands.

    @property
    def handed(self) -> int:
        """Rounds of this epoch that this worker has handed over."""
        return self.ground.ledger.clock(self.worker) - self._base[self.worker]

    @property
    def applied(self) -> int:
        """Rounds of this epoch whose update this worker has applied to its shard."""
        return load_acquire(self.ground.board.applied, self.worker * WORDS_PER_LINE) - self._first_buffer

    def _all_handed(self, count: int) -> bool:
        return self.ground.board.handed_by_all(self.ground.ledger.clocks) >= count

    def _all_applied(self, count: int) -> bool:
        return self.ground.board.applied_by_all() - self._first_buffer >= count

    def _entries(self, count: int) -> list[NDArray[np.float64]]:
        """Every worker's ledger record as it was when it had handed over `count` rounds."""
        return [self.ground.ledger.entry(worker, base + count) for worker, base in enumerate(self._base)]

    def _last_round(self, k: int) -> bool:
        """Whether all agreed, when they handed over round k, to go to the gate. Same answer for everybody."""
        entries = self._entries(k + 1)
        board = self.ground.board
        if any(entry[self._gate] > board.order(OPENED) for entry in entries):
            return True
        return sum(entry[self._steps] for entry in entries) >= board.order(MARK)

    def at_gate(self) -> bool:
        """Whether the epoch is over for this worker: nothing is left to hand over or to apply."""
        handed, applied = self.handed, self.applied
        return handed == applied and applied > self.delay and self._last_round(applied - 1 - self.delay)

    # A worker's turn.

    def start_round(self, local: NDArray[np.float32]) -> int | None:
        while self.handed > self.applied and (self.delay == 0 or self._drains()):
            self.wait(lambda: self._all_handed(self.applied + 1))
            self._apply()
        if self.at_gate():
            return None
        version = max(self.handed - self.delay, 0)
        self.wait(lambda: self._all_applied(version))
        local[:] = self.ground.parameters.buffer(self._first_buffer + version)[0][: local.size]
        self._round = self._first_version + version
        self._acted_on = self.acts_on(local, self._round)
        return self._round

    def copy_target(self, local: NDArray[np.float32]) -> None:
        buffer = self._first_buffer + self._round - self._first_version
        local[:] = self.ground.parameters.targets[buffer & 1, : local.size]

    def records(self) -> list[NDArray[np.float64]]:
        """Ledger records [columns] of all workers as they were when the version that acts now was made: the same for everybody."""
        return self._entries(max(self.handed - self.delay, 0))

    def add_up(self, name: str, own: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.ground.ledger.add_entries(name, self._bases, max(self.handed - self.delay, 0), self.worker, own, out)

    def total_steps(self) -> float:
        return sum(entry[self._steps] for entry in self.records())

    def _drains(self) -> bool:
        """Pipelined: whether the round handed over last was the epoch's last, so that its update follows without acting."""
        return self.handed > self.delay and self._last_round(self.handed - 1 - self.delay)

    def present(self, local: NDArray[np.float32]) -> None:
        self._catch_up()
        self.wait(lambda: self._all_applied(self.handed))
        local[:] = self.ground.parameters.buffer(self._first_buffer + self.handed)[0][: local.size]

    def _catch_up(self) -> None:
        """Pipelined: apply the round before, which is due once this one has acted."""
        if self.handed > self.applied:
            self.wait(lambda: self._all_handed(self.applied + 1))
            self._apply()

    def finish_round(self, gradient: NDArray[np.float32]) -> None:
        usable = self.usable(norm(gradient))
        slot = self.ground.parameters.gradients[self.worker, self.handed & 1]
        self._catch_up()
        if usable:
            slot[: gradient.size] = gradient
            self.books.lag(self._lag_handed())
        self._hand(float(usable))
        if self.delay == 0:
            self.wait(lambda: self._all_handed(self.applied + 1))
            self._apply()

    def _lag_handed(self) -> int:
        """Lag of the gradient that this worker hands over, in updates: where each is one, those of the workers before it count too."""
        rounds = self._first_version + self.handed - self._acted_on
        return rounds if self._a_round == 1 else rounds * self._a_round + self.worker

    def _hand(self, weight: float) -> None:
        self.books.put("weight", weight)
        self.books.put("gate", self.ground.board.order(REQUEST))
        self.ground.ledger.publish(self.worker, self.books.draft)
        self.ground.parking.wake_all()

    def _apply(self) -> None:
        """Update this worker's shard with round `applied`. To be called when all have handed it over."""
        began = self.stages.now()
        k, ground, board = self.applied, self.ground, self.ground.board
        parameters = ground.parameters
        for worker, entry in enumerate(self._entries(k + 1)):
            self._weights[worker] = entry[self._weight]
        source, target = parameters.buffer(self._first_buffer + k), parameters.buffer(self._first_buffer + k + 1)
        part = parameters.shard(self.worker)
        target[0][part] = source[0][part]
        target[1][:, part] = source[1][:, part]
        if self._a_round == 1:
            if weighted_mean(parameters.gradients, k & 1, self._weights, self._mean) > 0:
                self._step(k, self._mean, range(board.workers), target, part)
        else:
            for worker in np.flatnonzero(self._weights).tolist():
                self._step(k, parameters.gradients[worker, k & 1], range(worker, worker + 1), target, part)
        self._carry_target(k, part)
        self.books.add("apply_seconds", self.stages.applied() - began)
        store_release(ground.board.applied, self.worker * WORDS_PER_LINE, self._first_buffer + k + 1)
        ground.parking.wake_all()

    def _step(self, k: int, gradient: NDArray[np.float32], workers: range, target: Place, part: slice) -> None:
        """Update the elements `part` of `target` by a gradient [N] of round k, which is of these workers."""
        length, rule = norm(gradient), self.ground.rule
        if not np.isfinite(length):
            return
        lag = self._lag_of(k, workers) if rule.by_lag is not None else 0.0
        rate = rule.rate_at(sum(entry[self._steps] for entry in self._entries(k)), lag)
        scale = clip_scale(length, rule.longest)
        seen = self._a_round * k + (workers.start if self._a_round > 1 else 0)
        rule.optimizer.step(target, gradient, part, scale, rate, self._first_count + seen + 1)
        if self.worker in workers:
            self.books.applied(length, scale)

    def _lag_of(self, k: int, workers: range) -> float:
        """The mean lag of these workers' gradients of round k: the same for everybody, since it is told by the records alone."""
        before, after = self._entries(k), self._entries(k + 1)
        sums, counts = (sum(after[worker][at] - before[worker][at] for worker in workers) for at in self._lags)
        return float(sums / max(counts, 1.0))

    def _carry_target(self, k: int, part: slice) -> None:
        """This worker's shard of the target network of version k + 1: the new parameters if round k made them due."""
        targets = self.ground.parameters.targets
        if not len(targets):
            return
        before, after = (sum(entry[self._steps] for entry in self._entries(count)) for count in (k, k + 1))
        old, new = ((self._first_buffer + version) & 1 for version in (k, k + 1))
        source = self.ground.parameters.vectors[new] if self.ground.rule.refreshes(before, after) else targets[old]
        targets[new, part] = source[part]

    # For a worker that is dead.

    def stand_in(self) -> bool:
        """Make the next move of a dead worker, if it can be made now: an empty contribution, or its shard.

        Launcher only, while it owns the slot. Returns whether a move was made.
        """
        if self.at_gate():
            return False
        if self.handed == self.applied:
            # Others may be acting on a version that this worker's next contribution lets them leave.
            if not self._all_applied(max(self.handed - self.delay, 0)):
                return False
            self._hand(0.0)
            return True
        if self._all_handed(self.applied + 1):
            self._apply()
            return True
        return False
