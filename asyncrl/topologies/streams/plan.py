"""What the processes of a stream are handed (actors -> rings -> learner), and the shared memory that they work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS, check_actions
from asyncrl.algos.entries import Streamed
from asyncrl.algos.off_policy import HIDDEN
from asyncrl.errors import UserError
from asyncrl.heads.choice import REPLAY_ROLES, refuse_replay_head, replay_head, with_role
from asyncrl.heads.policy import Policy
from asyncrl.heads.tables import attach_tables, tables_layout
from asyncrl.heads.tower import TowerPolicy, check_replay_network
from asyncrl.learners.updater import Updater
from asyncrl.scheduler.board import Board
from asyncrl.shared.arrays import Layout, SharedArrays, offsets_of, prefixed
from asyncrl.shared.fans import Grid
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking, PipesToCarry
from asyncrl.shared.rings import Ring
from asyncrl.topologies.streams.board import StreamBoard
from asyncrl.topologies.streams.streams import Streams
from asyncrl.trajectory import Trajectory
from asyncrl.workers.plan import Task, WorkerPlan, common_layout, learner_columns, parking_of, record_of_version

SLOTS = 4
"""Units that an actor may be ahead of the learner."""

JOURNAL_BYTES, JOURNAL_UNITS = 2**23, 1024
"""Units that the learner remembers beyond those of one update, so that its state need not be kept after each: as many as have so many
bytes, at most so many."""

LEARNER_VECTORS = 16
"""Vectors like the policy's, float32, that a learner and the start need beside shared ones, about: parameters, gradient, optimizer;
of critics the same; of npg those of its conjugate gradient; of the start an orthogonal matrix."""


@dataclass(frozen=True)
class StreamTask(Task):
    """What is learned, the same for all processes of a run."""

    @property
    def entry(self) -> Streamed:
        """The algorithm's line in the registry."""
        entry = ALGORITHMS[self.algo]
        assert isinstance(entry, Streamed)
        return entry

    def policy(self, memory: SharedArrays | None = None) -> Policy:
        """The policy that acts, as `Task.policy`. Raises UserError where actions, head or network do not go with the algorithm."""
        check_actions(self.algo, self.spec.action_kind)
        own = self.entry.head
        if own not in with_role(*REPLAY_ROLES):
            owners = {name: one.head for name, one in ALGORITHMS.items() if isinstance(one, Streamed)}
            refuse_replay_head(self.head, self.algo, owners)
            return super().policy(memory)
        head = replay_head(self.head, self.algo, own)
        check_replay_network(self.network, self.algo)
        if self.network_function is not None:
            raise UserError(f"network_function cannot be used with {self.algo}: its networks are ours (--hidden; a3c, impala can)")
        policy = TowerPolicy(self.spec, head, self.network.hidden or HIDDEN)
        if memory is not None:
            attach_tables(policy.head, memory)
        return policy

    def updater(self, policy: Policy, store: Mapping[str, NDArray[Any]] | None = None) -> Updater:
        """The algorithm's learner; `store`: arrays of `store_layout`, without which it has its own."""
        updater: Updater = self.entry.updater_type()(self, policy, store)
        return updater

    def store_layout(self, policy: Policy) -> Layout:
        """What the algorithm's learner has in shared memory, beside what is kept of it."""
        layout: Layout = self.entry.updater_type().layout(self, journal_slots(self, policy))
        return layout

    def check(self, policy: Policy) -> None:
        """Raise UserError for what can't work, before anything is allocated."""
        self.entry.updater_type().check(self, journal_slots(self, policy))

    @property
    def updater_figures(self) -> tuple[str, ...]:
        """What the algorithm logs."""
        figures: tuple[str, ...] = self.entry.updater_type().figures
        return figures

    @property
    def needs_log_prob(self) -> bool:
        """Whether units must say how probable their actions were."""
        return bool(self.entry.updater_type().needs_log_prob)

    @property
    def observed(self) -> int:
        """Numbers of an observation whose statistics are kept; 0 for none."""
        on = getattr(self.options, "normalize_observations", False) and not self.spec.is_image
        return self.spec.observation_size if on else 0

    @property
    def steps_per_unit(self) -> int:
        """Steps of an actor's unit."""
        return int(self.options.t_max) * self.envs_per_worker


