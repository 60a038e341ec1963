"""The learner of a stream: units in, versions out."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.checkpoint import read_part, write_part
from asyncrl.envs import load_generators, save_generators
from asyncrl.learners.updater import Updater
from asyncrl.scheduler.board import COMMAND, DELAY, HEARTBEAT, IN_PLACE, MARK, OPENED, PHASE, PHASES, REQUEST
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.scheduler.stream_learner_pace import LearnerPace
from asyncrl.scheduler.streams import Unit
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.statistics import merge_one, standardise
from asyncrl.trajectory import Trajectory
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go
from asyncrl.workers.stream_plan import PublishedPolicy, StreamPlan, StreamTask, ground_of, unit_layout

LEARNER_PART = "learner"
GENERATORS = "generators/"
UNIT_FIELDS = ("observation", "action", "reward", "ended", "final_observation", "memory")


class StreamState:
    """The algorithm's learner, and what is kept beside it."""

    def __init__(self, task: StreamTask):
        self._policy = task.policy()
        self.updater: Updater = task.updater(self._policy)
        self.published = PublishedPolicy.empty(self._policy.size, task.observed)
        self._own = {
            "steps": np.zeros(1, np.int64),  # of all units taken
            "observed_count": np.zeros(1),
            "observed_mean": np.zeros(task.observed),
            "observed_square": np.zeros(task.observed),
        }

    @property
    def steps(self) -> int:
        """Steps of all units taken."""
        return int(self._own["steps"][0])

    def publish(self) -> NDArray[np.float32]:
        """The vector that actors need now."""
        own, published = self._own, self.published
        self.updater.published(published.parameters)
        standardise(own["observed_count"][0], own["observed_mean"], own["observed_square"], published.shift, published.scale)
        published.uniform[0] = float(self.updater.explores(self.steps))
        published.steps[0] = self.steps
        return published.vector

    def take(self, unit: Unit) -> None:
        """Use up one unit."""
        own, slot = self._own, unit.slot
        trajectory = Trajectory.over({name: slot[name] for name in UNIT_FIELDS})
        trajectory.version = unit.version
        self.updater.take(unit.actor, trajectory, slot["log_prob"], slot["fresh"])
        own["steps"] += trajectory.reward.size
        if own["observed_mean"].size:
            counts = own["observed_count"], own["observed_mean"], own["observed_square"]
            merge_one(*counts, float(slot["observed_count"]), slot["observed_mean"], slot["observed_square"])

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint keeps."""
        return {**{f"own/{name}": array for name, array in self._own.items()}, **self.updater.state()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take it back."""
        for name, array in self._own.items():
            array[...] = arrays[f"own/{name}"]
        self.updater.restore({name: array for name, array in arrays.items() if not name.startswith("own/")})


class LearnerBooks(Books):
    """The learner's draft of its ledger record; the columns are those of `stream_plan.stream_columns`."""

    def __init__(self, ledger: Ledger, worker: int):
        super().__init__(ledger, worker)
        self._lag_sums, self._lag_counts = (ledger.column(self.draft, name) for name in ("lag_sums", "lag_counts"))

    def lag_of(self, actor: int, lag: int) -> None:
        """Count a unit of this actor's."""
        self.lag(lag)
        self._lag_sums[actor] += lag
        self._lag_counts[actor] += 1

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
    """The one process that updates."""

    def __init__(self, plan: StreamPlan):
        task = plan.task
        self._plan, self._task = plan, task
        self._limit_threads()
        self._state = StreamState(task)
        self._ground = ground_of(task, self._state.updater.figures, plan.memory, plan.pipes)
        layout = unit_layout(task, task.policy())
        slot = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}
        self._state.updater.warm_up(Trajectory.over({name: slot[name] for name in UNIT_FIELDS}), slot["log_prob"])
        if plan.restore_from is not None:
            self._restore(*read_part(plan.restore_from, LEARNER_PART))
        self._books: LearnerBooks | None = None
        self._wait_seconds = 0.0
        self.notes: list[str] = []

    def _restore(self, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        self._state.restore({name: array for name, array in arrays.items() if not name.startswith(GENERATORS)})
        if "generators" in state:  # checkpoints of older versions have none
            own = {name.removeprefix(GENERATORS): array for name, array in arrays.items() if name.startswith(GENERATORS)}
            load_generators(state["generators"], own)

    def _limit_threads(self) -> None:
        import torch

        torch.set_num_threads(getattr(self._task.options, "learner_threads", 1))

    @property
    def steps_done(self) -> int:
        """Steps of the units that it has taken."""
        return self._state.steps

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground, index = self._ground, self._plan.worker
        self._books = LearnerBooks(ground.ledger, index)
        board = ground.board
        pace = LearnerPace(ground.streams, lambda: board.order(REQUEST) > board.order(OPENED))
        gate = Gate(board, ground.parking, index)
        while gate.pass_through(self._save):
            pace.open(board.mode())
            self._epoch(pace)
        pace.stop()

    def _epoch(self, pace: LearnerPace) -> None:
        board, index = self._ground.board, self._plan.worker
        units = getattr(self._task.options, "batch_units", 1)
        while not pace.at_gate:
            board.stand(index, PHASE, PHASES.index("waiting"))
            lags: list[tuple[int, int]] = []
            began, waited = 0.0, 0.0
            for unit in pace.units(units):
                board.stand(index, HEARTBEAT, time.monotonic_ns())
                board.stand(index, PHASE, PHASES.index("learning"))
                if not began:
                    began, waited = time.perf_counter(), pace.wait_seconds
                lags.append((unit.actor, unit.lag))
                self._state.take(unit)
            if not pace.at_gate:
                # Waiting for the units after the first is no learning.
                self._update(pace, lags, began + pace.wait_seconds - waited if began else time.perf_counter())

    def _update(self, pace: LearnerPace, lags: list[tuple[int, int]], began: float) -> None:
        """Make the next version; `lags`: (actor, lag) of its units, `began`: now less the seconds that it has cost so far."""
        updates = self._state.updater.update(pace.version, self._state.steps, self._goes_on)
        if self._state.steps >= self._ground.board.order(MARK):
            pace.close()  # before the next version is there: nobody may begin a round with it
        pace.publish(self._state.publish())
        books, ledger = self._books, self._ground.ledger
        assert books is not None
        for actor, lag in lags:
            books.lag_of(actor, lag)
        for figures in updates:
            books.update_done(figures)
        books.add("rounds", 1)
        books.add("learn_seconds", time.perf_counter() - began)
        books.add("wait_seconds", pace.wait_seconds - self._wait_seconds)
        self._wait_seconds = pace.wait_seconds
        ledger.publish(self._plan.worker, books.draft)

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
        generators, numbers = save_generators()  # a network of the user's may draw from them
        arrays = {**self._state.state(), **{GENERATORS + name: array for name, array in numbers.items()}}
        with contextlib.suppress(OSError):  # a full disk: the launcher sees that the part is missing, and says so
            write_part(folder, LEARNER_PART, {"steps": self._state.steps, "generators": generators}, arrays, self._beat)


def run_stream_learner(plan: StreamPlan, connection: Connection) -> None:
    """Process body of the learner."""
    run_body(lambda: StreamLearner(plan), plan.core, connection, (plan.task.seed, plan.worker, plan.generation))
