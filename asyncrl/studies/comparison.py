"""The figures of a study: for every task and variant what its runs earned, how fast, on how old parameters, and beside the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.studies.results import RunResult, baseline_of
from asyncrl.studies.statistics import Interval, interval, interval_of_mean, probability_of_improvement
from asyncrl.studies.study import Study

Values = NDArray[np.float64]
PROGRESS = 0.9
"""Where a study names no threshold: this share of the way from the first returns of the baseline's runs to their last."""


@dataclass(frozen=True)
class Estimate:
    """A mean over runs, with its interval where there are two of them at least."""

    mean: float
    interval: Interval | None

    @classmethod
    def of(cls, values: Sequence[float] | Values) -> Estimate | None:
        """Of the runs' values [R]; None where there are none."""
        known = np.array([value for value in values if value is not None], float)
        if not len(known):
            return None
        return cls(float(known.mean()), interval_of_mean(known) if len(known) > 1 else None)


@dataclass(frozen=True)
class Reach:
    """How soon runs reached a threshold. A run that did not is counted as later than all that did."""

    median: float | None
    """None: less than half of them reached it."""
    reached: int
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Reach:
        """Of steps or seconds, infinite where a run did not reach it."""
        middle = float(np.median(values))
        return cls(middle if np.isfinite(middle) else None, int(np.isfinite(values).sum()), len(values))


@dataclass(frozen=True)
class Row:
    """A variant of a task."""

    variant: str
    runs: list[RunResult]
    seeds: int
    final: Estimate
    """The last return: of the last 100 training episodes, or the last evaluation, as the study says."""
    evaluation: Estimate | None
    """Greedy evaluation after the training."""
    at_equal_seconds: Estimate
    """Return when the fastest run of the task had ended."""
    steps_to: Reach
    seconds_to: Reach
    steps_per_second: Estimate
    improvement: tuple[float, Interval | None] | None
    """Probability that a run has a higher final return than one of the baseline; None for the baseline itself."""
    statistical: float | None
    """Statistical efficiency: the baseline's steps to the threshold, divided by this variant's."""
    hardware: float | None
    """Hardware efficiency: this variant's steps a second, divided by the baseline's."""
    lag: dict[str, float | None]
    """Mean over runs of ``mean``, ``p95`` and the greatest ``max``."""
    age: dict[str, float]
    """Means over runs of what the age of parameters did, see `RunResult.age`; empty where nothing is known of it."""
    time_share: dict[str, float]
    slowest_worker: float | None
    """Steps of the worker that made fewest, as a share of the mean worker's."""
    over_seeds: float | None
    """Deviation of final returns over seeds (of their means over repeats)."""
    over_repeats: float | None
    """Deviation over repeats of one seed, root of its mean square over seeds; None without repeats."""

    @property
    def speed_up(self) -> float | None:
        """Statistical times hardware efficiency: how much sooner by the clock the threshold is reached."""
        return None if self.statistical is None or self.hardware is None else self.statistical * self.hardware


@dataclass(frozen=True)
class Task:
    """The variants of one task side by side."""

    name: str
    threshold: float
    given: bool
    """Whether the study named the threshold."""
    baseline: str | None
    seconds: float
    """How long the fastest run took: the equal seconds."""
    rows: list[Row]


def tasks_of(study: Study, results: Sequence[RunResult]) -> list[Task]:
    """The study's tasks, in the order of its runs."""
    names = dict.fromkeys(result.task for result in results)
    return [_task(study, name, [result for result in results if result.task == name]) for name in names]


def _task(study: Study, name: str, results: list[RunResult]) -> Task:
    baseline = baseline_of(study, results)
    variants = {variant: [one for one in results if one.variant == variant] for variant in dict.fromkeys(r.variant for r in results)}
    base = variants.get(baseline or "", [])
    env = str(results[0].trial.settings["env"])
    threshold = study.threshold.get(env, _threshold(base or results))
    seconds = min(float(result.curve["seconds"][-1]) for result in results)
    rows = [_row(variant, runs, base, threshold, seconds) for variant, runs in variants.items()]
    return Task(name, threshold, env in study.threshold, baseline, seconds, rows)


def _threshold(runs: Sequence[RunResult]) -> float:
    first, last = (float(np.mean([run.curve["returns"][end] for run in runs])) for end in (0, -1))
    return first + PROGRESS * (last - first)


