"""What every topology's processes are handed when they start, and the shared memory that all of them have.

What only one topology has is in its own `plan`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.exploration import Exploration
from asyncrl.algos import ALGORITHMS, check_actions
from asyncrl.envs.spec import EnvSpec
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads import HEADS
from asyncrl.heads.choice import refuse_action_values
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.processes.identity import Worker
from asyncrl.processes.parcels import Parcel, packed
from asyncrl.processes.starting import usable_cores
from asyncrl.progress import COLUMNS, EPISODE_FIELDS, figure_columns
from asyncrl.scheduler.board import DELAY, IN_PLACE, SCHEDULER_COLUMNS, Board
from asyncrl.scheduler.delays import Delay
from asyncrl.scheduler.pace import Books
from asyncrl.shared.arrays import Layout, SharedArrays, prefixed
from asyncrl.shared.atomics import store_release
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parking import PATIENT_SPINS, Parking, PipesToCarry
from asyncrl.shared.rings import Ring
from asyncrl.shared.stages import RecordedStages, Stages
from asyncrl.store.checkpoint import folder_of
from asyncrl.workers.probing import probed

EPISODE_SLOTS = 4096


@dataclass(frozen=True)
class Task:
    """What is learned, the same for all processes of a run and whatever its topology."""

    env: Parcel
    """What makes the environment, from `asyncrl.envs.ship`; empty where a function is minimised."""
    env_spec: EnvSpec | None
    """The environment's spaces; None where a function is minimised."""
    head: str
    network: NetworkOptions
    network_function: Parcel | None
    """A network of the user's own."""
    algo: str
    options: Any
    """The algorithm's own."""
    workers: int
    envs_per_worker: int
    target_steps: int
    seed: int
    a_core_each: bool = False
    """Whether there are cores for all workers: then they spin longer before they sleep."""
    simulated: bool = False
    """Whether environments are stepped by a compiled simulator."""
    not_simulated: str = ""
    """Why not, as far as that is known; "" where nothing is against it."""
    delay: str = ""
    """What workers sleep in each round: see `asyncrl.scheduler.delays`."""
    staleness: int = 0
    """Versions by which what acts is older than the newest that its mode gives."""
    diagnose: int = 0
    """Rounds of a worker, or updates of a learner, between samples of what age does; 0: none."""
    whole: bool = False
    """Whether updates in place are whole."""
    recorded: bool = False
    """Whether it is recorded what rounds in place were computed from."""

    @property
    def spec(self) -> EnvSpec:
        """The environment's spaces. Not where a function is minimised."""
        assert self.env_spec is not None
        return self.env_spec

    def policy(self) -> Policy:
        """The policy, without numbers; its head has tables of its own until `attach_tables` gives it those of the run."""
        function: Callable[..., Any] | None = None if self.network_function is None else self.network_function.unpack()
        if ALGORITHMS[self.algo].learns_values:
            if not self._head_has_values():
                check_actions(self.algo, self.spec.action_kind)
            return Policy(self.spec, self.head, self.network, function, Role.ACTION_VALUES)
        refuse_action_values(self.head, self.algo, [name for name, entry in ALGORITHMS.items() if entry.learns_values])
        return Policy(self.spec, self.head, self.network, function)

    def _head_has_values(self) -> bool:
        """Whether the head that was named has values for these actions, whatever their kind: those of a set.

        Not where the actor commits itself to the action after a rollout: what is kept of it is its place, not what a Box is given.
        """
        head, commits = HEADS.get(self.head), ALGORITHMS[self.algo].implementation.commits
        return head is not None and not commits and Role.ACTION_VALUES in head.roles and self.spec.action_kind in head.action_kinds


def task_of(experiment: Experiment) -> Task:
    """What an experiment with an environment learns. Makes the environment once. Raises UserError for what is wrong with it."""
    shipped, spec, not_simulated = probed(experiment)
    task = task_without_environment(experiment)
    return dataclasses.replace(task, env=shipped, env_spec=spec, not_simulated=not_simulated)


def task_without_environment(experiment: Experiment) -> Task:
    """The task without an environment: for a function, or for a caller that adds the environment itself."""
    function = None if experiment.network_function is None else packed(experiment.network_function, "network function")
    return Task(
        env=Parcel(b""),
        env_spec=None,
        head=experiment.head,
        network=experiment.network,
        network_function=function,
        algo=experiment.algo,
        options=experiment.options,
        workers=experiment.workers,
        envs_per_worker=experiment.envs_per_worker,
        target_steps=experiment.steps,
        seed=experiment.seed,
        # With a learner there is one process more, but it and all workers are seldom busy at the same time.
        a_core_each=experiment.workers <= usable_cores(),
        delay=experiment.run.delay,
        staleness=experiment.staleness,
        diagnose=experiment.run.diagnose,
        whole=experiment.whole,
        recorded=experiment.run.record,
    )


