"""Black-box search: workers evaluate candidates, one learner makes the next version of what they are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS
from asyncrl.blackbox.lazy import Lazy
from asyncrl.blackbox.search import ENDINGS
from asyncrl.blackbox.settings import label, parse_settings
from asyncrl.blackbox.space import Space
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.tables import attach_tables, copied_tables, restore_tables, tables_to_keep
from asyncrl.processes.parcels import pack
from asyncrl.scheduler.modes import Async
from asyncrl.shared.arrays import Layout, free_bytes
from asyncrl.topologies.search.estate import TicketsEstate
from asyncrl.topologies.search.evaluating import Best
from asyncrl.topologies.search.generations import slots_for
from asyncrl.topologies.search.learner import LearnerState, run_search_learner
from asyncrl.topologies.search.plan import (
    Function,
    Published,
    SearchPlan,
    SearchTask,
    ground_of,
    head_of,
    learner_record,
    memory_layout,
    record_fields,
    search_policy,
)
from asyncrl.topologies.search.worker import run_search_worker
from asyncrl.topologies.simulation import simulated
from asyncrl.topologies.topology import Arrays, Seat, Topology, allocate, check_shapes
from asyncrl.workers.plan import task_of, task_without_environment
from asyncrl.workers.player import Snapshot


@dataclass(frozen=True)
class Searched:
    """What is minimised instead of an environment's return being maximised."""

    function: Callable[[NDArray[np.float64]], float]
    start: NDArray[np.float64]
    """[N]"""
    space: Space
    most: int
    """Evaluations, at most."""


