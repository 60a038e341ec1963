"""A recorded run once more, round by round in one process: the workers are those of the run, and so is what they do in a round."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs import seed_process
from asyncrl.errors import UserError
from asyncrl.processes.identity import introduce
from asyncrl.processes.starting import settle_in
from asyncrl.scheduler.modes import UNBOUNDED
from asyncrl.topologies.actor_learner.in_place import InPlacePace
from asyncrl.topologies.actor_learner.record import ACTED, BASE, COUNT, LAG, READ, REFRESHED, STEPS, USED, columns_of
from asyncrl.topologies.actor_learner.story import Story, read_story
from asyncrl.topologies.actor_learner.worker import ActorLearner
from asyncrl.workers.belongings import Belongings
from asyncrl.workers.leaving import live, to_stderr
from asyncrl.workers.messages import Failed
from asyncrl.workers.plan import Task, WorkerPlan

FORGETS_EVERY = 64
"""Rounds between looks at which ledger records nobody needs any more."""


@dataclass(frozen=True)
class ReplayShare:
    """What the process that repeats a run is handed."""

    folder: Path
    """The run's."""
    recorded: Task
    """What the run learned, as it was recorded."""
    plans: list[WorkerPlan]
    """Of all workers, on memory of their own; not recorded once more, and without what has no effect on what is learned."""
    until: int
    """The version to stop at."""


