"""Actors -> rings -> learner: actors hand units of experience to one process that learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from asyncrl.actors.exploration import check_fit, check_head, check_use, label
from asyncrl.actors.spelling import parse_exploration
from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.policy import Policy
from asyncrl.heads.tables import attach_tables, copied_tables, restore_tables, tables_to_keep
from asyncrl.shared.arrays import SharedArrays, prefixed
from asyncrl.store.checkpoint import parts, read_part, write_part
from asyncrl.topologies.simulation import simulated
from asyncrl.topologies.streams.actor import run_stream_actor
from asyncrl.topologies.streams.estate import StreamsEstate
from asyncrl.topologies.streams.learner import LEARNER_PART, run_stream_learner
from asyncrl.topologies.streams.learner_state import Keeper, StreamState
from asyncrl.topologies.streams.plan import (
    LEARNER_VECTORS,
    LearnerPlan,
    PublishedPolicy,
    ground_of,
    journal_slots,
    memory_layout,
    observed_size,
    stream_policy,
    unit_layout,
    units_at_once,
    updater_type,
)
from asyncrl.topologies.topology import Arrays, Seat, Topology, allocate, check_memory, check_shapes, copies_bytes
from asyncrl.workers.plan import WorkerPlan, task_of
from asyncrl.workers.player import Snapshot


class StreamTopology(Topology):
    """The topology of algorithms with one learner: the actors are the workers, the learner is one process more."""

    def __init__(self, experiment: Experiment):
        entry = ALGORITHMS[experiment.algo]
        check_stream(experiment)
        self._experiment = experiment
        explore = experiment.explore or experiment.network.head_options.explore(entry.default_explore)
        self._explorations = parse_exploration(explore, experiment.workers, experiment.seed)
        self.labels = [label(one) for one in self._explorations]
        self.task = task_of(experiment)
        self._observed = observed_size(self.task)
        policy = stream_policy(self.task)
        self.task = simulated(self.task, policy, experiment.run.simulator)
        check_fit(self._explorations, self.task.spec)
        if entry.explorations is not None:
            check_use(self._explorations, entry.explorations, experiment.algo)
        check_head(self._explorations, policy.head)
        updater_type(self.task).check(self.task, journal_slots(self.task, policy))
        self.size, self.head_name = policy.size, policy.name
        layout = memory_layout(self.task, policy)
        check_memory(layout, beside=4 * LEARNER_VECTORS * policy.size + copies_bytes(self.task, policy.size))
        self._state: StreamState | None  # until it is kept in shared memory
        self._store, self._state = self._make_store(policy)
        self.memory, parking = allocate(layout, experiment.run)
        attach_tables(policy.head, self.memory)
        self._policy, self.pipes = policy, parking.carried()
        self.ground = ground_of(self.task, self.memory, self.pipes)
        self.estate = StreamsEstate(self.ground.streams, self.ground.board, self.ground.ledger)

    def _make_store(self, policy: Policy) -> tuple[SharedArrays, StreamState]:
        """What the learner leaves to its successor, and the first state over it."""
        own = prefixed("store", updater_type(self.task).layout(self.task, journal_slots(self.task, policy)))
        # An example of the state tells how much room it needs. Of a replay only what does not grow with its size is kept.
        example = StreamState(dataclasses.replace(self.task, options=self.task.options.as_example())).kept()
        layout = Keeper.layout(example, journal_slots(self.task, policy), unit_layout(self.task, policy))
        store = SharedArrays.allocate({**own, **layout}, reserve=False)
        return store, self._state_over(store)

    def _state_over(self, store: SharedArrays, memory: SharedArrays | None = None) -> StreamState:
        """On the host: the device is for the learner alone to touch. `memory`: with the tables of the policy's head."""
        return StreamState(dataclasses.replace(self.task, options=self.task.options.on_host()), store.part("store"), memory)

    def _keeper(self, state: StreamState) -> Keeper:
        return Keeper(state, self._store, self.ground.streams, units_at_once(self.task))

    @property
    def steps(self) -> int:
        return int(self.ground.ledger.total("steps"))

    def head_figures(self) -> dict[str, float]:
        return self._policy.head.figures()

    def parameter_figures(self) -> dict[str, float]:
        return self._policy.head.parameter_figures(self.snapshot().vector)

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        learns = seat.worker == self.ground.learner
        share = WorkerPlan(
            task=self.task,
            worker=seat.worker,
            generation=seat.generation,
            exploration=() if learns else tuple(self._explorations[seat.worker]),
            memory=self.memory,
            pipes=self.pipes,
            core=seat.core,
            restore_from=seat.restore_from,
            run_folder=seat.run_folder,
        )
        return (run_stream_learner, LearnerPlan(share, self._store)) if learns else (run_stream_actor, share)

    def begin(self) -> None:
        state = self._first_state()
        self._policy.fill_tables(self._experiment.seed)
        self.ground.streams.snapshots.restore(state.publish(), 0)
        self._keeper(state).keep()

    def _first_state(self) -> StreamState:
        """Needed once: the learner has one of its own."""
        assert self._state is not None
        state, self._state = self._state, None
        return state

    def restore(self, state: dict[str, Any], arrays: Arrays, folder: Path) -> None:
        ledger, snapshots = self.ground.ledger, self.ground.streams.snapshots
        published = (PublishedPolicy.length(self.size, self._observed),)
        check_shapes(arrays, {"published": published, "ledger": (ledger.workers, ledger.width)})
        restore_tables(self.memory, arrays)
        snapshots.restore(arrays["published"], state["version"])
        ledger.restore(arrays["ledger"])
        learned = self._first_state()
        learned.restore(read_part(folder, LEARNER_PART)[1])
        self._keeper(learned).keep()

    def gather(self) -> tuple[dict[str, Any], Arrays]:
        published = PublishedPolicy.empty(self.size, self._observed)
        version = self.ground.streams.snapshots.copy(published.vector)
        snapshot = self.snapshot()
        ledger = self.ground.ledger.read_all()
        ledger[self.ground.learner] = self.ground.learner_record
        arrays: Arrays = {
            "published": published.vector,
            "ledger": ledger,
            "parameters": snapshot.vector,
            "normaliser": snapshot.normaliser,
            **tables_to_keep(self.memory),
        }
        return {"version": version}, arrays

    def complete(self, folder: Path) -> None:
        """Write the learner's part, as of the newest version. The learner is at the gate, or dead."""
        if LEARNER_PART not in parts(folder):
            state = self._state_over(self._store, self.memory)
            self._keeper(state).recover()
            write_part(folder, LEARNER_PART, {"steps": state.steps}, state.state())

    def saved_bytes(self, steps: int) -> int:
        return int(updater_type(self.task).saved_bytes(self.task, steps))

    def parts(self) -> list[int]:
        return list(range(self._experiment.workers))

    def snapshot(self) -> Snapshot:
        published = PublishedPolicy.empty(self.size, self._observed)
        self.ground.streams.snapshots.copy(published.vector)
        normaliser = np.zeros((3, self.task.spec.observation_size), np.float32)
        published.normaliser(normaliser)
        return Snapshot(published.parameters.copy(), normaliser, self.steps, tables=copied_tables(self.memory))

    def close(self) -> None:
        super().close()
        self._store.close()


def check_stream(experiment: Experiment) -> None:
    """Raise UserError for modes in which the algorithm does not work."""
    allowed = ALGORITHMS[experiment.algo].modes
    for _, mode in experiment.modes:
        if mode.name not in allowed:
            raise UserError(f"mode {str(mode)!r} cannot be used with {experiment.algo} (allowed: {', '.join(allowed)})")
