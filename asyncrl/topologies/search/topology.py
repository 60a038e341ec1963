"""Black-box search: workers evaluate candidates, one learner makes the next version of what they are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS
from asyncrl.blackbox.search import ENDINGS
from asyncrl.blackbox.settings import label, parse_settings
from asyncrl.blackbox.space import Space
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment, usable_cores
from asyncrl.heads.tables import copied_tables, restore_tables, tables_to_keep
from asyncrl.scheduler.modes import Async, parse_modes
from asyncrl.shared.arrays import free_bytes
from asyncrl.topologies.search.estate import TicketsEstate
from asyncrl.topologies.search.evaluating import Best
from asyncrl.topologies.search.generations import slots_for
from asyncrl.topologies.search.learner import LearnerState, run_search_learner
from asyncrl.topologies.search.plan import Published, SearchPlan, SearchTask, ground_of, learner_record, memory_layout, record_fields
from asyncrl.topologies.search.worker import run_search_worker
from asyncrl.topologies.topology import Arrays, Seat, allocate, probed
from asyncrl.workers.evaluator import Snapshot

DEFAULT_HEAD = "linear"


@dataclass(frozen=True)
class Searched:
    """What is minimised instead of an environment's return being maximised."""

    function: Callable[[NDArray[np.float64]], float]
    start: NDArray[np.float64]
    """[N]"""
    space: Space
    most: int
    """Evaluations, at most."""


class SearchTopology:
    """See `topology.Topology`."""

    def __init__(self, experiment: Experiment, function: Searched | None = None):
        check_search(experiment)
        self._experiment = experiment
        self.task = search_task(experiment) if function is None else function_task(experiment, function)
        self.spec, self.head_name = self.task.spec, self.task.head
        self.size = self.task.size
        check_memory(self.task, self.size)
        self.labels = ["default"] * experiment.workers
        self.settings = [label(setting) for setting in self.task.settings]
        self._state = LearnerState(self.task, self.size)
        search = self._state.search
        self.memory, parking = allocate(memory_layout(self.task, search))
        self._pipes = parking.carried()
        self.ground = ground_of(self.task, search, self.memory, self._pipes)
        self.estate = TicketsEstate(self.ground)

    @property
    def steps(self) -> int:
        """See `Topology`: of the evaluations that were used."""
        return int(self.ground.states.one(self.ground.version, "used_steps")[0])

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        """See `Topology`."""
        plan = SearchPlan(self.task, seat.worker, self.memory, self._pipes, seat.core)
        return (run_search_learner if seat.worker == self.ground.learner else run_search_worker), plan

    def begin(self) -> None:
        """See `Topology`."""
        self._state.begin()
        if self.spec is not None:
            self.task.policy(self.memory).fill_tables(self.task.seed)
        published = Published.empty(self.task, self._state.search)
        self._state.publish(published)
        self.ground.snapshots.restore(published.vector, 0)
        self.ground.states.save(0, self._state.arrays)
        self.ground.tickets.begin()

    def restore(self, state: dict[str, Any], arrays: Arrays, folder: Path) -> None:
        """See `Topology`."""
        ground, tickets = self.ground, self.ground.tickets
        targets = {
            **{f"state/{name}": array for name, array in self._state.arrays.items()},
            **{f"tickets/{name}": array for name, array in tickets.records.items()},
            "tickets/states": tickets.states,
            "tickets/window": tickets.window,
        }
        # Checkpoints from before this word was kept lack it: evaluations begun under a lower limit may then raise it once more.
        arrays = {"state/limit_since": np.zeros(1, np.int64), **arrays}
        shape = (ground.ledger.workers, ground.ledger.width)
        for name, wanted in {**{name: target.shape for name, target in targets.items()}, "ledger": shape}.items():
            if name not in arrays or arrays[name].shape != wanted:
                given = arrays[name].shape if name in arrays else None
                raise UserError(f"the checkpoint does not fit: {name} has shape {given}, this run needs {wanted}")
        for name, target in targets.items():
            target[...] = arrays[name]
        restore_tables(self.memory, arrays)
        version = state["version"]
        published = Published.empty(self.task, self._state.search)
        if version:
            ground.snapshots.restore(self._state.arrays["previous"], version - 1)
        self._state.publish(published)
        ground.snapshots.restore(published.vector, version)
        ground.states.save(version, self._state.arrays)
        ground.ledger.restore(arrays["ledger"])

    def gather(self) -> tuple[dict[str, Any], Arrays]:
        """See `Topology`."""
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

    def complete(self, folder: Path) -> None:
        """See `Topology`: there are none."""

    def saved_bytes(self, steps: int) -> int:
        """See `Topology`."""
        return 0

    def beyond_the_end(self) -> dict[str, int]:
        """See `Topology`: `pipelined` has begun the next generation when the last one ends, and how far depends on the workers' timing."""
        tickets = self.ground.tickets
        if self.ground.board.mode().delay is None:
            return {}
        numbers = tickets.done(tickets.slots)
        steps = int(tickets.records["length"][numbers % tickets.slots].sum())
        return {"steps": steps, "episodes": len(numbers) * self.task.options.episodes}

    def parts(self) -> list[int]:
        """See `Topology`: none, workers of a search remember nothing."""
        return []

    def snapshot(self) -> Snapshot:
        """See `Topology`."""
        published = Published.empty(self.task, self._state.search)
        self.ground.snapshots.copy(published.vector)
        normaliser = np.zeros((3, 0 if self.spec is None else self.spec.observation_size), np.float32)
        published.normaliser(normaliser)
        vector, limit = published.search[: self.size].copy(), int(published.limit[0])
        return Snapshot(vector, normaliser, self.steps, limit, copied_tables(self.memory))

    def best(self) -> tuple[float, NDArray[np.float64]] | None:
        """The best of a function that any worker has seen: what is maximised, and the point; None without any."""
        known = [best for best in (Best(self.memory, worker).get() for worker in range(self._experiment.workers)) if best is not None]
        return max(known, key=lambda best: best[0], default=None)

    def ending(self) -> str:
        """Why the search of a function has ended itself; "" where it has not."""
        return ENDINGS[int(self.ground.states.one(self.ground.version, "ended")[0])]


