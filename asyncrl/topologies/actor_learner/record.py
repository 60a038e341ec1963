"""The record of an asynchronous run's rounds (`--record`): what each was computed from, and what became of it.

A worker writes everything that reached its rounds from others, and by which they can be repeated (`replaying`): versions, counts, and
which ledger records of the others it read. All else follows from the seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.learners.return_scale import MOMENTS
from asyncrl.scheduler.pace import Ground
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.optimizers import Place
from asyncrl.topologies.actor_learner.in_place import InPlacePace
from asyncrl.topologies.actor_learner.plan import normalises, scales_returns
from asyncrl.topologies.actor_learner.whole import WholePace
from asyncrl.workers.plan import Task

FOLDER = "rounds"
"""In a run's folder: a file for each process of each worker, ``WORKER-GENERATION.rounds``."""
MARK, FORMAT = 0x61726C726F756E64, 1
HEAD = ("mark", "format", "columns", "workers", "worker", "generation", "whole", "reserved")
"""A file begins with these int64 numbers; rows of as many as ``columns`` follow, one for each round, in the machine's byte order."""

READ, READ_AT, ACTED, BASE, USED, AT, STEPS, COUNT, LAG, REFRESHED = range(10)
"""The first columns: the version that the round was computed from, and when it was read; the steps by which its exploration was annealed;
the version that its gradient was applied to, which became the next one, and whether it was used at all (it was finite); when; the steps by
which its learning rate was; updates that the optimizer's statistics had seen with it; its lag; whether the target network was refreshed
with it. Times are nanoseconds of `time.monotonic_ns`.

Then come, of each worker, the clocks of the ledger records whose observation statistics it took, where observations are normalised, and
of those whose return moments it took, where rewards are scaled."""
FIXED = 10
ROWS = 2048
"""Rounds that are written at once."""


def columns_of(task: Task) -> tuple[int, int, int]:
    """Where the clocks of observation statistics and those of return moments begin in a row, and how many columns it has."""
    summed = FIXED + task.workers * normalises(task)
    return FIXED, summed, summed + task.workers * scales_returns(task)


class RoundLog:
    """One process's file of rounds.

    Writers:  the worker's process, a block of rows at a time: when its buffer is full, and before the gate.
    Readers:  `replaying`, once the run is over.
    When full: it grows by a row a round. On a full disk nothing more is written, and the main process sees at the end that rows lack.
    Crash:    rows since the last block are lost with the process. A row that was written in part is left out, and told.
    """

    def __init__(self, folder: Path, task: Task, worker: int, generation: int):
        """`folder`: the run's. The file is made anew."""
        self.known_at, self.summed_at, width = columns_of(task)
        self._workers = task.workers
        self._rows = np.zeros((ROWS, width), np.int64)
        self._words: Any = self._rows.reshape(-1).data  # quicker to write to than arrays
        self._width, self._row, self._at = width, 0, 0
        self._file = _opened(path_of(folder, worker, generation))
        self._write(np.array([MARK, FORMAT, width, task.workers, worker, generation, task.whole, 0], np.int64))

    def put(self, column: int, value: int) -> None:
        """Enter a number into the row of the round at hand."""
        self._words[self._at + column] = value

    def clocks(self, start: int) -> NDArray[np.int64]:
        """View [W] of the row's clocks from column `start` on."""
        return self._rows[self._row, start : start + self._workers]

    def next(self) -> None:
        """The round is over; the next row is the next one's."""
        self._row += 1
        if self._row == ROWS:
            self.write_out()
        self._at = self._row * self._width

    def write_out(self) -> None:
        """Hand the rows so far to the operating system."""
        self._write(self._rows[: self._row])
        self._row = self._at = 0

    def _write(self, numbers: NDArray[np.int64]) -> None:
        rest = memoryview(numbers.tobytes())
        try:
            while rest and self._file is not None:
                rest = rest[os.write(self._file, rest) :]
        except OSError:  # the run is worth more than its record, which ends here
            if self._file is not None:
                os.close(self._file)
            self._file = None


