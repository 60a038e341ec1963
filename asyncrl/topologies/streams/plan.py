"""What the processes of a stream are handed (actors -> rings -> learner), and the shared memory that they work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS, check_actions
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.choice import REPLAY_ROLES, refuse_replay_head, replay_head, role_under, with_role
from asyncrl.heads.policy import Policy
from asyncrl.heads.tables import tables_layout
from asyncrl.heads.tower import TowerPolicy, check_replay_network
from asyncrl.learners.off_policy import HIDDEN, OffPolicyLearner
from asyncrl.learners.replays import ReplayUpdater
from asyncrl.learners.updater import Updater
from asyncrl.progress import age_columns, sample_columns
from asyncrl.scheduler.board import Board
from asyncrl.shared.arrays import Layout, SharedArrays, offsets_of, prefixed
from asyncrl.shared.grid import Grid
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking, PipesToCarry
from asyncrl.shared.rings import Ring
from asyncrl.topologies.streams.board import StreamBoard
from asyncrl.topologies.streams.streams import Streams
from asyncrl.trajectory import Trajectory
from asyncrl.workers.plan import Task, WorkerPlan, common_layout, learner_columns, parking_of, record_of_version
from asyncrl.workers.standardiser import write_normaliser

SLOTS = 4
"""Units that an actor may be ahead of the learner."""

DIAGNOSED_VERSIONS = 16
"""Versions that stay readable under `--diagnose`, so that drift can be told since one that acted."""

JOURNAL_BYTES, JOURNAL_UNITS = 2**23, 1024
"""Units that the learner remembers beyond those of one update, so that its state need not be kept after each: as many as have so many
bytes, at most so many."""

LEARNER_VECTORS = 16
"""Vectors like the policy's, float32, that a learner and the start need beside shared ones, about: parameters, gradient, optimizer;
of critics the same; of npg those of its conjugate gradient; of the start an orthogonal matrix."""


def stream_policy(task: Task) -> Policy:
    """The policy that acts, without numbers. Raises UserError where actions, head or network do not go with the algorithm."""
    own = ALGORITHMS[task.algo].head
    if own not in with_role(*REPLAY_ROLES):
        check_actions(task.algo, task.spec.action_kind)
        refuse_replay_head(task.head, task.algo, {name: one.head for name, one in ALGORITHMS.items()})
        return task.policy()
    head = replay_head(task.head, task.algo, own)
    if head == own:  # others may serve actions for which the algorithm is not made, and say so themselves
        _check_actions(task)
    check_replay_network(task.network, task.algo)
    if task.network_function is not None:
        raise UserError(f"network_function cannot be used with {task.algo}: its networks are ours (--hidden; a3c, impala can)")
    role = role_under(own, searches=False, learns_values=False)
    return TowerPolicy(task.spec, head, task.network.hidden or HIDDEN, task.network.head_options, role)


def _check_actions(task: Task) -> None:
    """Raise UserError where an algorithm's own head is not made for the actions; names its other heads that are."""
    kind, algo = task.spec.action_kind, task.algo
    try:
        check_actions(algo, kind)
    except UserError as error:
        others = [name for name, head in HEADS.items() if algo in head.learners and kind in head.action_kinds]
        hint = f"; where their features are known also {algo} --head {', '.join(others)}" if others else ""
        raise UserError(f"{error}{hint}") from None


def updater_type(task: Task) -> type[Updater]:
    """The class of the algorithm's learner, or of the one that its head names, for what is known of it without making one."""
    entry, place = ALGORITHMS[task.algo], HEADS[task.head].learners.get(task.algo) if task.head in HEADS else None
    found: type[Updater] = entry.implementation if place is None else entry.found(f"{place}Updater")
    return found


def updater_of(task: Task, policy: Policy, store: Mapping[str, NDArray[Any]] | None = None) -> Updater:
    """The algorithm's learner; `store`: the arrays of its `layout`, without which it has its own."""
    kind: Any = updater_type(task)
    made: Updater = kind(task, policy, store)
    return made


def learner_of(task: Task, state: Callable[[], Mapping[str, NDArray[Any]]]) -> OffPolicyLearner | None:
    """What learns from the task's replay, on the processor, as it was when `state()` was given by its updater.

    None for algorithms without a replay, whose state is not asked for.
    """
    kind = updater_type(task)
    if not issubclass(kind, ReplayUpdater):
        return None
    task = replace(task, options=task.options.on_host())
    return kind.learner_of(task, stream_policy(task), state())


def observed_size(task: Task) -> int:
    """Numbers of an observation whose statistics are kept; 0 for none."""
    on = task.options.normalize_observations and not task.spec.is_image
    return task.spec.observation_size if on else 0


@dataclass(frozen=True)
class LearnerPlan:
    """The learner's share."""

    process: WorkerPlan
    """As an actor's; its place is the one after the last actor."""
    store: SharedArrays
    """What it leaves to its successor: the arrays of the updater's `layout`, and those of `Keeper.layout`."""


@dataclass(frozen=True)
class StreamGround:
    """The shared parts that actors and learner work on. Actor i is place i of the board, the learner the last."""

    board: Board
    ledger: Ledger
    parking: Parking
    streams: Streams

    @property
    def learner(self) -> int:
        """The learner's place."""
        return self.board.workers - 1

    @property
    def learner_record(self) -> NDArray[np.float64]:
        """The learner's ledger record [columns] as of the newest version."""
        return record_of_version(self.ledger, self.learner, self.streams.snapshots.version)


