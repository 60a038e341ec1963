"""Means, intervals and comparisons over runs, as Agarwal et al. (2021, arXiv 2108.13264) recommend them where runs are few.

A task's scores are those of its runs, [R]; of several tasks each has its own number of runs. Intervals are of stratified bootstrap:
runs are drawn anew within each task. With one run of a task they have no width, and say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = Sequence[NDArray[np.float64]]
"""Of each task the scores of its runs [R]."""
Interval = tuple[float, float]

DRAWS = 5_000
LEVEL = 95.0
"""Percent of the draws that an interval holds."""


def mean(scores: Scores) -> float:
    """Mean over tasks of the mean over runs."""
    return float(np.mean([np.mean(task) for task in scores]))


def interquartile_mean(scores: Scores) -> float:
    """Mean of the middle half of all runs of all tasks together (IQM): a quarter of them is cut off at either end, rounded down."""
    together = np.sort(np.concatenate(scores))
    cut = int(0.25 * len(together))
    return float(np.mean(together[cut : len(together) - cut]))


def probability_of_improvement(scores: Scores, others: Scores) -> float:
    """How likely a run is better than one of the others, on a task drawn at random; equal ones count half (Mann and Whitney's U)."""
    return float(np.mean([_share_above(one, other) for one, other in zip(scores, others, strict=True)]))


def _share_above(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    difference = one[:, None] - other
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def profile(scores: Scores, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of runs, each task counting alike, whose score is above each of `levels` [L]: a performance profile [L]."""
    return np.asarray(np.mean([(task[:, None] > levels).mean(0) for task in scores], axis=0))


def interval(statistic: Callable[..., float], *groups: Scores, draws: int = DRAWS, seed: int = 0) -> Interval:
    """(low, high) of a statistic of one or several groups of scores, each drawn by itself."""
    generator = np.random.default_rng(seed)
    values = [statistic(*([_drawn(task, generator) for task in scores] for scores in groups)) for _ in range(draws)]
    low, high = np.percentile(values, (50 - LEVEL / 2, 50 + LEVEL / 2))
    return float(low), float(high)


def interval_of_mean(values: NDArray[np.float64], draws: int = DRAWS, seed: int = 0) -> Interval:
    """The same for the mean of one task's runs [R], quickly."""
    means = band(np.asarray(values, float)[:, None], draws, seed)
    return float(means[0][0]), float(means[1][0])


def band(curves: NDArray[np.float64], draws: int = DRAWS, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low [G], high [G]) of the mean of curves [R, G], point by point; whole curves are drawn."""
    chosen = np.random.default_rng(seed).integers(len(curves), size=(draws, len(curves)))
    shares = np.stack([(chosen == run).mean(1) for run in range(len(curves))], axis=1)
    low, high = np.percentile(shares @ curves, (50 - LEVEL / 2, 50 + LEVEL / 2), axis=0)
    return low, high


def _drawn(task: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    return task[generator.integers(len(task), size=len(task))]
