"""The learner of a black-box search: evaluations in, the next version out."""

from __future__ import annotations

import math
import time
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.search import COUNTS, Evaluations
from asyncrl.errors import Hopeless
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.gate import Gate
from asyncrl.scheduler.pace import Books
from asyncrl.shared.statistics import merge_observed, standardise
from asyncrl.topologies.search.learner_pace import LearnerPace
from asyncrl.topologies.search.plan import (
    Published,
    SearchPlan,
    SearchTask,
    episode_limit,
    ground_of,
    learner_record,
    learner_state,
    record_fields,
)
from asyncrl.topologies.search.waste import Waste
from asyncrl.topologies.search.window import finish_using
from asyncrl.workers.body import run_body
from asyncrl.workers.messages import Go, Note
from asyncrl.workers.plan import go_on_from, stages_of


class LearnerState:
    """The algorithm, and what the learner keeps beside it; both lie in `arrays`, which can be copied out and in."""

    def __init__(self, task: SearchTask, size: int):
        self._task = task
        self.search = task.search(size)
        self.arrays = learner_state(task, self.search)
        self._limit = episode_limit(task)

    def begin(self) -> None:
        """The first state."""
        self.search.begin(self._task.initial())
        self.arrays["limit"][0], self.arrays["limit_since"][0] = self._limit.start, 0

    def publish(self, into: Published) -> None:
        """Write what workers need."""
        self.search.published(into.search)
        arrays = self.arrays
        standardise(arrays["observed_count"][0], arrays["observed_mean"], arrays["observed_square"], into.shift, into.scale)
        into.limit[0] = arrays["limit"][0]

    def use(self, version: int, numbers: NDArray[np.int64], records: dict[str, NDArray]) -> dict[str, float]:
        """Make the next version from the records [n] of tickets `numbers`, which are in order; returns the algorithm's figures."""
        generation, ticket = np.divmod(numbers, self.search.tickets)
        no_value = -np.inf if self._task.space.of_function else np.nan
        value = np.where(np.isfinite(records["value"]), records["value"], no_value)
        figures = self.search.update(version, Evaluations(generation, ticket, records["version"], value, records["length"]))
        arrays = self.arrays
        if self._task.space.of_function:
            arrays["ended"][0] = int(figures.get("ended", 0.0))
        merge_observed(
            *(arrays[f"observed_{name}"] for name in ("count", "mean", "square")),
            *(records[f"observed_{name}"] for name in ("count", "mean", "square")),
        )
        arrays["used_steps"] += int(records["length"].sum())
        arrays["used"][:] = numbers
        self._lengthen(version, records)
        return figures

    @property
    def has_ended(self) -> bool:
        """Whether the search has come to its own end."""
        return self._task.space.of_function and bool(self.arrays["ended"][0])

    def _lengthen(self, version: int, records: dict[str, NDArray]) -> None:
        """The episodes' limit of the next version. Evaluations of versions before the limit rose were cut at a lower one."""
        arrays = self.arrays
        limit, since = arrays["limit"], arrays["limit_since"]
        cut = int(records["cut"][records["version"] >= since[0]].sum())
        following = self._limit.after(int(limit[0]), cut, len(records["cut"]) * self._task.common.options.episodes)
        if following != limit[0]:
            limit[0], since[0] = following, version + 1


