"""What the processes of a black-box search are handed, and the shared memory that they work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS
from asyncrl.blackbox.lazy import Lazy
from asyncrl.blackbox.search import COUNTS, Search, Setting
from asyncrl.blackbox.space import POLICIES, Points, Space
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tables import tables_layout
from asyncrl.processes.identity import Worker
from asyncrl.processes.parcels import Parcel
from asyncrl.scheduler.board import Board
from asyncrl.shared.arrays import Layout, SharedArrays
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import PipesToCarry
from asyncrl.shared.states import States
from asyncrl.shared.tickets import Tickets
from asyncrl.topologies.search.generations import MOST_ATTEMPTS, SearchGround
from asyncrl.topologies.search.limits import EpisodeLimit
from asyncrl.workers.plan import Task, common_layout, identity_of, learner_columns, parking_of, record_of_version
from asyncrl.workers.standardiser import write_normaliser

DEFAULT_HEAD = "linear"

SITE = "site"
"""The part of the memory that a site's has, where evaluations are made for a learner elsewhere (`asyncrl.cluster`)."""

Objective = Callable[[NDArray[np.float64]], float]
"""A function of the user's that is minimised, of a vector [N]."""


@dataclass(frozen=True)
class Function:
    """What is minimised, where no environment's return is maximised."""

    pickled: Parcel
    """The user's function of a vector."""
    start: Points
    """Where the search begins [N]."""
    space: Space
    most: int
    """Evaluations of the whole run, at most."""


@dataclass(frozen=True)
class SearchTask:
    """What is searched, the same for all processes of a run: the task, and what only a search needs beside it."""

    common: Task
    settings: tuple[Setting, ...]
    function: Function | None = None

    @cached_property
    def space(self) -> Space:
        """Where candidates lie."""
        if self.function is not None:
            return self.function.space
        lazy = self.common.network.head_options.lazy
        return POLICIES if lazy == "1" else Space(lazy=Lazy.parse(lazy, search_policy(self.common).network.size))

    @property
    def size(self) -> int:
        """Parameters N."""
        return search_policy(self.common).size if self.function is None else self.function.start.size

    def initial(self) -> Points:
        """Where the search begins [N]."""
        return search_policy(self.common).initial(self.common.seed) if self.function is None else self.function.start

    def search(self, size: int) -> Search:
        """The algorithm."""
        kind = ALGORITHMS[self.common.algo].implementation
        search: Search = kind(self.common.options, size, self.common.seed, self.settings, self.space)
        return search

    @property
    def observed(self) -> int:
        """Numbers of an observation whose statistics are kept, to shift and scale it; 0 for none."""
        on = self.function is None and self.common.options.normalize_observations
        return self.common.spec.observation_size if on else 0


def head_of(task: Task) -> str:
    """The name of the policy's head."""
    return DEFAULT_HEAD if task.head == "auto" else task.head


def search_policy(task: Task) -> SearchPolicy:
    """The policy, without numbers."""
    return SearchPolicy(task.spec, head_of(task), task.network, task.options.action_bins)


@dataclass(frozen=True)
class SearchPlan:
    """One process's share: worker i, or the learner after the last worker."""

    task: SearchTask
    worker: int
    generation: int
    memory: SharedArrays
    pipes: PipesToCarry
    core: int | None

    @property
    def identity(self) -> Worker:
        """What `asyncrl.worker` says in this process."""
        return identity_of(self.task.common, self.worker, self.generation)


class Published:
    """The vector that travels by version: what the algorithm publishes, the observations' shift and scale, the step limit."""

    def __init__(self, vector: Points, size: int, observed: int):
        self.vector = vector
        self.search = vector[:size]
        self.shift, self.scale = vector[size : size + observed], vector[size + observed : size + 2 * observed]
        self.limit = vector[size + 2 * observed :]  # one number; 0: none. Exact, since it is below 2**24

    @classmethod
    def empty(cls, task: SearchTask, search: Search) -> Published:
        """One of zeros."""
        size = search.published_size + 2 * task.observed + 1
        return cls(np.zeros(size, task.space.dtype), search.published_size, task.observed)

    def normaliser(self, into: NDArray[np.float32]) -> None:
        """Write shift, scale and 1 into [3, D], if observations are normalised."""
        write_normaliser(self.shift, self.scale, into)