def _opened(path: Path) -> int | None:
    """A new file's descriptor; None where it cannot be made."""
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def path_of(folder: Path, worker: int, generation: int) -> Path:
    """The file of one process, in a run's folder."""
    return folder / FOLDER / f"{worker}-{generation}.rounds"


def missing_rounds(folder: Path, rounds: Sequence[int]) -> list[int]:
    """Workers of whom fewer rounds than these are in their files, over all their processes. Raises OSError."""
    there = [0] * len(rounds)
    for path in (folder / FOLDER).glob("*.rounds"):
        head = np.fromfile(path, np.int64, len(HEAD))
        if len(head) == len(HEAD) and head[0] == MARK and head[2] > 0 and 0 <= head[4] < len(there):
            there[int(head[4])] += (path.stat().st_size // 8 - len(HEAD)) // int(head[2])
    return [worker for worker, (found, made) in enumerate(zip(there, rounds)) if found < made]


class _Recorded(InPlacePace):
    """A pace in place whose rounds are recorded, over the one that it is combined with below."""

    def __init__(self, log: RoundLog, *ground: Any):
        super().__init__(*ground)
        self._log = log

    def start_round(self, local: NDArray[np.float32]) -> int | None:
        version = super().start_round(local)
        log = self._log
        if version is None:
            log.write_out()
            return None
        log.put(READ, version)
        log.put(READ_AT, time.monotonic_ns())
        log.put(USED, 0)
        log.put(REFRESHED, 0)
        return version

    def records(self) -> Sequence[NDArray[np.float64]]:
        return list(self.ground.ledger.read_known(self._log.clocks(self._log.known_at)))

    def add_up(self, name: str, own: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        self.ground.ledger.add_known(name, self.worker, own, out, self._log.clocks(self._log.summed_at))

    def total_steps(self) -> float:
        steps = super().total_steps()
        self._log.put(ACTED, int(steps))
        return steps

    def usable(self, length: float) -> bool:
        usable = super().usable(length)
        if not usable:
            self._log.put(BASE, self.version())
            self._log.put(AT, time.monotonic_ns())
        return usable

    def _step(self, place: Place, gradient: NDArray[np.float32], length: float, steps: float, lag: int, count: int) -> float:
        scale = super()._step(place, gradient, length, steps, lag, count)
        log = self._log
        log.put(REFRESHED, 0)  # what an update did that was not put in place does not count
        for column, value in ((BASE, self._acted_on + lag), (USED, 1), (STEPS, int(steps)), (COUNT, count), (LAG, lag)):
            log.put(column, value)
        log.put(AT, time.monotonic_ns())
        return scale

    def _refresh(self, target: NDArray[np.float32], vector: NDArray[np.float32]) -> None:
        super()._refresh(target, vector)
        self._log.put(REFRESHED, 1)

    def finish_round(self, gradient: NDArray[np.float32]) -> None:
        super().finish_round(gradient)
        self._log.next()


class RecordedInPlace(_Recorded, InPlacePace):
    """In place, recorded."""


class RecordedWhole(_Recorded, WholePace):
    """In place with whole updates, recorded."""


def warm_up(ledger: Ledger, task: Task, worker: int) -> None:
    """Load what recorded rounds alone call, before the clock runs."""
    clocks, sums = np.zeros(task.workers, np.int64), np.zeros(MOMENTS)
    if scales_returns(task):
        ledger.add_known("return_moments", worker, sums, sums.copy(), clocks)


def pace_in_place(ground: Ground, log: RoundLog | None) -> Callable[..., InPlacePace]:
    """The kind of pace of an epoch in place, of a run that is recorded or not."""
    if log is None:
        return InPlacePace if ground.whole is None else WholePace
    return partial(RecordedInPlace if ground.whole is None else RecordedWhole, log)
