"""The learner of a stream: units in, versions out."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

import numpy as np

from asyncrl.envs import load_generators, save_generators
from asyncrl.progress import AGES, LAG_BINS
from asyncrl.scheduler.board import COMMAND, DELAY, HEARTBEAT, IN_PLACE, MARK, OPENED, PHASE, PHASES, REQUEST
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.optimizers import norm
from asyncrl.store.checkpoint import parts, read_part, write_part
from asyncrl.topologies.streams.board import EPOCH
from asyncrl.topologies.streams.learner_pace import LearnerPace
from asyncrl.topologies.streams.learner_state import UNIT_FIELDS, Keeper, StreamState
from asyncrl.topologies.streams.plan import LearnerPlan, ground_of, stream_policy, unit_layout, units_at_once
from asyncrl.topologies.streams.streams import Unit
from asyncrl.trajectory import Trajectory
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.plan import go_on_from, stages_of

LEARNER_PART = "learner"
GENERATORS_PART = "learner-generators"
"""Beside it in a checkpoint: the states of its process's generators, from which a network of the user's may draw."""


class LearnerBooks(Books):
    """The learner's draft of its ledger record; the columns are those of `plan.ledger_columns`."""

    def __init__(self, ledger: Ledger, worker: int):
        super().__init__(ledger, worker)
        self._lag_sums, self._lag_counts = (ledger.column(self.draft, name) for name in ("lag_sums", "lag_counts"))
        self._tells_age = f"{AGES[0]}_histogram" in ledger.columns
        self._histograms = {age: ledger.column(self.draft, f"{age}_histogram") for age in AGES} if self._tells_age else {}

    def lag_of(self, actor: int, lag: int, queued: int = 0) -> None:
        """Count a unit of this actor's; `queued`: the part of its lag since it was handed over."""
        self.lag(lag)
        self._lag_sums[actor] += lag
        self._lag_counts[actor] += 1
        if self._tells_age:
            for age, versions in zip(AGES, (lag - queued, queued)):
                self.add(f"{age}_versions", versions)
                self._histograms[age][min(versions, LAG_BINS - 1)] += 1
                self.put(f"{age}_longest", max(versions, self[f"{age}_longest"]))

    def update_done(self, figures: Mapping[str, float]) -> None:
        """Count an update. What is not finite is left out: sums would stay so for ever."""
        self.add("updates", 1)
        self.add("skipped", figures.get("skipped", 0.0))
        for name, value in figures.items():
            if not math.isfinite(value):
                continue
            if name.endswith("_max"):
                self.put(f"{name}_peak", max(value, self[f"{name}_peak"]))
            else:
                self.add(f"{name}_sum", value)
                self.add(f"{name}_count", 1)