def record_fields(observed: int) -> Mapping[str, Any]:
    """An evaluation on its way to the learner."""
    return {
        "value": ((), np.float64),  # what the search maximises: mean return of the episodes, less the survival bonus
        "length": ((), np.int64),  # steps of all its episodes
        "version": ((), np.int64),  # of the parameters that acted
        "worker": ((), np.int64),
        "attempt": ((), np.int64),  # how often it was made before, without a finite return: the learner's word
        "made": ((), np.int64),  # which of the attempts this is
        "cut": ((), np.int64),  # episodes that reached the step limit
        "observed_count": ((), np.float64),
        "observed_mean": ((observed,), np.float64),
        "observed_square": ((observed,), np.float64),
    }


def learner_state(task: SearchTask, search: Search) -> dict[str, NDArray[Any]]:
    """Everything that the learner remembers: the algorithm's own arrays, and its bookkeeping."""
    observed = task.observed
    of_function = {"ended": np.zeros(1, np.int64)} if task.space.of_function else {}  # number of the reason, of `ENDINGS`
    return {
        **of_function,
        **{f"search/{name}": array for name, array in search.state.items()},
        "observed_count": np.zeros(1),
        "observed_mean": np.zeros(observed),
        "observed_square": np.zeros(observed),
        "used_steps": np.zeros(1, np.int64),  # steps of all evaluations that were used
        "used": np.full(search.tickets, -1, np.int64),  # the tickets that the newest version is made from
        "limit": np.zeros(1, np.int64),  # steps of a training episode; 0: no limit
        "limit_since": np.zeros(1, np.int64),  # the first version with that limit
        "told_flat": np.zeros(1, np.int64),
        "previous": np.zeros_like(Published.empty(task, search).vector),  # what was published before the newest
    }


def ledger_columns(search: Search) -> dict[str, int]:
    """Columns of every learner; totals of COUNTS, and of evaluations that were discarded and made again, and that had no value at last."""
    return learner_columns(search.figures, [f"{name}_total" for name in (*COUNTS, "discarded", "missing")])


def memory_layout(task: SearchTask, search: Search) -> Layout:
    """Everything that the processes of a search share."""
    published = Published.empty(task, search).vector.size
    layout: dict[str, Any] = {
        **common_layout(ledger_columns(search), task.common.workers + 1, task.common.workers),
        **SearchGround.layout(search.tickets, record_fields(task.observed), published, learner_state(task, search), task.space.dtype),
    }
    if task.function is None:
        layout |= tables_layout(search_policy(task.common).head)
    if task.space.of_function:  # row i is worker i's: two places, and last which of them counts (1 or 2; 0: none yet)
        rows = task.common.workers
        layout |= {
            "best/value": ((rows, 2), np.float64),
            "best/point": ((rows, 2, task.size), task.space.dtype),
            "best/which": ((rows,), np.int64),
        }
    return layout


def ground_of(task: SearchTask, search: Search, memory: SharedArrays, pipes: PipesToCarry) -> SearchGround:
    """The shared parts over that memory, the same in every process."""
    return SearchGround(
        board=Board(memory.part("board")),
        ledger=Ledger(ledger_columns(search), memory.part("ledger")),
        parking=parking_of(memory, pipes, task.common.a_core_each),
        tickets=Tickets(memory.part("tickets")),
        snapshots=Snapshots(memory.part("snapshots")),
        states=States(memory.part("states")),
        over=memory["over"],
        population=search.tickets,
        arrival=task.common.options.account == "arrival",
        retries=0 if task.space.of_function else MOST_ATTEMPTS,
        most=None if task.function is None else task.function.most,
        each=bool(memory.part(SITE)),
    )


def learner_record(ground: SearchGround) -> NDArray[np.float64]:
    """The learner's ledger record [columns] as of the newest version."""
    return record_of_version(ground.ledger, ground.learner, ground.version)


def episode_limit(task: SearchTask) -> EpisodeLimit:
    """The rule by which training episodes are cut."""
    return EpisodeLimit.parse(task.common.options.episode_limit)

