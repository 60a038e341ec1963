"""What the processes of a black-box search are handed, and the shared memory that they work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import BlackBox
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import COUNTS, Search, Setting
from asyncrl.blackbox.space import POLICIES, Points, Space
from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tables import attach_tables, tables_layout
from asyncrl.scheduler.board import Board
from asyncrl.shared.arrays import Layout, SharedArrays
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import PipesToCarry
from asyncrl.shared.states import States
from asyncrl.shared.tickets import Tickets
from asyncrl.topologies.search.generations import MOST_ATTEMPTS, SearchGround
from asyncrl.topologies.search.limits import EpisodeLimit
from asyncrl.workers.plan import common_layout, learner_columns, parking_of, record_of_version

if TYPE_CHECKING:
    from asyncrl.workers.evaluator import Playing


@dataclass(frozen=True)
class SearchTask:
    """What is searched, the same for all processes of a run."""

    objective: bytes
    """What makes the environment, from `asyncrl.envs.ship`; or a function of a vector, from cloudpickle, where spec is None."""
    spec: EnvSpec | None
    start: Points | None
    """Where a function's search begins [N]; a policy has its own start."""
    head: str
    network: NetworkOptions
    algo: str
    options: SearchOptions
    settings: tuple[Setting, ...]
    workers: int
    target_steps: int
    seed: int
    space: Space = POLICIES
    most_tickets: int | None = None
    """Evaluations of the whole run, of a function; None: as many as it takes."""
    a_core_each: bool = False
    """Whether there are cores for all workers: then they wait patiently before they sleep."""

    def policy(self, memory: SharedArrays | None = None) -> SearchPolicy:
        """The policy, without numbers; its head's tables are those in `memory`, or, without it, tables of its own."""
        assert self.spec is not None
        policy = SearchPolicy(self.spec, self.head, self.network, self.options.action_bins)
        if memory is not None:
            attach_tables(policy.head, memory)
        return policy

    @property
    def shipped(self) -> bytes:
        """See `asyncrl.workers.evaluator.Evaluated`."""
        return self.objective

    @property
    def size(self) -> int:
        """Parameters N."""
        return self.policy().size if self.start is None else self.start.size

    def initial(self) -> Points:
        """Where the search begins [N]."""
        return self.policy().initial(self.seed) if self.start is None else self.start

    def search(self, size: int) -> Search:
        """The algorithm."""
        entry = ALGORITHMS[self.algo]
        assert isinstance(entry, BlackBox)
        search: Search = entry.search_type()(self.options, size, self.seed, self.settings, self.space)
        return search

    @property
    def normalises(self) -> bool:
        """Whether observations are shifted and scaled."""
        return self.spec is not None and self.options.normalize_observations

    @property
    def observed(self) -> int:
        """Numbers of an observation whose statistics are kept; 0 for none."""
        return self.spec.observation_size if self.spec is not None and self.normalises else 0

    def player(self, seed: int, render_mode: str | None = None, environment: Any = None) -> Playing:
        """What plays the point that the search has reached."""
        from asyncrl.topologies.search.evaluating import SearchPlayer

        return SearchPlayer(self, seed, render_mode, environment)


@dataclass(frozen=True)
class SearchPlan:
    """One process's share: worker i, or the learner after the last worker."""

    task: SearchTask
    worker: int
    memory: SharedArrays
    pipes: PipesToCarry
    core: int | None


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
        if self.shift.size:
            into[0], into[1], into[2, 0] = self.shift, self.scale, 1.0


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
    """See `learner_columns`; totals of COUNTS, and of evaluations that were discarded and made again, and that had no value at last."""
    return learner_columns(search.figures, [f"{name}_total" for name in (*COUNTS, "discarded", "missing")])


def memory_layout(task: SearchTask, search: Search) -> Layout:
    """Everything that the processes of a search share."""
    published = Published.empty(task, search).vector.size
    layout: dict[str, Any] = {
        **common_layout(ledger_columns(search), task.workers + 1, task.workers),
        **SearchGround.layout(search.tickets, record_fields(task.observed), published, learner_state(task, search), task.space.dtype),
    }
    if task.spec is not None:
        layout |= tables_layout(task.policy().head)
    if task.space.of_function:  # row i is worker i's: two places, and last which of them counts (1 or 2; 0: none yet)
        rows = task.workers
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
        parking=parking_of(memory, pipes, task.a_core_each),
        tickets=Tickets(memory.part("tickets")),
        snapshots=Snapshots(memory.part("snapshots")),
        states=States(memory.part("states")),
        over=memory["over"],
        population=search.tickets,
        arrival=task.options.account == "arrival",
        retries=0 if task.space.of_function else MOST_ATTEMPTS,
        most=task.most_tickets,
    )


def learner_record(ground: SearchGround) -> NDArray[np.float64]:
    """The learner's ledger record as of the newest version."""
    return record_of_version(ground.ledger, ground.learner, ground.version)


def episode_limit(task: SearchTask) -> EpisodeLimit:
    """The rule by which training episodes are cut."""
    return EpisodeLimit.parse(task.options.episode_limit)


Objective = Callable[[NDArray[np.float64]], float]