@dataclass(frozen=True)
class WorkerPlan:
    """The share of one process that acts step by step."""

    task: Task
    worker: int
    generation: int
    """How many processes have had this slot before; its random streams differ from theirs."""
    exploration: tuple[Exploration, ...]
    memory: SharedArrays
    pipes: PipesToCarry
    core: int | None
    restore_from: Path | None
    """A checkpoint's folder, for the first generation of a resumed run."""
    run_folder: Path
    """Where this worker writes its part of a checkpoint."""

    @property
    def identity(self) -> Worker:
        """What `asyncrl.worker` says in this process."""
        return identity_of(self.task, self.worker, self.generation)

    def checkpoint_folder(self, steps: int) -> Path:
        """The folder of the checkpoint that is being made; the launcher has begun it."""
        return folder_of(self.run_folder, steps)


def delay_of(task: Task, board: Board, worker: int, generation: int) -> Callable[[], float] | None:
    """What this worker does to be delayed in a round, which returns the seconds; None where it is not delayed."""
    return Delay.of(task.delay, task.workers, board, task.seed, worker, generation)


def identity_of(task: Task, place: int, generation: int) -> Worker:
    """Of the process at a place: the workers come first, then a learner."""
    if place < task.workers:
        return Worker("worker", place, task.workers, generation)
    return Worker("learner", None, task.workers, generation)


def common_layout(columns: dict[str, int], places: int, workers: int) -> Layout:
    """What every topology has: `places` are its processes, the first `workers` of them report episodes."""
    layout = {
        **prefixed("ledger", Ledger.layout(columns, places)),
        **prefixed("board", Board.layout(places)),
        **prefixed("parking", Parking.layout(places + 1)),
    }
    for worker in range(workers):
        layout.update(prefixed(f"episodes-{worker}", Ring.layout(EPISODE_SLOTS, EPISODE_FIELDS)))
    return layout


def learner_columns(figures: Sequence[str], more: Sequence[str] = ()) -> dict[str, int]:
    """Columns of a ledger with one learner: progress, the scheduler's, `more`, and a sum for each of the algorithm's figures."""
    return {**COLUMNS, **SCHEDULER_COLUMNS, **dict.fromkeys(more, 1), **figure_columns(figures)}


def record_of_version(ledger: Ledger, learner: int, version: int) -> NDArray[np.float64]:
    """The ledger record [columns] of a learner that has died, as it was when `version`, the newest version, was announced.

    A learner publishes the record of a version before it announces the version. If it died in between, its newest record is of a
    version that does not exist, and the record before that is returned. One record back is always enough, since a successor
    first publishes the record that it goes on from (`go_on_from`).
    """
    record = ledger.read(learner)
    if ledger.column(record, "rounds")[0] > version:
        return ledger.entry(learner, ledger.clock(learner) - 1).copy()
    return record


def go_on_from(books: Books, ledger: Ledger, learner: int, record: NDArray[np.float64]) -> None:
    """Begin a successor's books with record [columns], and replace the ledger's newest if that is of a version never announced."""
    books.draft[:] = record
    if not np.array_equal(ledger.read(learner), record):
        ledger.publish(learner, books.draft)


def parking_of(memory: SharedArrays, pipes: PipesToCarry, a_core_each: bool) -> Parking:
    """Where the processes sleep; with `a_core_each` they spin longer before they do."""
    parking = pipes.parking(memory["parking/sleeping"])
    if a_core_each:
        parking.spins = PATIENT_SPINS
    return parking


def stages_of(memory: SharedArrays, parking: Parking, place: int) -> Stages:
    """What a worker or learner tells when a stage of its round ends."""
    record = memory.part("durations")
    return RecordedStages(record, place, lambda: parking.waited) if record else parking.stages(place)


class NumberedRing(Ring):
    """Of a simulated run: in modes in which episodes have no order, they get that of the virtual clock, which is always the same.

    Writers:  ``told`` [1], how many episodes of all workers have ended so: the one process that they are in, after the ring.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], told: NDArray[np.int64], board: Board):
        super().__init__(arrays, when_full="drop_oldest")
        self._told, self._board = told, board

    def push(self, **values: Any) -> bool:
        number = int(self._told[0])
        ordered = self._board.order(DELAY) != IN_PLACE
        pushed = super().push(**(values if ordered else {**values, "order": number}))
        store_release(self._told, 0, number + 1)
        return pushed


def episode_ring(memory: SharedArrays, worker: int) -> Ring:
    """Finished episodes of a worker on their way to the monitor; the oldest are dropped (and counted) when it is late."""
    arrays = memory.part(f"episodes-{worker}")
    if clock := memory.part("virtual"):
        return NumberedRing(arrays, clock["told"], Board(memory.part("board")))
    return Ring(arrays, when_full="drop_oldest")


def stream(seed: int, worker: int, generation: int) -> np.random.SeedSequence:
    """The root of a worker's random streams: its own for every run, worker and generation."""
    return np.random.SeedSequence([seed, worker, generation])
