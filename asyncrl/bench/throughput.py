"""Steps per second of the simulator alone (the limit), and of real runs as a share of it, measured in one invocation."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from asyncrl.algos import ALGORITHMS
from asyncrl.bench.engine import engine_rate
from asyncrl.bench.processes import rate_of_processes
from asyncrl.envs import make_env, ship, unship
from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.experiment.checks import check_experiment
from asyncrl.experiment.experiment import Experiment, RunOptions, usable_cores
from asyncrl.fields import Simulator
from asyncrl.processes.parcels import Parcel
from asyncrl.session.session import Session
from asyncrl.topologies import topology_of

SWEPT = ("a3c:async", "a3c:bounded:2", "a3c:pipelined", "a3c:sync")
ROWS = (
    *SWEPT,
    *("impala:async", "impala:sync", "td3:async", "sac:async", "q1:async", "sarsa:async", "nq:async"),
    *("es:async", "es:sync", "tres:async", "tres:sync"),
)
"""The rows that are measured by default, algorithm:mode, if they fit the environment: those of SWEPT with each t_max, the others
with their default."""

ENDLESS = 10**12
"""Steps of a run that is to be ended by its seconds."""

ACTIONS = 1024
"""How many random actions are drawn before the measurement; they are used in turn."""

CHUNK = 32
"""Steps between readings of the clock."""

Progress = Callable[[str], Any]


def bench_throughput(
    env: EnvSource,
    workers: int | None = None,
    seconds: float = 5.0,
    only: Sequence[str] | None = None,
    t_max: Sequence[int] = (5, 20),
    simulator: Simulator = "auto",
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Measure the limit, every algorithm and mode with every t_max, and the limit again.

    The limit is the steps per second of as many processes as there are workers, without a policy: each steps its own
    environment (made as workers make it) with random actions drawn beforehand, and resets it at the end of episodes. It is
    the mean of a measurement before the runs and one after, since a machine's speed drifts. Runs are complete ones in a
    temporary folder; their steps per second are those of summary.json, from the first step to the last.

    Args:
        env: an id of gymnasium's, or a function that makes an environment.
        workers: processes; None for one per core.
        seconds: of each measurement.
        only: ``algorithm:mode`` pairs; None for those of ROWS that fit the environment.
        t_max: steps of each environment in a round (or in a unit of streams), for algorithms with that option; without `only` for
            SWEPT only. Warm-ups take one batch.
        simulator: what steps the rows' environments, as in `RunOptions`; the limit is gymnasium's.
        progress: called with a line of text before each measurement.

    Returns:
        {"env", "workers", "seconds", "limit_steps_per_second", "limit_before", "limit_after", "rows": [{"algo", "mode",
        "head", "simulator", "t_max", "workers", "steps_per_second", "share_of_limit", "share_of_engine"}]}, all rates in steps a second.
        The engine: the compiled simulator alone on the actions of the row's policy, measured right after the row; None without one.
    """
    count = usable_cores() if workers is None else workers
    if not t_max:
        raise UserError("t_max needs at least one number (allowed: whole numbers from 1)")
    if only is None:
        rollouts: dict[str, Sequence[int]] = {pair: t_max if pair in SWEPT else () for pair in ROWS}
    else:
        rollouts = dict.fromkeys(only, t_max)
    experiments = [one for pair, steps in rollouts.items() for one in _experiments(env, count, seconds, pair, steps, simulator)]
    experiments = _usable(experiments, only is not None, progress)
    progress(f"limit: {count} processes, no policy")
    before = measure_limit(env, count, seconds)
    rows = []
    for experiment in experiments:
        rollout = getattr(experiment.options, "t_max", None)
        progress(f"{experiment.algo}, {experiment.mode}" + (f", t_max {rollout}" if rollout else ""))
        rows.append(_measure(experiment))
    progress("limit again")
    after = measure_limit(env, count, seconds)
    limit = (before + after) / 2
    return {
        "env": env if isinstance(env, str) else getattr(env, "__qualname__", type(env).__name__),
        "workers": count,
        "seconds": seconds,
        "limit_steps_per_second": limit,
        "limit_before": before,
        "limit_after": after,
        "rows": [{**row, "share_of_limit": row["steps_per_second"] / limit} for row in rows],
    }


