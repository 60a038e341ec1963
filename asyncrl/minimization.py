"""Black-box minimisation of a function of the user's, by the same searches, workers and learner as for policies."""

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
from asyncrl.algos.entries import BlackBox
from asyncrl.errors import UserError, unknown
from asyncrl.experiment import Experiment, usable_cores
from asyncrl.interrupts import Interrupts, interruptible
from asyncrl.launcher import Launcher, Watch
from asyncrl.processes import context, warm_up
from asyncrl.scheduler.modes import parse_mode
from asyncrl.topologies.search import SearchTopology
from asyncrl.topologies.topology import Seat
from asyncrl.validate import RANGES, check_fields, check_number, check_processes

Function = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Minimum:
    """What a minimisation came to."""

    x: NDArray[np.float64]
    """The point that the search has reached, [N]: the mean of what it draws from."""
    value: float
    """The function there; nan where it has no value."""
    best_x: NDArray[np.float64]
    """The best point that was evaluated, [N]. Of a noisy function, a lucky one."""
    best_value: float
    """What the function gave there."""
    evaluations: int
    updates: int
    seconds: float
    """From the first evaluation to the last, without the start of processes."""


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
    **options: Any,
) -> Minimum:
    """Minimise `function` of a vector, from `start` [N], with workers in processes of their own.

        asyncrl.minimize(lambda x: ((x - 1) ** 2).sum(), np.zeros(10), "sep-cma", evaluations=5000, sigma=0.3)

    `function` travels to the workers by cloudpickle. `algo` is one of the black-box searches, `mode` an update mode
    (default: the algorithm's), `workers` one per core by default; `options` are fields of the algorithm's options, of which
    `sigma` should be about a tenth of the distance to go; step sizes are by default in proportion to it, and es has no weight
    decay. `seconds` ends it after the evaluations that are under way. In
    `sync` and `pipelined` the result does not depend on the number of workers. An evaluation costs some tens of
    microseconds on top of the function's own time.

    `episodes` calls of a noisy function are averaged for each point; every call is one of the `evaluations`.

    Points travel as float32. A point without a value may give nan: it is tried again, then left out.

    Raises UserError for what can't be used or a function that raises, WorkerFailed where workers kept dying.
    """
    entry = ALGORITHMS.get(algo) if isinstance(algo, str) else None
    if not isinstance(entry, BlackBox):
        raise unknown("black-box search", algo, [name for name, one in ALGORITHMS.items() if isinstance(one, BlackBox)])
    made = _checked_options(algo, entry.options_type, options)
    count = usable_cores() if workers is None else workers
    for name, number in (("steps", evaluations), ("seed", seed), ("workers", count), ("seconds", 1.0 if seconds is None else seconds)):
        check_number("evaluations" if name == "steps" else name, number, RANGES[name])
    check_processes(count)
    if not callable(function):
        raise UserError(f"function is of type {type(function).__name__}; what is minimised is a function of a vector")
    chosen = entry.default_mode if mode is None else mode
    experiment = Experiment(algo, "", mode=chosen, workers=count, steps=evaluations, seed=seed, explore=explore, options=made)
    check_fields(experiment)
    with Interrupts(numbers=(signal.SIGINT,)) as interrupts:
        return _Minimization(function, _checked_start(start), experiment).run(seconds, interrupts.check)


def _checked_options(algo: str, kind: Any, options: dict[str, Any]) -> Any:
    """The algorithm's options, with the defaults that functions have. Raises UserError."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in kind.of_episodes]
    for name in options:
        if name in kind.of_episodes:
            raise UserError(f"{name} cannot be used with minimize: it is about the episodes of an environment")
        if name not in names:
            raise unknown(f"option of {algo}", name, names)
    made = kind(**options)
    check_fields(made)
    return dataclasses.replace(made, **{name: value for name, value in made.for_functions(made.sigma).items() if name not in options})


def _checked_start(start: ArrayLike) -> NDArray[np.float32]:
    try:
        vector = np.asarray(start, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"start cannot be used: {error} (allowed: one dimension of finite numbers)") from error
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise UserError(f"start of shape {vector.shape} cannot be used (allowed: one dimension of finite numbers)")
    return vector


class _Minimization:
    """One call: builds, drives, tidies up."""

    def __init__(self, function: Function, start: NDArray[np.float32], experiment: Experiment):
        self._function, self._experiment = function, experiment
        self._mode = parse_mode(experiment.mode)
        self._context = context()
        warm_up()
        self._topology = SearchTopology(experiment, (lambda x: -function(x), start))

    def run(self, seconds: float | None, check: Callable[[], None]) -> Minimum:
        topology = self._topology
        watch = Watch(3, math.inf, False, _warn, lambda news: None, self._name_of)  # a function may take as long as it likes
        launcher = Launcher(self._context, topology.ground, topology.estate, self._body_of, watch)
        topology.begin()
        try:
            return self._drive(launcher, seconds, check)
        finally:
            launcher.stop()
            topology.ground.parking.close()
            topology.memory.close()

    def _drive(self, launcher: Launcher, seconds: float | None, check: Callable[[], None]) -> Minimum:
        launcher.start(check)
        launcher.open_gate(self._mode, self._experiment.steps)
        began = time.monotonic()
        while not launcher.all_at_gate():
            check()
            if seconds is not None and time.monotonic() > began + seconds:
                launcher.request_gate()
            launcher.turn(0.1 if seconds is not None else 0.5)
        launcher.close_epoch()
        return self._minimum(launcher, time.monotonic() - began)

    def _name_of(self, worker: int) -> str:
        return f"worker {worker}" if worker < self._experiment.workers else "the learner"

    def _body_of(self, worker: int, generation: int) -> tuple[Any, Any]:
        return self._topology.body_of(Seat(worker, generation, None, None, Path()))

    def _minimum(self, launcher: Launcher, seconds: float) -> Minimum:
        topology = self._topology
        x = topology.snapshot().vector.astype(np.float64)
        value = self._value(x)
        best = topology.best()
        best_x, best_value = (x, value) if best is None or -best[0] > value else (best[1].astype(np.float64), -best[0])
        return Minimum(x, value, best_x, best_value, int(topology.ground.ledger.total("steps")), launcher.updates(), seconds)


    def _value(self, x: NDArray[np.float64]) -> float:
        """The function at the end, which workers may never have asked for there; nan where it has no value."""
        try:
            with interruptible():
                return float(self._function(x.copy()))
        except Exception as error:  # noqa: BLE001 - all that was found would be lost
            _warn(f"the function raised {type(error).__name__} at the point that the search has reached: {error}")
            return math.nan


def _warn(message: str) -> None:
    warnings.warn_explicit(message, UserWarning, "asyncrl.minimize", 0)  # no line of ours would tell the caller anything