class SearchTopology(Topology):
    """The topology of black-box search: workers evaluate, the learner is one process more. It searches policies and functions."""

    def __init__(self, experiment: Experiment, function: Searched | None = None, more: int = 0):
        """`function`: what is minimised, instead of an environment's return being maximised; `more`: places for workers beyond those of
        the experiment, which come after them."""
        check_search(experiment)
        search = search_task(experiment) if function is None else function_task(experiment, function)
        if more:  # whoever holds a place takes time of the workers' cores, so nobody has one alone
            search = replace(search, common=replace(search.common, workers=experiment.workers + more, a_core_each=False))
        self._search = search
        self.task, self.head_name, self.size = search.common, head_of(search.common), search.size
        check_memory(search, self.size)
        self.labels = ["default"] * self.task.workers
        self.settings = [label(setting) for setting in search.settings]
        self._state = LearnerState(search, self.size)
        self.memory, parking = allocate({**memory_layout(search, self._state.search), **self.more_memory()}, experiment.run)
        self.pipes = parking.carried()
        self.ground = ground_of(search, self._state.search, self.memory, self.pipes)
        self.estate = TicketsEstate(self.ground)

    def more_memory(self) -> Layout:
        """What a subclass shares beside; by default nothing."""
        return {}

    @property
    def steps(self) -> int:
        """Steps of the evaluations that the present parameters are made from."""
        return int(self.ground.states.one(self.ground.version, "used_steps")[0])

    def head_figures(self) -> dict[str, float]:
        if self._search.function is not None:
            return {}
        head = search_policy(self.task).head
        attach_tables(head, self.memory)
        return head.figures()

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        plan = SearchPlan(self._search, seat.worker, seat.generation, self.memory, self.pipes, seat.core)
        return (run_search_learner if seat.worker == self.ground.learner else run_search_worker), plan

    def begin(self) -> None:
        self._state.begin()
        self._fill_tables()
        published = Published.empty(self._search, self._state.search)
        self._state.publish(published)
        self.ground.snapshots.restore(published.vector, 0)
        self.ground.states.save(0, self._state.arrays)
        self.ground.tickets.begin()

    def _fill_tables(self) -> None:
        """Write the first contents of the tables of the policy's head."""
        if self._search.function is None:
            policy = search_policy(self.task)
            attach_tables(policy.head, self.memory)
            policy.fill_tables(self.task.seed)

    def restore(self, state: dict[str, Any], arrays: Arrays, folder: Path) -> None:
        ground, tickets = self.ground, self.ground.tickets
        targets = {
            **{f"state/{name}": array for name, array in self._state.arrays.items()},
            **{f"tickets/{name}": array for name, array in tickets.records.items()},
            "tickets/states": tickets.states,
            "tickets/window": tickets.window,
        }
        # Checkpoints from before this word was kept lack it: evaluations begun under a lower limit may then raise it once more.
        arrays = {"state/limit_since": np.zeros(1, np.int64), **arrays}
        ledger = (ground.ledger.workers, ground.ledger.width)
        if "ledger" in arrays:
            arrays["ledger"] = of_so_many(arrays["ledger"], ground.ledger.workers)
        check_shapes(arrays, {**{name: target.shape for name, target in targets.items()}, "ledger": ledger})
        for name, target in targets.items():
            target[...] = arrays[name]
        restore_tables(self.memory, arrays)
        version = state["version"]
        published = Published.empty(self._search, self._state.search)
        if version:
            ground.snapshots.restore(self._state.arrays["previous"], version - 1)
        self._state.publish(published)
        ground.snapshots.restore(published.vector, version)
        ground.states.save(version, self._state.arrays)
        ground.ledger.restore(arrays["ledger"])

    def gather(self) -> tuple[dict[str, Any], Arrays]:
        ground = self.ground
        version = ground.version
        snapshot = self.snapshot()
        ledger = ground.ledger.read_all()
        ledger[ground.learner] = learner_record(ground)
        arrays = {
            **{f"state/{name}": array for name, array in ground.states.copies(version).items()},
            **{f"tickets/{name}": array for name, array in ground.tickets.records.items()},
            "tickets/states": ground.tickets.states,
            "tickets/window": ground.tickets.window,
            "ledger": ledger,
            "parameters": snapshot.vector,
            "normaliser": snapshot.normaliser,
            **tables_to_keep(self.memory),
        }
        return {"version": version}, arrays

    def beyond_the_end(self) -> dict[str, int]:
        """`pipelined` has begun the next generation when the last one ends, and how far depends on the workers' timing."""
        tickets = self.ground.tickets
        if self.ground.board.mode().delay is None:
            return {}
        numbers = tickets.done(tickets.slots)
        steps = int(tickets.records["length"][numbers % tickets.slots].sum())
        return {"steps": steps, "episodes": len(numbers) * self.task.options.episodes}

    def parts(self) -> list[int]:
        """None: workers of a search remember nothing."""
        return []

    def snapshot(self) -> Snapshot:
        published = Published.empty(self._search, self._state.search)
        self.ground.snapshots.copy(published.vector)
        normaliser = np.zeros((3, 0 if self.spec is None else self.spec.observation_size), np.float32)
        published.normaliser(normaliser)
        vector, limit = published.search[: self.size].copy(), int(published.limit[0])
        return Snapshot(vector, normaliser, self.steps, limit, copied_tables(self.memory))

    def best(self) -> tuple[float, NDArray[np.float64]] | None:
        """The best of a function that any worker has seen: what is maximised, and the point [N]; None without any."""
        known = [best for best in (Best(self.memory, worker).get() for worker in range(self.task.workers)) if best is not None]
        return max(known, key=lambda best: best[0], default=None)

    def ending(self) -> str:
        """Why the search of a function has ended itself; "" where it has not."""
        return ENDINGS[int(self.ground.states.one(self.ground.version, "ended")[0])]