@dataclass(frozen=True)
class StreamPlan(WorkerPlan):
    """One process's share: actor i, or the learner after the last actor."""

    task: StreamTask
    store: SharedArrays | None = None
    """The learner's: see `StreamTask.store_layout`."""


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
        """The learner's ledger record as of the newest version."""
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

    def normaliser(self, into: NDArray[np.float32]) -> None:
        """Write shift, scale and 1 into [3, D], if observations are normalised."""
        if self.shift.size:
            into[0], into[1], into[2, 0] = self.shift, self.scale, 1.0


def unit_layout(task: StreamTask, policy: Policy) -> Layout:
    """A unit on its way to the learner: a trajectory, and what belongs to it."""
    spec, grid = task.spec, (int(task.options.t_max), task.envs_per_worker)
    observation = (spec.observation_shape, np.uint8 if spec.is_image else np.float32)
    head = policy.head
    return {
        **Trajectory.layout(*grid, observation, (head.components, head.action_dtype), policy.memory_size),
        "log_prob": (grid, np.float32),
        "fresh": ((task.envs_per_worker,), np.uint8),
        "observed_count": ((), np.float64),
        "observed_mean": ((task.observed,), np.float64),
        "observed_square": ((task.observed,), np.float64),
    }


def units_at_once(task: StreamTask) -> int:
    """Units that one update may use at most: those that it asks for, and all that are due, which rings hold."""
    return int(max(getattr(task.options, "batch_units", 1), task.workers) + task.workers * SLOTS)


def journal_slots(task: StreamTask, policy: Policy) -> int:
    """Units that the learner remembers."""
    bytes_of_unit = offsets_of(unit_layout(task, policy))[1]
    return units_at_once(task) + min(JOURNAL_BYTES // bytes_of_unit, JOURNAL_UNITS)


def stream_columns(figures: Sequence[str], actors: int) -> dict[str, int]:
    """Columns of a stream's ledger. Beside what every learner has (`plan.learner_columns`), in the learner's record, by it alone:

    <figure>_sum, <figure>_count     over the updates that had a finite one
    <figure>_peak                    the largest of the run, of figures that end in _max
    lag_sums, lag_counts [actors]    lag by the actor whose unit it was
    """
    peaks = [name for name in figures if name.endswith("_max")]
    means = [name for name in figures if name not in peaks]
    own = dict.fromkeys([*(f"{name}_count" for name in means), *(f"{name}_peak" for name in peaks)], 1)
    return {**learner_columns(means), **own, "lag_sums": actors, "lag_counts": actors}


def memory_layout(task: StreamTask, policy: Policy, figures: tuple[str, ...]) -> Layout:
    """Everything that the processes of a stream share, but for what the learner leaves to its successor."""
    size = PublishedPolicy.length(policy.size, task.observed)
    return {
        **common_layout(stream_columns(figures, task.workers), task.workers + 1, task.workers),
        **prefixed("stream", StreamBoard.layout(task.workers, SLOTS)),
        **prefixed("snapshots", Snapshots.layout(size)),
        **prefixed("units", Grid.layout(task.workers, 1, Ring.layout(SLOTS, unit_layout(task, policy)))),
        **tables_layout(policy.head),
    }


def ground_of(task: StreamTask, figures: tuple[str, ...], memory: SharedArrays, pipes: PipesToCarry) -> StreamGround:
    """The shared parts over that memory, the same in every process."""
    parking = parking_of(memory, pipes, task.a_core_each)

    def ring(arrays: Mapping[str, NDArray[Any]], producer: int, consumer: int) -> Ring:
        return Ring(arrays, "wait", parking, producer, task.workers)

    make: Callable[..., Ring] = ring
    columns = stream_columns(figures, task.workers)
    rings = Grid[Ring](memory.part("units"), task.workers, 1, make)
    streams = Streams(StreamBoard(memory.part("stream")), Snapshots(memory.part("snapshots")), rings, parking)
    return StreamGround(Board(memory.part("board")), Ledger(columns, memory.part("ledger")), parking, streams)