class SearchLearner:
    """The one process that updates. Its state is in shared memory, so a successor goes on where it was killed."""

    def __init__(self, plan: SearchPlan, connection: Connection):
        task = plan.task
        self._task, self._index, self._connection = task, plan.worker, connection
        self._state = LearnerState(task, task.size)
        self._ground = ground_of(task, self._state.search, plan.memory, plan.pipes)
        self._published = Published.empty(task, self._state.search)
        self._stages = stages_of(plan.memory, self._ground.parking, plan.worker)
        warm_up(task, self._state.search.tickets)
        self._ground.states.load(self._ground.version, self._state.arrays)
        self._state.publish(self._published)
        self._books: Books | None = None
        self._waste = Waste()
        self.notes: list[str] = []

    @property
    def steps_done(self) -> int:
        """Steps of the evaluations that it has used."""
        return int(self._state.arrays["used_steps"][0])

    def work(self, go: Go) -> None:
        """Take over the slot and work until the gate says stop."""
        ground = self._ground
        self._books = Books(ground.ledger, self._index)
        go_on_from(self._books, ground.ledger, self._index, learner_record(ground))
        ground.states.load(ground.version, self._state.arrays)
        finish_using(ground.tickets, self._state.arrays["used"])
        gate = Gate(ground.board, ground.parking, self._index)
        for _ in gate.epochs(go.epoch_runs):  # the main process saves the learner's state, from shared memory
            self._epoch(LearnerPace(ground, self.steps_done))

    def _epoch(self, pace: LearnerPace) -> None:
        board = self._ground.board
        board.stand(self._index, PHASE, PHASES.index("waiting"))
        pace.has_ended = self._state.has_ended
        while (numbers := pace.batch()) is not None:
            board.stand(self._index, HEARTBEAT, time.monotonic_ns())
            board.stand(self._index, PHASE, PHASES.index("learning"))
            self._update(pace, numbers)
            board.stand(self._index, PHASE, PHASES.index("waiting"))

    def _update(self, pace: LearnerPace, numbers: NDArray[np.int64]) -> None:
        """The next version: its state and the books first, then the parameters, which are what makes it count."""
        began = self._stages.now()
        ground, arrays = self._ground, self._state.arrays
        slots = numbers % ground.tickets.slots
        records = {name: array[slots] for name, array in ground.tickets.records.items()}
        version = ground.version
        if not self._task.space.of_function:
            self._require_values(records["value"], version)
        arrays["previous"][:] = self._published.vector
        figures = self._state.use(version, numbers, records)
        self._stages.computed()
        flat = figures.get("flat", 0.0) > 0 and not arrays["told_flat"][0]
        arrays["told_flat"][0] |= int(flat)
        self._state.publish(self._published)
        ground.states.save(version + 1, arrays)
        self._tell(pace, records, version, figures, self._stages.applied() - began)
        pace.publish(numbers, self._published.vector, self.steps_done)
        pace.has_ended = self._state.has_ended
        if flat:
            self._connection.send(Note(self._said_of_flat(records["value"], version)))
        if news := self._waste.news(len(numbers), figures):
            self._connection.send(Note(news))

    def _said_of_flat(self, values: NDArray[np.float64], version: int) -> str:
        if not np.isfinite(values).any():
            return f"none of the {len(values)} points of update {version} has a finite value: nothing can be learned from them"
        what = "values" if self._task.space.of_function else "returns"
        return f"all {len(values)} {what} of update {version} are equal: nothing can be learned from them"

    def _require_values(self, values: NDArray[np.float64], version: int) -> None:
        if np.isnan(values).all():
            raise Hopeless(f"none of the {len(values)} evaluations of update {version} had a finite return, in all attempts")

    def _tell(self, pace: LearnerPace, records: dict[str, NDArray], version: int, figures: dict[str, float], seconds: float) -> None:
        books = self._books
        assert books is not None
        for acted in records["version"]:
            books.lag(version - int(acted))
        moved = not any(figures.get(reason) for reason in ("flat", "skipped_late", "not_finite"))
        books.add("rounds", 1)
        books.add("updates", int(moved))
        books.add("skipped", int(not moved))
        books.add("learn_seconds", seconds)
        counts = {name: figures.get(name, 0.0) for name in COUNTS}
        counts |= {"discarded": pace.reissued, "missing": int(np.isnan(records["value"]).sum())}
        pace.reissued = 0
        for name, count in counts.items():
            books.add(f"{name}_total", count)
        for name in self._state.search.figures:
            value = figures.get(name, 0.0)
            books.add(f"{name}_sum", value if math.isfinite(value) else 0.0)
        self._ground.ledger.publish(self._index, books.draft)


def warm_up(task: SearchTask, tickets: int) -> None:
    """Load the compiled kernels before the clock runs: one update of a search that is thrown away."""
    state = LearnerState(task, task.size)
    state.begin()
    numbers = np.arange(tickets)
    shapes = {name: ((tickets, *shape), dtype) for name, (shape, dtype) in record_fields(task.observed).items()}
    records = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    records["value"] = np.random.default_rng(0).standard_normal(tickets)
    state.use(0, numbers, records)
    state.publish(Published.empty(task, state.search))


def run_search_learner(plan: SearchPlan, connection: Connection) -> None:
    """Process body of the learner."""
    run_body(lambda: SearchLearner(plan, connection), plan.core, connection, (plan.task.common.seed,), plan.identity)