class PublishedPolicy:
    """The vector that travels by version: the policy's parameters, the observations' shift and scale, how to explore.

    Its one writer is the learner (`StreamState.publish`). Actors explore by it alone, and not by what the ledger tells at the
    moment: so that what they do is a function of the version, however they are timed.
    """

    def __init__(self, vector: NDArray[np.float32], size: int, observed: int):
        self.vector = vector
        self.parameters = vector[:size]
        self.shift, self.scale = vector[size : size + observed], vector[size + observed : size + 2 * observed]
        self.uniform = vector[size + 2 * observed :][:1]  # 1 while actors should act uniformly
        self.steps = vector[size + 2 * observed + 1 :]  # of all units that the learner had taken, rounded: exploration is annealed by it

    @staticmethod
    def length(size: int, observed: int) -> int:
        """Numbers of the vector; `size`: parameters."""
        return size + 2 * observed + 2

    @classmethod
    def empty(cls, size: int, observed: int) -> PublishedPolicy:
        """One of zeros."""
        return cls(np.zeros(cls.length(size, observed), np.float32), size, observed)

    def like(self) -> PublishedPolicy:
        """Another one of the same sizes, of zeros."""
        return PublishedPolicy.empty(self.parameters.size, self.shift.size)

    def normaliser(self, into: NDArray[np.float32]) -> None:
        """Write shift, scale and 1 into [3, D], if observations are normalised."""
        write_normaliser(self.shift, self.scale, into)


def unit_layout(task: Task, policy: Policy) -> Layout:
    """A unit on its way to the learner: a trajectory, and what belongs to it."""
    spec, grid = task.spec, (int(task.options.t_max), task.envs_per_worker)
    observation = (spec.observation_shape, np.uint8 if spec.is_image else np.float32)
    head = policy.head
    return {
        **Trajectory.layout(*grid, observation, (head.stored, head.action_dtype), policy.memory_size),
        "log_prob": (grid, np.float32),
        "fresh": ((task.envs_per_worker,), np.uint8),
        "observed_count": ((), np.float64),
        "observed_mean": ((observed_size(task),), np.float64),
        "observed_square": ((observed_size(task),), np.float64),
    }


def units_at_once(task: Task) -> int:
    """Units that one update may use at most: those that it asks for, and all that are due, which rings hold."""
    return int(max(task.options.batch_units, task.workers) + task.workers * SLOTS)


def journal_slots(task: Task, policy: Policy) -> int:
    """Units that the learner remembers."""
    bytes_of_unit = offsets_of(unit_layout(task, policy))[1]
    return units_at_once(task) + min(JOURNAL_BYTES // bytes_of_unit, JOURNAL_UNITS)


def ledger_columns(figures: Sequence[str], actors: int, diagnoses: bool = False) -> dict[str, int]:
    """Columns of a stream's ledger. Beside what every learner has (`plan.learner_columns`), in the learner's record, by it alone:

    <figure>_sum, <figure>_count     over the updates that had a finite one
    <figure>_peak                    the largest of the run, of figures that end in _max
    lag_sums, lag_counts [actors]    lag by the actor whose unit it was
    those of `AGES`, parameter_drift_sum and _count    what `--diagnose` tells
    """
    peaks = [name for name in figures if name.endswith("_max")]
    means = [name for name in figures if name not in peaks]
    own = dict.fromkeys([*(f"{name}_count" for name in means), *(f"{name}_peak" for name in peaks)], 1)
    more = {**age_columns(), **sample_columns(["parameter_drift"])} if diagnoses else {}
    return {**learner_columns(means), **own, "lag_sums": actors, "lag_counts": actors, **more}


def _columns(task: Task) -> dict[str, int]:
    return ledger_columns(updater_type(task).figures, task.workers, task.diagnose > 0)


def memory_layout(task: Task, policy: Policy) -> Layout:
    """Everything that the processes of a stream share, but for what the learner leaves to its successor."""
    size = PublishedPolicy.length(policy.size, observed_size(task))
    return {
        **common_layout(_columns(task), task.workers + 1, task.workers),
        **prefixed("stream", StreamBoard.layout(task.workers, SLOTS)),
        **prefixed("snapshots", Snapshots.layout(size, DIAGNOSED_VERSIONS) if task.diagnose else Snapshots.layout(size)),
        **prefixed("units", Grid.layout(task.workers, 1, Ring.layout(SLOTS, unit_layout(task, policy)))),
        **tables_layout(policy.head),
    }


def ground_of(task: Task, memory: SharedArrays, pipes: PipesToCarry) -> StreamGround:
    """The shared parts over that memory, the same in every process."""
    parking = parking_of(memory, pipes, task.a_core_each)

    def ring(arrays: Mapping[str, NDArray[Any]], producer: int, consumer: int) -> Ring:
        return Ring(arrays, "wait", parking, producer, task.workers)

    make: Callable[..., Ring] = ring
    rings = Grid[Ring](memory.part("units"), task.workers, 1, make)
    streams = Streams(StreamBoard(memory.part("stream")), Snapshots(memory.part("snapshots")), rings, parking)
    return StreamGround(Board(memory.part("board")), Ledger(_columns(task), memory.part("ledger")), parking, streams)
