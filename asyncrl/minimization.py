"""Black-box minimisation of a user's function, by the same searches, workers and learner as for policies."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asyncrl.algos import ALGORITHMS
from asyncrl.blackbox.settings import parse_settings
from asyncrl.blackbox.space import function_space
from asyncrl.cluster.topology import search_on
from asyncrl.envs import kept_generators, seed_generators
from asyncrl.errors import UserError, unknown
from asyncrl.experiment.checks import check_engine, check_fields, check_number, check_processes
from asyncrl.experiment.experiment import Experiment, RunOptions, usable_cores
from asyncrl.fields import check_kind, range_of
from asyncrl.launcher import Launcher, Watch
from asyncrl.processes.interrupts import Interrupts, interruptible
from asyncrl.processes.starting import warm_up
from asyncrl.scheduler.modes import parse_mode
from asyncrl.topologies import run_context
from asyncrl.topologies.search.evaluating import cost_of
from asyncrl.topologies.search.topology import Searched
from asyncrl.topologies.topology import Seat

Function = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Minimum:
    """The result of a minimisation."""

    x: NDArray[np.float64]
    """The mean of the search distribution at the end, [N]."""
    value: float
    """The function at `x`; nan if it has no value there."""
    best_x: NDArray[np.float64]
    """The best point that was evaluated, [N]. If the function is noisy, its value was probably better by chance."""
    best_value: float
    """The function's value at `best_x`; nan if no point had a value."""
    evaluations: int
    """Calls of the function, including that at `x`."""
    updates: int
    """Updates of the search."""
    seconds: float
    """From the first evaluation to the last, without the start of processes."""
    stopped: str
    """Why it ended: evaluations, seconds, or with cma-es and sep-cma a criterion of the library `cma`, such as tolx (converged) or
    tolfacupx (the steps diverge, for example since there is no minimum)."""