def _row(variant: str, runs: list[RunResult], base: list[RunResult], threshold: float, seconds: float) -> Row:
    finals = np.array([run.final for run in runs])
    final, rate = Estimate.of(finals), Estimate.of([run.rate for run in runs])
    at_once = Estimate.of([float(run.returns_at("seconds", np.array([seconds]))[0]) for run in runs])
    assert final is not None and rate is not None and at_once is not None
    reach = Reach.of([run.reached(threshold, "steps") for run in runs])
    is_base = base is runs
    others = [np.array([run.final for run in base])]
    own = Reach.of([run.reached(threshold, "steps") for run in base]) if base else None
    base_rate = Estimate.of([run.rate for run in base])
    return Row(
        variant=variant,
        runs=runs,
        seeds=len({run.trial.seed for run in runs}),
        final=final,
        evaluation=Estimate.of([run.summary.get("evaluation_return") for run in runs]),  # type: ignore[misc]
        at_equal_seconds=at_once,
        steps_to=reach,
        seconds_to=Reach.of([run.reached(threshold, "seconds") for run in runs]),
        steps_per_second=rate,
        improvement=None if is_base or not base else _improvement([finals], others),
        statistical=own.median / reach.median if own is not None and own.median and reach.median else None,
        hardware=rate.mean / base_rate.mean if base_rate is not None else None,
        lag=_lag(runs),
        age=_age(runs),
        time_share=_shares(runs),
        slowest_worker=_slowest(runs),
        **_deviations(runs),
    )


def _improvement(own: list[Values], others: list[Values]) -> tuple[float, Interval | None]:
    several = min(len(own[0]), len(others[0])) > 1
    return probability_of_improvement(own, others), interval(probability_of_improvement, own, others) if several else None


def _lag(runs: Sequence[RunResult]) -> dict[str, float | None]:
    told = {name: [run.summary["lag"][name] for run in runs if run.summary["lag"][name] is not None] for name in ("mean", "p95", "max")}
    return {name: (max(values) if name == "max" else float(np.mean(values))) if values else None for name, values in told.items()}


def _age(runs: Sequence[RunResult]) -> dict[str, float]:
    told = {name: [run.age[name] for run in runs if name in run.age] for run in runs for name in run.age}
    return {name: float(np.mean(values)) for name, values in told.items()}


def _shares(runs: Sequence[RunResult]) -> dict[str, float]:
    names = dict.fromkeys(name for run in runs for name in run.summary["time_share"])
    return {name: float(np.mean([run.summary["time_share"].get(name, 0.0) for run in runs])) for name in names}


def _slowest(runs: Sequence[RunResult]) -> float | None:
    steps = [run.summary.get("steps_by_worker") for run in runs]
    shares = [min(each) / (sum(each) / len(each)) for each in steps if each and sum(each)]
    return float(np.mean(shares)) if shares else None


def _deviations(runs: Sequence[RunResult]) -> dict[str, Any]:
    """Of final returns, over seeds and over repeats of a seed."""
    by_seed = [[run.final for run in runs if run.trial.seed == seed] for seed in dict.fromkeys(run.trial.seed for run in runs)]
    repeated = [np.var(finals, ddof=1) for finals in by_seed if len(finals) > 1]
    over_seeds = float(np.std([np.mean(finals) for finals in by_seed], ddof=1)) if len(by_seed) > 1 else None
    return {"over_seeds": over_seeds, "over_repeats": float(np.sqrt(np.mean(repeated))) if repeated else None}


def normalised(tasks: Sequence[Task]) -> dict[str, list[Values]]:
    """Variant -> of each task its runs' final returns, where 0 is the lowest and 1 the highest of all runs of that task.

    Only variants that every task has.
    """
    shared = [row.variant for row in tasks[0].rows if all(any(other.variant == row.variant for other in task.rows) for task in tasks)]
    found: dict[str, list[Values]] = {variant: [] for variant in shared}
    for task in tasks:
        together = np.array([run.final for row in task.rows for run in row.runs])
        low, width = together.min(), max(float(np.ptp(together)), 1e-12)
        for row in task.rows:
            if row.variant in found:
                found[row.variant].append((np.array([run.final for run in row.runs]) - low) / width)
    return found