class StreamLearner:
    """The one process that updates. What it knows is in shared memory, so a successor goes on where it was killed."""

    def __init__(self, share: LearnerPlan):
        plan, task = share.process, share.process.task
        self._plan, self._task = plan, task
        self._limit_threads()
        self._state = StreamState(task, share.store.part("store"), plan.memory)
        self._ground = ground_of(task, plan.memory, plan.pipes)
        self._keeper = Keeper(self._state, share.store, self._ground.streams, units_at_once(task))
        layout = unit_layout(task, stream_policy(task))
        slot = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}
        self._state.updater.warm_up(Trajectory.over({name: slot[name] for name in UNIT_FIELDS}), slot["log_prob"])
        if plan.restore_from is not None and GENERATORS_PART in parts(plan.restore_from):
            load_generators(*read_part(plan.restore_from, GENERATORS_PART))
        self._stages = stages_of(plan.memory, self._ground.parking, plan.worker)
        self._books: LearnerBooks | None = None
        self._now, self._then = (self._state.published.like() for _ in range(2))
        self._wait_seconds = 0.0
        self.notes: list[str] = []

    def _limit_threads(self) -> None:
        import torch

        torch.set_num_threads(self._task.options.learner_threads)

    @property
    def steps_done(self) -> int:
        """Steps of the units that it has taken."""
        return self._state.steps

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._plan.worker
        board = ground.board
        held = self._keeper.recover(self._beat)
        self._books = LearnerBooks(ground.ledger, index)
        go_on_from(self._books, ground.ledger, index, ground.learner_record)
        pace = LearnerPace(ground.streams, lambda: board.order(REQUEST) > board.order(OPENED))
        # The launcher's openings and the learner's epochs have the same numbers: each opening is answered by the next epoch.
        in_epoch = go.epoch_runs and ground.streams.board.leads(EPOCH) >= board.order(OPENED)
        pace.take_up([unit.actor for unit in held], at_gate=not in_epoch)
        for _ in Gate(board, ground.parking, index).epochs(go.epoch_runs, self._save):
            if pace.at_gate:
                pace.open(board.mode())
            self._epoch(pace, held)
            held = []
        pace.stop()

    def _epoch(self, pace: LearnerPace, taken: list[Unit]) -> None:
        """`taken`: units that a predecessor had taken already."""
        board, index = self._ground.board, self._plan.worker
        units = self._task.options.batch_units
        while not pace.at_gate:
            board.stand(index, PHASE, PHASES.index("waiting"))
            began, waited = math.nan, 0.0
            for unit in pace.units(units):
                board.stand(index, HEARTBEAT, time.monotonic_ns())
                board.stand(index, PHASE, PHASES.index("learning"))
                if math.isnan(began):
                    began, waited = self._stages.now(), pace.wait_seconds
                taken.append(unit)
                self._state.take(self._keeper.hold(unit))
            if not pace.at_gate:
                # Waiting for the units after the first is no learning.
                self._update(pace, taken, self._stages.now() if math.isnan(began) else began + pace.wait_seconds - waited)
                taken = []
        self._keeper.keep()

    def _update(self, pace: LearnerPace, taken: list[Unit], began: float) -> None:
        """Make the next version; `taken`: its units, `began`: now less the seconds that it has cost so far.

        The books first, then the version, which is what makes them count.
        """
        updates = self._state.updater.update(pace.version, self._state.steps, self._goes_on)
        self._stages.computed()
        self._keeper.note(len(updates))
        if self._state.steps >= self._ground.board.order(MARK):
            pace.close()  # before the next version is there: nobody may begin a round with it
        vector = self._state.publish()
        books, ledger = self._books, self._ground.ledger
        assert books is not None
        for unit in taken:
            books.lag_of(unit.actor, unit.lag, unit.queued)
        for figures in updates:
            books.update_done(figures)
        books.add("rounds", 1)
        if self._task.diagnose and not books["rounds"] % self._task.diagnose:
            self._sample_drift(taken)
        books.add("learn_seconds", self._stages.applied() - began)
        books.add("wait_seconds", pace.wait_seconds - self._wait_seconds)
        self._wait_seconds = pace.wait_seconds
        ledger.publish(self._plan.worker, books.draft)
        pace.publish(vector)
        self._keeper.keep_if_due()

    def _sample_drift(self, taken: list[Unit]) -> None:
        """How far the newest version, to which the updates were made, is from the one that acted; not if that is overwritten already."""
        snapshots, books = self._ground.streams.snapshots, self._books
        assert books is not None
        snapshots.copy(self._now.vector)
        if taken and snapshots.copy(self._then.vector, taken[0].version) is not None:
            books.sampled("parameter_drift", norm(self._now.parameters - self._then.parameters))

    def _beat(self) -> None:
        self._ground.board.stand(self._plan.worker, HEARTBEAT, time.monotonic_ns())

    def _goes_on(self) -> bool:
        """A sign of life between updates; whether they may go on. In rounds modes all that are due are made, since a resumed run
        is to continue with the same bits; elsewhere an end that is asked for leaves the rest to whoever resumes."""
        self._beat()
        board = self._ground.board
        return board.order(DELAY) != IN_PLACE or board.order(REQUEST) <= board.order(OPENED)

    def _save(self) -> None:
        folder = self._plan.checkpoint_folder(self._ground.board.order(COMMAND))
        with contextlib.suppress(OSError):  # a full disk: the main process tries again, and says so
            write_part(folder, GENERATORS_PART, *save_generators(), self._beat)
            write_part(folder, LEARNER_PART, {"steps": self._state.steps}, self._state.state(), self._beat)


def run_stream_learner(share: LearnerPlan, connection: Connection) -> None:
    """Process body of the learner."""
    plan = share.process
    run_body(lambda: StreamLearner(share), plan.core, connection, (plan.task.seed, plan.worker, plan.generation), plan.identity)