class History:
    """Ledger records of each worker by their clocks, as long as a round that is still to come has read them."""

    def __init__(self, story: Story, task: Task):
        known, summed, self._width = columns_of(task)
        self._rows, self._first, self._workers = story.rows, known, task.workers
        self._keeps = self._width > known
        self.known, self.summed = slice(known, summed), slice(summed, self._width)
        self._records: list[dict[int, NDArray[np.float64]]] = [{} for _ in range(task.workers)]

    def keep(self, worker: int, clock: int, record: NDArray[np.float64]) -> None:
        """Keep record [columns], if records are read at all."""
        if self._keeps:
            self._records[worker][clock] = record

    def of(self, clocks: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """The records [columns] that made clocks[W]. Raises UserError where one was never made."""
        try:
            return [records[clock] for records, clock in zip(self._records, clocks.tolist())]
        except KeyError:
            raise UserError("the record contradicts itself: a round has read what was not published yet") from None

    def forget(self, following: Sequence[int]) -> None:
        """Drop what no round from following[W] of each worker on has read: what each reads gets newer and newer."""
        if not self._keeps:
            return
        columns = slice(self._first, self._first + self._workers)
        left = [rows[row, columns] for rows, row in zip(self._rows, following) if row < len(rows)]
        for records, needed in zip(self._records, np.min(left, axis=0) if left else ()):
            for clock in [clock for clock in records if clock < needed]:
                del records[clock]


class ReplayedPace(InPlacePace):
    """In place, by a record: what others did is what it says, and the update is the ordinary one."""

    def __init__(self, history: History, *ground: Any):
        super().__init__(*ground)
        self._bound = UNBOUNDED
        self._history = history
        self._refreshed, self._target = self._target, None  # when it is refreshed is in the record
        self._read = self._vector.copy()
        self._target_read = np.zeros(0, np.float32) if self._refreshed is None else self._refreshed.copy()
        self._row: NDArray[np.int64] | None = None
        self._begun = False

    def read(self) -> None:
        """Read the parameters and the target network as they are now, for the next round."""
        self._read[:] = self._vector
        if self._refreshed is not None:
            self._target_read[:] = self._refreshed

    def repeat(self, row: NDArray[np.int64]) -> None:
        """The next round is that of row [columns], computed from what was read."""
        self._row, self._begun = row, False

    def start_round(self, local: NDArray[np.float32]) -> int | None:
        if self._row is None or self._begun:
            return None
        self._begun = True
        version = int(self._row[READ])
        local[:] = self._read[: local.size]
        self._acted_on = self.acts_on(local, version)
        return version

    def copy_target(self, local: NDArray[np.float32]) -> None:
        """Copy the target network that was read into local [N]."""
        local[:] = self._target_read[: local.size]

    def records(self) -> Sequence[NDArray[np.float64]]:
        """The ledger records [columns] of all workers that this round has read."""
        assert self._row is not None
        return self._history.of(self._row[self._history.known])

    def add_up(self, name: str, own: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        assert self._row is not None
        ledger = self.ground.ledger
        out[:] = 0.0
        for other, record in enumerate(self._history.of(self._row[self._history.summed])):
            out += own if other == self.worker else ledger.column(record, name)

    def total_steps(self) -> float:
        assert self._row is not None
        return float(self._row[ACTED])

    def _apply(self, gradient: NDArray[np.float32], length: float) -> None:
        """Make the update that the record tells of by a gradient [N] of this norm."""
        assert self._row is not None
        if self._row[USED]:
            steps, lag, count = (int(self._row[column]) for column in (STEPS, LAG, COUNT))
            scale = self._step((self._vector, self._statistics), gradient, length, float(steps), lag, count)
            self._used(length, lag, scale)

    def finish_round(self, gradient: NDArray[np.float32]) -> None:
        super().finish_round(gradient)
        assert self._row is not None
        if self._refreshed is not None and self._row[REFRESHED]:
            self._refresh(self._refreshed, self._vector)


class Replaying:
    """All workers of a run in this process. A round is computed just before its update, from the parameters as they were read for it."""

    def __init__(self, plans: Sequence[WorkerPlan], story: Story, recorded: Task):
        self._story, self._history = story, History(story, recorded)
        self._belongings, self._draws = Belongings(), not recorded.simulated or recorded.network_function is not None
        self._workers = [self._built(plan) for plan in plans]
        self._paces: list[ReplayedPace] = []
        for place, worker in enumerate(self._workers):
            worker.take_over()
            pace = worker.paced(partial(ReplayedPace, self._history))
            self._ledger = pace.ground.ledger
            self._history.keep(place, 0, self._ledger.read(place))
            self._paces.append(pace)
        self._following = [0] * len(plans)
        self._to_read: dict[int, list[int]] = {}
        self._version = 0

    def _built(self, plan: WorkerPlan) -> ActorLearner:
        """As its process begins."""
        self._belongings.enter(plan.worker, True)
        introduce(plan.identity)
        seed_process(plan.task.seed, plan.worker, plan.generation)
        return ActorLearner(plan)

    def run(self, until: int) -> int:
        """Repeat all rounds up to the version `until`; returns the version that there is then."""
        for place in range(len(self._workers)):
            self._awaits(place)
        for number, (place, row) in enumerate(self._story.order.tolist()):
            if self._story.rows[place][row, BASE] >= until:
                break
            self._round(place, self._story.rows[place][row])
            if number % FORGETS_EVERY == 0:
                self._history.forget(self._following)
        return self._version

    def _round(self, place: int, row: NDArray[np.int64]) -> None:
        self._belongings.enter(place, self._draws)
        self._paces[place].repeat(row)
        self._workers[place].epoch(self._paces[place])
        self._following[place] += 1
        self._history.keep(place, self._following[place], self._ledger.read(place))
        self._version = int(row[BASE] + row[USED])
        for other in self._to_read.pop(self._version, ()):
            self._paces[other].read()
        self._awaits(place)

    def _awaits(self, place: int) -> None:
        """See to it that the worker's next round reads the version that it is computed from."""
        rows, following = self._story.rows[place], self._following[place]
        if following == len(rows):
            return
        version = int(rows[following, READ])
        if version == self._version:
            self._paces[place].read()
        else:
            self._to_read.setdefault(version, []).append(place)


def run_replay(share: ReplayShare, connection: Connection) -> None:
    """Process body: repeats the run on the memory of the plans, and sends the version that it came to, or `Failed`."""

    def work() -> int:
        settle_in(None)
        try:
            story = read_story(share.folder, share.recorded)
            connection.send(Replaying(share.plans, story, share.recorded).run(share.until))
        except Exception as error:  # noqa: BLE001 - whatever an environment raises must reach the main process
            connection.send(Failed(str(error), traceback.format_exc(), 0, "", isinstance(error, UserError)))
            return 1
        return 0

    live(work, to_stderr)