def print_throughput(result: dict[str, Any], console: Console | None = None) -> None:
    """Print a table with a line per algorithm, mode and t_max, and its share of the limit."""
    before, after = result["limit_before"], result["limit_after"]
    noisy = "; they differ by more than a tenth: measure again when the machine is quiet" if abs(before - after) > 0.1 * before else ""
    table = Table(
        title=f"{result['env']}, {result['workers']} workers, {result['seconds']:g} s a row",
        caption=f"limit: {before:,.0f} before, {after:,.0f} after, taken as {result['limit_steps_per_second']:,.0f}{noisy}",
    )
    for heading in ("algorithm", "mode", "head"):
        table.add_column(heading)
    for heading in ("t_max", "steps/s", "share of limit", "share of engine"):
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        engine = "-" if row["share_of_engine"] is None else f"{row['share_of_engine']:.2f}"
        figures = str(row["t_max"] or "-"), f"{row['steps_per_second']:,.0f}", f"{row['share_of_limit']:.2f}", engine
        table.add_row(row["algo"], row["mode"], row["head"], *figures)
    (console or Console()).print(table)


def measure_limit(env: EnvSource, workers: int, seconds: float) -> float:
    """Steps per second of `workers` processes that only step the environment, at the same time."""
    return rate_of_processes(step_randomly, ship(env), workers, seconds)


def step_randomly(env: Parcel, rank: int, seconds: float, ready: Callable[[], None]) -> float:
    """Steps per second of one process with random actions; see `asyncrl.bench.processes.Work`."""
    environment = make_env(unship(env))
    environment.action_space.seed(rank)
    actions = [environment.action_space.sample() for _ in range(ACTIONS)]
    environment.reset(seed=rank)
    ready()
    return _step(environment, actions, seconds)


def _step(environment: Any, actions: list[Any], seconds: float) -> float:
    """Steps per second."""
    step, reset = environment.step, environment.reset
    began = now = time.perf_counter()
    steps = 0
    while now - began < seconds:
        for i in range(steps, steps + CHUNK):
            _, _, terminated, truncated, _ = step(actions[i % ACTIONS])
            if terminated or truncated:
                reset()
        steps += CHUNK
        now = time.perf_counter()
    return steps / (now - began)


def _experiments(env: EnvSource, workers: int, seconds: float, pair: str, t_max: Sequence[int], simulator: Simulator) -> list[Experiment]:
    """One experiment for each t_max; a single one with the default if none is given or the algorithm has no such option."""
    algo, _, mode = pair.partition(":")
    kind = ALGORITHMS[algo].options_type
    with_rollouts = any(field.name == "t_max" for field in dataclasses.fields(kind))
    several = [kind(t_max=steps) for steps in t_max] if with_rollouts and t_max else [kind()]
    # Algorithms with a replay learn from the first batch on, since the usual warm-up would take the whole measurement.
    several = [dataclasses.replace(one, warm_up=one.batch) if hasattr(one, "warm_up") else one for one in several]
    run = RunOptions(quiet=True, evaluation_episodes=0, simulator=simulator)
    return [
        Experiment(algo, env, mode=mode, workers=workers, steps=ENDLESS, seconds=seconds, options=options, run=run) for options in several
    ]


def _usable(experiments: list[Experiment], chosen: bool, progress: Progress) -> list[Experiment]:
    """The experiments that fit the environment, checked before anything is measured.

    Raises UserError for the first that does not fit if the rows were chosen by the user, or if none fits.
    """
    usable, refusals = [], []
    for experiment in experiments:
        try:
            _check(experiment)
        except UserError as error:
            refusals.append(error)
            if chosen:
                raise
            continue
        usable.append(experiment)
    if not usable:
        raise refusals[0]
    for refusal in refusals:
        progress(f"left out: {refusal}")
    return usable


def _check(experiment: Experiment) -> None:
    """Raise UserError if a session would refuse the experiment, without starting anything."""
    check_experiment(experiment, new=False)
    topology = topology_of(experiment)
    topology.close()


def _measure(experiment: Experiment) -> dict[str, Any]:
    """Run an experiment and return its row, without the share of the limit; of the engine: see `asyncrl.bench.engine`."""
    with tempfile.TemporaryDirectory(prefix="asyncrl-bench-") as folder:
        run = dataclasses.replace(experiment.run, runs=folder)
        result = Session(dataclasses.replace(experiment, run=run)).run()
        simulated = result.summary["simulator"] == "compiled" and result.status == "completed"
        engine = engine_rate(result.folder, experiment.environment, experiment.workers, experiment.seconds or 1.0) if simulated else None
    if result.status == "interrupted":
        raise KeyboardInterrupt
    summary = result.summary
    return {
        "algo": experiment.algo,
        "mode": experiment.mode,
        "head": summary["head"],
        "simulator": summary["simulator"],
        "t_max": getattr(experiment.options, "t_max", None),
        "workers": experiment.workers,
        "steps_per_second": summary["steps_per_second"],
        "share_of_engine": None if engine is None else summary["steps_per_second"] / engine,
    }
