"""A study's figures in words: the cells of its tables, in the terminal, the report and results.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from asyncrl.studies.comparison import Estimate, Reach, Row, Task
from asyncrl.studies.forecast import duration
from asyncrl.studies.results import RunResult

HEADINGS = {
    "variant": "",
    "runs": "runs",
    "final": "final return",
    "evaluation": "greedy evaluation",
    "equal": "at equal seconds",
    "steps_to": "steps to threshold",
    "seconds_to": "seconds to threshold",
    "rate": "steps a second",
    "statistical": "statistical efficiency",
    "hardware": "hardware efficiency",
    "speed_up": "speed-up",
    "improvement": "probability of improvement",
    "lag": "lag: mean / 95 % / largest",
    "slowest": "slowest worker",
    "seeds": "deviation over seeds / repeats",
}
"""Column -> its heading."""

AGES = {
    "gradient_cosine": "cosine of late and fresh gradient",
    "parameter_drift": "drift of parameters",
    "lag_in_flight_mean": "lag in flight, mean",
    "lag_in_flight_p95": "95 %",
    "lag_in_queue_mean": "lag in queue, mean",
    "lag_in_queue_p95": "95 %",
    "effective_samples": "effective samples",
    "kl_acting": "divergence KL(acted, learned)",
    "kl_learning": "KL(learned, acted)",
}
"""What the age of parameters did -> its heading in the report's second table."""


def short(number: float | None) -> str:
    """A number with four digits at most; a dash for none."""
    if number is None:
        return "–"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}" if abs(number) >= 100 else f"{number:.3g}"


def estimated(estimate: Estimate | None) -> str:
    """``mean (low to high)``; the mean alone of one run."""
    if estimate is None:
        return "–"
    if estimate.interval is None:
        return short(estimate.mean)
    low, high = estimate.interval
    return f"{short(estimate.mean)} ({short(low)} to {short(high)})"


def reached(reach: Reach, unit: str = "") -> str:
    """The median, and how many reached it where not all did."""
    all_did = "" if reach.reached == reach.runs else f" ({reach.reached} of {reach.runs} runs)"
    said = "not reached" if reach.median is None else _seconds(reach.median) if unit == "seconds" else short(reach.median)
    return said + all_did


def _seconds(seconds: float) -> str:
    """Below a minute with three digits: an easy problem takes less than a second."""
    return f"{short(seconds)} s" if seconds < 60.0 else duration(seconds)


def cells(row: Row, task: Task) -> dict[str, str]:
    """Column -> what is said of a variant."""
    is_base = row.variant == task.baseline
    chance = "baseline" if is_base else "–"
    if row.improvement is not None:
        value, around = row.improvement
        chance = f"{value:.2f}" + ("" if around is None else f" ({around[0]:.2f} to {around[1]:.2f})")
    repeats = "" if row.over_repeats is None else f" / {short(row.over_repeats)}"
    return {
        "variant": row.variant,
        "runs": f"{len(row.runs)}" + (f" ({row.seeds} seeds)" if row.seeds != len(row.runs) else ""),
        "final": estimated(row.final),
        "evaluation": estimated(row.evaluation),
        "equal": estimated(row.at_equal_seconds),
        "steps_to": reached(row.steps_to),
        "seconds_to": reached(row.seconds_to, "seconds"),
        "rate": estimated(row.steps_per_second),
        "statistical": short(row.statistical),
        "hardware": short(row.hardware),
        "speed_up": short(row.speed_up),
        "improvement": chance,
        "lag": " / ".join(short(row.lag[name]) for name in ("mean", "p95", "max")),
        "slowest": "–" if row.slowest_worker is None else f"{100 * row.slowest_worker:.0f} %",
        "seeds": short(row.over_seeds) + repeats,
    }


def age_columns(task: Task) -> list[str]:
    """The columns of the second table: what is known of any variant."""
    return [name for name in AGES if any(name in row.age for row in task.rows)]


OF_A_RUN = ("status", "mode", "workers", "steps", "seconds", "steps_per_second", "updates", "episodes", "return_mean_last_100")
MORE_OF_A_RUN = ("return_best_mean_100", "evaluation_return", "startup_seconds", "restarts", "peak_rss_mb")
REACHED = ("threshold", "steps_to_threshold", "seconds_to_threshold", "updates_to_threshold")


def write_csv(path: Path, results: Sequence[RunResult], tasks: Sequence[Task]) -> None:
    """results.csv: a line for each run that is done. What a run never reached is left empty."""
    thresholds = {task.name: task.threshold for task in tasks}
    axes = list(dict.fromkeys(axis for result in results for axis in result.trial.labels))
    own = [axis for axis in axes if axis not in OF_A_RUN]
    ages = [name for name in AGES if any(name in result.age for result in results)]
    names = [*own, "task", "variant", "seed", "repeat", *OF_A_RUN, *MORE_OF_A_RUN, "lag_mean", "lag_p95", "lag_max", *REACHED, *ages]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for result in results:
            trial, summary = result.trial, result.summary
            told = {name: summary.get(name) for name in (*OF_A_RUN, *MORE_OF_A_RUN)}
            lag = {f"lag_{name}": summary["lag"][name] for name in ("mean", "p95", "max")}
            labels = {axis: trial.labels.get(axis) for axis in own}
            where = {"task": result.task, "variant": result.variant, "seed": trial.seed, "repeat": trial.repeat}
            reached = {name: result.reached(thresholds[result.task], name.partition("_")[0]) for name in REACHED[1:]}
            told |= {"threshold": thresholds[result.task], **{name: value for name, value in reached.items() if value < math.inf}}
            writer.writerow({**labels, **where, **told, **lag, **{name: result.age.get(name) for name in ages}})
