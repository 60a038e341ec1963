"""What an actor-learner's process is handed when it starts, and the shared memory that it works on.

What `stream_plan` and `search_plan` need of both is here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.exploration import Exploration
from asyncrl.algos import ALGORITHMS, check_actions
from asyncrl.algos.entries import ValueBased
from asyncrl.algos.values import ValueOptions
from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.choice import refuse_action_values
from asyncrl.heads.head import Role
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.tables import attach_tables, tables_layout
from asyncrl.learners.return_scale import SharedReturnScale
from asyncrl.learners.rules import linear_or_constant, optimizer_of
from asyncrl.progress import COLUMNS, EPISODE_FIELDS
from asyncrl.scheduler.board import SCHEDULER_COLUMNS, Board
from asyncrl.scheduler.pace import Books, Ground, UpdateRule
from asyncrl.shared.arrays import Layout, SharedArrays, prefixed
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import SharedParameters
from asyncrl.shared.parking import PATIENT_SPINS, Parking, PipesToCarry
from asyncrl.shared.rings import Ring
from asyncrl.store.checkpoint import folder_of

if TYPE_CHECKING:
    from asyncrl.workers.evaluator import Playing

EPISODE_SLOTS = 4096


@dataclass(frozen=True)
class Task:
    """What is learned, the same for all workers of a run."""

    env: bytes
    """From `asyncrl.envs.ship`."""
    spec: EnvSpec
    head: str
    network: NetworkOptions
    network_function: bytes | None
    """A network of the user's own, from cloudpickle."""
    algo: str
    options: Any
    """The algorithm's own."""
    workers: int
    envs_per_worker: int
    target_steps: int
    seed: int
    a_core_each: bool = False
    """Whether there are cores for all workers: then they wait patiently before they sleep."""

    def policy(self, memory: SharedArrays | None = None) -> Policy:
        """The policy, without numbers; its head's tables are those in `memory`, or, without it, tables of its own."""
        function: Callable[..., Any] | None = None
        if self.network_function is not None:
            import cloudpickle

            function = cloudpickle.loads(self.network_function)
        value_based = [name for name, entry in ALGORITHMS.items() if isinstance(entry, ValueBased)]
        if self.algo in value_based:
            check_actions(self.algo, self.spec.action_kind)
        else:
            refuse_action_values(self.head, self.algo, value_based)
        role = Role.ACTION_VALUES if self.algo in value_based else Role.ACTOR_CRITIC
        policy = Policy(self.spec, self.head, self.network, function, role)
        if memory is not None:
            attach_tables(policy.head, memory)
        return policy

    @property
    def shipped(self) -> bytes:
        """See `asyncrl.workers.evaluator.Evaluated`."""
        return self.env

    @property
    def size(self) -> int:
        """See `asyncrl.workers.evaluator.Evaluated`."""
        return self.policy().size

    def player(self, seed: int, render_mode: str | None = None, environment: Any = None) -> Playing:
        """What plays its greedy policy."""
        from asyncrl.workers.evaluator import Player

        return Player(self, seed, render_mode, environment)


@dataclass(frozen=True)
class WorkerPlan:
    """One worker's share."""

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

    def checkpoint_folder(self, steps: int) -> Path:
        """The folder of the checkpoint that is being made; the launcher has begun it."""
        return folder_of(self.run_folder, steps)


def ledger_columns(task: Task) -> dict[str, int]:
    """Columns of the workers' ledger: progress, the scheduler's, and the observations' statistics where they are kept."""
    size = task.spec.observation_size if normalises(task) else 0
    statistics = {"observation_count": 1, "observation_mean": size, "observation_square": size} if size else {}
    returns = SharedReturnScale.columns(task.envs_per_worker) if scales_returns(task) else {}
    return {**COLUMNS, **SCHEDULER_COLUMNS, **statistics, **returns}


def normalises(task: Task) -> bool:
    """Whether observations are shifted and scaled (never images)."""
    return task.options.normalize_observations and not task.spec.is_image


def scales_returns(task: Task) -> bool:
    """Whether rewards are divided by the scale of returns."""
    return getattr(task.options, "normalize_returns", False)


def target_every(task: Task) -> int:
    """Steps between refreshments of the target network; 0 where there is none."""
    return task.options.target_every if isinstance(task.options, ValueOptions) else 0


def memory_layout(task: Task, policy: Policy) -> Layout:
    """Everything that the workers of a run share."""
    private = task.options.statistics == "private"
    kept = optimizer_of(task.options).statistics
    return {
        **common_layout(ledger_columns(task), task.workers, task.workers),
        **prefixed("parameters", SharedParameters.layout(policy.size, kept, task.workers, private, target_every(task) > 0)),
        **tables_layout(policy.head),
    }


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
    own = {name: size for name, size in COLUMNS.items() if not name.endswith("_sum") or name == "lag_sum"}
    return {**own, **SCHEDULER_COLUMNS, **dict.fromkeys(more, 1), **{f"{name}_sum": 1 for name in figures}}


def record_of_version(ledger: Ledger, learner: int, version: int) -> NDArray[np.float64]:
    """A learner's ledger record as of `version`, the newest: it may have died between telling of the next one and announcing it.

    Its successor goes on from that record, and publishes it first (`go_on_from`): so what was not announced is never two back.
    """
    record = ledger.read(learner)
    if ledger.column(record, "rounds")[0] > version:
        return ledger.entry(learner, ledger.clock(learner) - 1).copy()
    return record


def go_on_from(books: Books, ledger: Ledger, learner: int, record: NDArray[np.float64]) -> None:
    """A successor's books begin with `record`; what the ledger has beyond it was not announced, and is taken back."""
    books.draft[:] = record
    if not np.array_equal(ledger.read(learner), record):
        ledger.publish(learner, books.draft)


def parking_of(memory: SharedArrays, pipes: PipesToCarry, a_core_each: bool) -> Parking:
    """Where the processes sleep; with `a_core_each` they wait patiently before they do."""
    parking = Parking(memory["parking/sleeping"], pipes.pipes)
    if a_core_each:
        parking.spins = PATIENT_SPINS
    return parking


def ground_of(task: Task, policy_size: int, memory: SharedArrays, pipes: PipesToCarry) -> Ground:
    """The shared parts over that memory, the same in every process."""
    rate = linear_or_constant(task.options, task.target_steps)
    return Ground(
        board=Board(memory.part("board")),
        ledger=Ledger(ledger_columns(task), memory.part("ledger")),
        parameters=SharedParameters(policy_size, memory.part("parameters")),
        parking=parking_of(memory, pipes, task.a_core_each),
        rule=UpdateRule(optimizer_of(task.options), rate, task.options.max_gradient_norm, target_every(task)),
    )


def episode_ring(memory: SharedArrays, worker: int) -> Ring:
    """Finished episodes of a worker on their way to the monitor; the oldest are dropped (and counted) when it is late."""
    return Ring(memory.part(f"episodes-{worker}"), when_full="drop_oldest")


def stream(seed: int, worker: int, generation: int) -> np.random.SeedSequence:
    """The root of a worker's random streams: its own for every run, worker and generation."""
    return np.random.SeedSequence([seed, worker, generation])