def of_so_many(ledger: NDArray[np.float64], places: int) -> NDArray[np.float64]:
    """The ledger [places, columns] of a checkpoint, [more or fewer, columns], whose last row is the learner's.

    A run may be resumed with another number of sites. Those that are gone have their counts added to the last one that is left, so that
    totals stay; those that are new begin at nothing.
    """
    workers, learner = ledger[:-1], ledger[-1:]
    fitting = np.zeros((max(places - 1, 0), ledger.shape[1]))
    kept = min(len(workers), len(fitting))
    fitting[:kept] = workers[:kept]
    fitting[kept - 1 : kept] += workers[kept:].sum(axis=0)
    return np.concatenate([fitting, learner])


def check_search(experiment: Experiment) -> None:
    """Raise UserError for settings that a search has no use for, or modes in which its algorithm does not work."""
    if experiment.envs_per_worker != 1:
        raise UserError(f"envs_per_worker = {experiment.envs_per_worker} cannot be used with {experiment.algo} (allowed: 1)")
    if experiment.network_function is not None:
        raise UserError(f"network_function cannot be used with {experiment.algo}: its policies are heads of ours (see `asyncrl list`)")
    options = experiment.options
    allowed = options.modes or ALGORITHMS[experiment.algo].modes
    name = options.variant or experiment.algo
    for _, mode in experiment.modes:
        if mode.name not in allowed:
            others = ", ".join(name for name in ("es", "tres", "ars") if name in ALGORITHMS)
            raise UserError(
                f"mode {str(mode)!r} cannot be used with {name} (allowed: {', '.join(allowed)}: its update needs a "
                f"whole generation of one version; {others} work in every mode)"
            )
    _check_lazy(experiment)
    if options.account == "arrival" and not any(isinstance(mode, Async) for _, mode in experiment.modes):
        raise UserError(f"account = arrival cannot be used in mode {experiment.mode!r} (allowed: dispatch; or mode async)")


def _check_lazy(experiment: Experiment) -> None:
    """Raise UserError where the action tower cannot rest. Searches that vary all parameters together say so themselves."""
    lazy = experiment.network.head_options.lazy
    if lazy == "1":
        return
    Lazy.parse(lazy, 0)  # raises where the text cannot be read
    if experiment.options.account == "arrival":
        why = "of the evaluations that arrive first some vary the action tower and others do not, so none of them tell how to move it"
        raise UserError(f"lazy = {lazy} cannot be used with account = arrival: {why} (allowed: dispatch; or lazy = 1)")


def check_memory(task: SearchTask, size: int) -> None:
    """Raise UserError for a search of `size` parameters that can't fit in memory, before anything is made; says what takes it.

    Counted are at least: the history (the learner's, its start's, two versions in shared memory), the window of tickets and one
    generation's directions, and vectors of the network.
    """
    options, free = task.common.options, free_bytes(None)
    record = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in record_fields(task.observed).values())
    parts = {
        f"max_lag = {options.max_lag}": 16 * size * options.max_lag,
        f"population = {options.population}": slots_for(max(options.population, 1)) * record + 2 * size * options.population,
        f"{size:,} parameters": 32 * size,
    }
    needed = sum(parts.values())
    if needed > free:
        takes = ", ".join(f"{part:,} for {name}" for name, part in sorted(parts.items(), key=lambda item: -item[1]))
        raise UserError(f"too little memory: the search needs at least {needed:,} bytes ({takes}), {free:,} are free")


def search_task(experiment: Experiment) -> SearchTask:
    """What is searched, for an environment. Makes it once."""
    task = task_of(experiment)
    return SearchTask(
        simulated(task, search_policy(task), experiment.run.simulator), parse_settings(experiment.explore, experiment.options)
    )


def function_task(experiment: Experiment, searched: Searched) -> SearchTask:
    """What is searched, for a function."""
    try:
        shipped = pack(searched.function)
    except Exception as error:
        raise UserError(f"the function cannot travel to the workers: {type(error).__name__}: {error}") from error
    function = Function(shipped, searched.start, searched.space, searched.most)
    return SearchTask(task_without_environment(experiment), parse_settings(experiment.explore, experiment.options), function)