def minimize(
    function: Function,
    start: ArrayLike,
    algo: str = "cma-es",
    evaluations: int = 10_000,
    workers: int | None = None,
    mode: str | None = None,
    seed: int = 0,
    seconds: float | None = None,
    explore: str = "",
    bounds: Any = None,
    engine: str = "local",
    address: str = "",
    sites: int | None = None,
    site_workers: int | None = None,
    **options: Any,
) -> Minimum:
    """Minimise `function` of a vector [N], beginning at `start` [N], with workers in processes of their own.

        asyncrl.minimize(lambda x: ((x - 1) ** 2).sum(), np.zeros(10), "sep-cma", evaluations=5000, sigma=0.3)

    `function` is sent to the workers by cloudpickle. `algo` is one of the black-box searches, `mode` an update mode (default: the
    algorithm's), `workers` one per core by default; a second one pays from a function of some 500 microseconds on. `options` are fields
    of the algorithm's options. `sigma` should be about a tenth of the distance to the minimum. By default step sizes are in proportion
    to it (or to the first one of `explore="sigma:..."`), and es has no weight decay. In `sync` and `pipelined` the result does not
    depend on the number of workers.

    At most `evaluations` calls of the function are made, in any mode and with any number of workers (calls that a killed worker has
    begun are repeated and not counted). The last one is at the mean that the search has reached; those left after the last complete
    generation are made as well. `episodes` calls of a noisy function are averaged for each point; every call is one of
    the `evaluations`. After `seconds` it ends with the evaluations that have begun; cma-es and sep-cma also end by criteria of their
    library (`Minimum.stopped`).

    `bounds` are (low, high), each a number or one for each parameter; -inf and inf stand for none. The function is never called outside
    of them, and `start` must be inside. cma-es and sep-cma use their library's smooth map into the box; for the others the function is
    continued beyond the box by reflection.

    `engine="ray"` has other machines evaluate points as well, at `address`, on at most so many nodes (`sites`), with so many processes
    each (`site_workers`), as in `RunOptions`: see docs/cluster.md.

    Tensors in shared memory that the function captures are shared with the workers, as in `asyncrl.train`.

    Points are float64. The function may return nan, or another value that is not finite, for a point without a value: such points rank
    below all others.

    Raises UserError for input that cannot be used and for a function that raises, WorkerFailed if workers kept dying.
    """
    entry = ALGORITHMS.get(algo) if isinstance(algo, str) else None
    if entry is None or not entry.searches:
        raise unknown("black-box search", algo, [name for name, one in ALGORITHMS.items() if one.searches])
    made = _checked_options(algo, entry.options_type, options, explore)
    count = usable_cores() if workers is None else workers
    for name, number in (("steps", evaluations), ("seed", seed), ("workers", count), ("seconds", 1.0 if seconds is None else seconds)):
        allowed = range_of(Experiment, name)
        assert allowed is not None
        check_number("evaluations" if name == "steps" else name, number, allowed)
    if evaluations < made.episodes:
        raise UserError(f"evaluations = {evaluations} is less than episodes = {made.episodes}: not even one point could be evaluated")
    check_processes(count)
    if not callable(function):
        raise UserError(f"function is of type {type(function).__name__}; what is minimised is a function of a vector")
    chosen = entry.default_mode if mode is None else mode
    run = RunOptions(engine=engine, address=address, sites=sites, site_workers=site_workers)  # type: ignore[arg-type]
    experiment = Experiment(algo, "", mode=chosen, workers=count, steps=evaluations, seed=seed, explore=explore, options=made, run=run)
    for part in (experiment, run):
        check_fields(part)
    check_engine(experiment)
    begin = _checked_start(start)
    searched = Searched(function, begin, function_space(bounds, begin), evaluations // made.episodes - 1)
    with Interrupts(numbers=(signal.SIGINT,)) as interrupts:
        return _Minimization(searched, experiment).run(seconds, interrupts.check)


def _checked_options(algo: str, kind: Any, options: dict[str, Any], explore: str) -> Any:
    """The algorithm's options, with the defaults for functions. Raises UserError."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in kind.of_episodes]
    for name in options:
        if name in kind.of_episodes:
            raise UserError(f"{name} cannot be used with minimize: it is about the episodes of an environment")
        if name not in names:
            raise unknown(f"option of {algo}", name, names)
    made = kind(**options)
    check_fields(made)
    check_kind("explore", explore, str, "")
    sigma = parse_settings(explore, made)[0].sigma
    return dataclasses.replace(made, **{name: value for name, value in made.for_functions(sigma).items() if name not in options})


def _checked_start(start: ArrayLike) -> NDArray[np.float64]:
    try:
        vector = np.array(start, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"start cannot be used: {error} (allowed: one dimension of finite numbers)") from error
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise UserError(f"start of shape {vector.shape} cannot be used (allowed: one dimension of finite numbers)")
    return vector


class _Minimization:
    """One call of `minimize`: builds the parts, drives the launcher, and ends all processes."""

    def __init__(self, searched: Searched, experiment: Experiment):
        self._searched, self._experiment = searched, experiment
        self._mode = parse_mode(experiment.mode)
        self._context = run_context()
        warm_up()
        self._topology = search_on(experiment, self._context, searched)

    def run(self, seconds: float | None, check: Callable[[], None]) -> Minimum:
        topology = self._topology
        watch = Watch(3, math.inf, False, _warn, lambda news: None, self._name_of)  # a function may take as long as it likes
        launcher = Launcher(self._context, topology.ground, topology.estate, self._body_of, watch)
        topology.begin()
        try:
            return self._drive(launcher, seconds, check)
        finally:
            launcher.stop()
            topology.close()

    def _drive(self, launcher: Launcher, seconds: float | None, check: Callable[[], None]) -> Minimum:
        launcher.start(check)
        launcher.open_gate(self._mode, self._experiment.steps)
        began, stopped = time.monotonic(), "evaluations"
        while not launcher.all_at_gate():
            check()
            if seconds is not None and time.monotonic() > began + seconds:
                launcher.request_gate()
                stopped = "seconds"
            launcher.turn(0.1 if seconds is not None else 0.5)
        launcher.close_epoch()
        return self._minimum(launcher, time.monotonic() - began, self._topology.ending() or stopped)

    def _name_of(self, worker: int) -> str:
        return self._topology.name_of(worker)

    def _body_of(self, worker: int, generation: int) -> tuple[Any, Any]:
        return self._topology.body_of(Seat(worker, generation, None, None, Path()))

    def _minimum(self, launcher: Launcher, seconds: float, stopped: str) -> Minimum:
        topology, calls = self._topology, self._experiment.options.episodes
        x = self._searched.space.inside(topology.snapshot().vector)
        value = self._value(x, calls)
        best = topology.best()
        best_x, best_value = (x.copy(), value) if best is None or -best[0] > value else (best[1], -best[0])
        evaluations = int(topology.ground.ledger.total("steps")) + calls
        return Minimum(x, value, best_x, best_value, evaluations, launcher.updates(), seconds, stopped)

    def _value(self, x: NDArray[np.float64], calls: int) -> float:
        """The function at x [N], the end of the search, where workers may not have evaluated it; nan if it has no value."""
        try:
            with interruptible(), kept_generators():
                seed_generators(self._experiment.seed)
                return cost_of(self._searched.function, x, calls)
        except Exception as error:  # noqa: BLE001 - an exception here must not lose the result
            _warn(f"the function raised {type(error).__name__} at the point that the search has reached: {error}")
            return math.nan


def _warn(message: str) -> None:
    warnings.warn_explicit(message, UserWarning, "asyncrl.minimize", 0)  # a line of this package would not help the user
