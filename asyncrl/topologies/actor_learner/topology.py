"""Actor-learners: every worker acts, and updates the shared parameters itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.exploration import check_fit, check_head, check_use, label, with_parts
from asyncrl.actors.spelling import parse_exploration
from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.tables import attach_tables, copied_tables, restore_tables, tables_to_keep
from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.topologies.actor_learner.estate import RoundsEstate
from asyncrl.topologies.actor_learner.plan import ground_of, memory_layout, normalises
from asyncrl.topologies.actor_learner.record import missing_rounds
from asyncrl.topologies.actor_learner.worker import run_actor_learner
from asyncrl.topologies.simulation import simulated
from asyncrl.topologies.topology import Arrays, Seat, Topology, allocate, check_memory, check_shapes, copies_bytes
from asyncrl.workers.plan import WorkerPlan, task_of
from asyncrl.workers.player import Snapshot
from asyncrl.workers.standardiser import Standardiser


class ActorLearnerTopology(Topology):
    """The topology of algorithms whose workers act and update: no process but the workers, and no order among them."""

    def __init__(self, experiment: Experiment):
        check_modes(experiment)
        self._experiment = experiment
        entry = ALGORITHMS[experiment.algo]
        explore = experiment.explore or entry.default_explore
        self._explorations = parse_exploration(explore, experiment.workers, experiment.seed)
        self.labels = [label(one) for one in self._explorations]
        self.task = task_of(experiment)
        self._policy = self.task.policy()
        self.task = simulated(self.task, self._policy, experiment.run.simulator)
        check_fit(self._explorations, self.task.spec)
        if entry.explorations is not None:
            check_use(self._explorations, entry.explorations, experiment.algo)
        check_head(self._explorations, self._policy.head)
        self._explorations = with_parts(self._explorations, self._policy.head)
        self.size, self.head_name = self._policy.size, self._policy.name
        layout = memory_layout(self.task, self._policy)
        check_memory(layout, beside=copies_bytes(self.task, self._policy.size))
        self.memory, parking = allocate(layout, experiment.run)
        attach_tables(self._policy.head, self.memory)
        self.pipes = parking.carried()
        self.ground = ground_of(self.task, self._policy, self.memory, self.pipes)
        self.estate = RoundsEstate(self.ground)

    @property
    def steps(self) -> int:
        return int(self.ground.ledger.total("steps"))

    def record_lacks(self, folder: Path) -> str:
        if not any(mode.delay is None for _, mode in self._experiment.modes):
            return ""
        ledger = self.ground.ledger
        lacking = missing_rounds(folder, ledger.column(ledger.read_all(), "rounds")[:, 0].astype(int).tolist())
        return f"lacks rounds of worker {', '.join(map(str, lacking))}" if lacking else ""

    def head_figures(self) -> dict[str, float]:
        return self._policy.head.figures()

    def parameter_figures(self) -> dict[str, float]:
        return self._policy.head.parameter_figures(self.current()[: self.size])

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        plan = WorkerPlan(
            task=self.task,
            worker=seat.worker,
            generation=seat.generation,
            exploration=tuple(self._explorations[seat.worker]),
            memory=self.memory,
            pipes=self.pipes,
            core=seat.core,
            restore_from=seat.restore_from,
            run_folder=seat.run_folder,
        )
        return run_actor_learner, plan

    def begin(self) -> None:
        vector = self._policy.initial(self._experiment.seed, self._experiment.options.normalize_observations)
        for buffers in (self.ground.parameters.vectors, self.ground.parameters.targets):
            buffers[:, : vector.size] = vector
        self._begin_whole(0)
        self._policy.fill_tables(self._experiment.seed)

    def restore(self, state: dict[str, Any], arrays: Arrays, folder: Path) -> None:
        parameters, ledger, board = self.ground.parameters, self.ground.ledger, self.ground.board
        shapes = {
            "parameters": parameters.vectors[0].shape,
            "statistics": parameters.statistics[0].shape,
            "own_statistics": parameters.own_statistics.shape,
            "ledger": (ledger.workers, ledger.width),
            **({"target": parameters.targets[0].shape} if len(parameters.targets) else {}),
        }
        check_shapes(arrays, shapes)
        current = state["rounds"] & 1
        parameters.vectors[current], parameters.statistics[current] = arrays["parameters"], arrays["statistics"]
        parameters.own_statistics[:] = arrays["own_statistics"]
        if len(parameters.targets):
            parameters.targets[current] = arrays["target"]
        restore_tables(self.memory, arrays)
        board.applied[::WORDS_PER_LINE] = state["rounds"]
        ledger.restore(arrays["ledger"])
        self._begin_whole(state.get("version", 0))

    def _begin_whole(self, version: int) -> None:
        """Where updates are whole, they go on from the current buffer, which is of this version."""
        whole, parameters, current = self.ground.whole, self.ground.parameters, self.ground.board.applied_by_all() & 1
        if whole is not None:
            target = parameters.targets[current] if len(parameters.targets) else None
            whole.begin(version, self.steps, *parameters.buffer(current), target)

    def gather(self) -> tuple[dict[str, Any], Arrays]:
        board, parameters, ledger = self.ground.board, self.ground.parameters, self.ground.ledger
        rounds = board.applied_by_all()
        vector, statistics = parameters.buffer(rounds)
        target = parameters.targets[rounds & 1] if len(parameters.targets) else None
        if self.ground.whole is not None:
            vector, statistics, target = self.ground.whole.current()
        arrays: Arrays = {
            "parameters": vector,
            "statistics": statistics,
            "own_statistics": parameters.own_statistics,
            "ledger": ledger.read_all(),
            "normaliser": self.snapshot().normaliser,
            **tables_to_keep(self.memory),
        }
        if target is not None:
            arrays["target"] = target
        version = {} if self.ground.whole is None else {"version": self.ground.whole.version}
        return {"rounds": rounds, **version}, arrays

    def parts(self) -> list[int]:
        return list(range(self._experiment.workers))

    def current(self) -> NDArray[np.float32]:
        """The current parameters [padded N]. In rounds modes whole; in place it may mix updates, unless these are whole."""
        board, vectors, whole = self.ground.board, self.ground.parameters.vectors, self.ground.whole
        if whole is not None:
            copy = np.empty_like(vectors[0])
            whole.copy(copy)
            return copy
        for _ in range(5):
            version = board.applied_by_all()
            copy = vectors[version & 1].copy()
            if board.applied_by_all() == version:
                break
        return copy

    def snapshot(self) -> Snapshot:
        normaliser = np.zeros((3, self.task.spec.observation_size), np.float32)
        if normalises(self.task):
            Standardiser(self.ground.ledger, normaliser).refresh(list(self.ground.ledger.read_all()))
        return Snapshot(self.current()[: self.size], normaliser, self.steps, tables=copied_tables(self.memory))


def check_modes(experiment: Experiment) -> None:
    """Raise UserError for options that say nothing in any mode of the run."""
    options, in_place = experiment.options, {mode.delay is None for _, mode in experiment.modes}
    if experiment.whole and False in in_place:
        why = "a round's update is whole by itself"
        raise UserError(f"whole cannot be used with mode {experiment.mode}: {why} (allowed: bounded:K, async)")
    if experiment.whole and options.statistics == "private":
        why = "an update and the statistics that it changes are one"
        raise UserError(f"whole cannot be used with statistics = 'private': {why} (allowed: shared)")
    if options.statistics == "private" and in_place == {False}:
        why = "a round is one update of all workers, by statistics that all share"
        raise UserError(f"statistics = 'private' cannot be used with mode {experiment.mode}: {why} (allowed: shared; or bounded:K, async)")
    if options.round_updates == "each" and in_place == {True}:
        why = "in place every gradient is an update of its own"
        raise UserError(f"round_updates = 'each' cannot be used with mode {experiment.mode}: {why} (allowed: one; or sync, pipelined)")