def check_search(experiment: Experiment) -> None:
    """Raise UserError for settings that a search has no use for, or modes in which its algorithm does not work."""
    if experiment.envs_per_worker != 1:
        raise UserError(f"envs_per_worker = {experiment.envs_per_worker} cannot be used with {experiment.algo} (allowed: 1)")
    if experiment.network_function is not None:
        raise UserError(f"network_function cannot be used with {experiment.algo}: its policies are heads of ours (see `asyncrl list`)")
    options, stages = experiment.options, parse_modes(experiment.mode)
    allowed = options.modes or ALGORITHMS[experiment.algo].modes
    name = getattr(options, "kind", experiment.algo)  # of nes: not all kinds work in every mode
    for _, mode in stages:
        if str(mode).partition(":")[0] not in allowed:
            others = ", ".join(name for name in ("es", "tres", "ars") if name in ALGORITHMS)
            raise UserError(
                f"mode {str(mode)!r} cannot be used with {name} (allowed: {', '.join(allowed)}: its update needs a "
                f"whole generation of one version; {others} work in every mode)"
            )
    if options.account == "arrival" and not any(isinstance(mode, Async) for _, mode in stages):
        raise UserError(f"account = arrival cannot be used in mode {experiment.mode!r} (allowed: dispatch; or mode async)")


def check_memory(task: SearchTask, size: int) -> None:
    """Raise UserError for a search of `size` parameters that can't fit in memory, before anything is made; says what takes it.

    Counted are at least: the history (the learner's, its start's, two versions in shared memory), the window of tickets and one
    generation's directions, and vectors of the network.
    """
    options, free = task.options, free_bytes(None)
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
    """What is searched, for an environment."""
    shipped, spec = probed(experiment)
    return _task(experiment, shipped, spec)


def function_task(experiment: Experiment, searched: Searched) -> SearchTask:
    """What is searched, for a function."""
    import cloudpickle

    try:
        shipped = cloudpickle.dumps(searched.function)
    except Exception as error:
        raise UserError(f"the function cannot travel to the workers: {type(error).__name__}: {error}") from error
    return replace(_task(experiment, shipped, None), start=searched.start, space=searched.space, most_tickets=searched.most)


def _task(experiment: Experiment, objective: bytes, spec: EnvSpec | None) -> SearchTask:
    settings = parse_settings(experiment.explore, experiment.options)
    return SearchTask(
        objective=objective,
        spec=spec,
        start=None,
        head=DEFAULT_HEAD if experiment.head == "auto" else experiment.head,
        network=experiment.network,
        algo=experiment.algo,
        options=experiment.options,
        settings=settings,
        workers=experiment.workers,
        target_steps=experiment.steps,
        seed=experiment.seed,
        a_core_each=experiment.workers <= usable_cores(),
    )
