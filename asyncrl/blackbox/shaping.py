"""Shaping: how values (returns of evaluations) are transformed before they weight directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import unknown

Values = NDArray[np.float64]

SHRINKAGE = 4.0  # in the baseline of a version the mean over all versions has the weight of so many evaluations


def shape(values: Values, kind: str) -> Values:
    """The shaped values [n], float64. NaN (not evaluated) remains NaN and does not affect the others.

    kind: one of SHAPINGS; UserError for any other. Values that are all equal become zeros, except with `none`, which leaves
    them as they are.
    """
    if kind not in SHAPINGS:
        raise unknown("shaping", kind, SHAPINGS)
    shaped = np.array(values, np.float64)
    there = ~np.isnan(shaped)
    shaped[there] = SHAPINGS[kind](shaped[there])
    return shaped


def flat(values: Values) -> bool:
    """Whether values [n] carry no information about the directions: all are equal, or fewer than two are not NaN."""
    there = values[~np.isnan(values)]
    return len(there) < 2 or bool(there.min() == there.max())


def with_worst(values: Values) -> Values:
    """values [n] with finite numbers in place of -inf (no value), as far below the worst of the others as that is below the best.

    So they have the lowest rank, and differences to them are of the size of other differences. At least one must be finite.
    """
    missing = np.isneginf(values)
    if not missing.any():
        return values
    best, worst = values[~missing].max(), values[~missing].min()
    return np.where(missing, worst - ((best - worst) or abs(worst) or 1.0), values)


def centered_ranks(values: Values) -> Values:
    """Ranks [n] of values [n], evenly spaced from -0.5 to 0.5, with sum 0; equal values get the mean of their ranks.

    Source: Salimans et al. 2017. Their code breaks ties by position, which biases the estimate on a plateau
    (V+ - V- = -1/(2n - 1) in each of n pairs).
    """
    if flat(values):
        return np.zeros_like(values)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    shaped: Values = ranks[place] / (len(values) - 1) - 0.5
    return shaped


def standardized(values: Values) -> Values:
    """values [n] scaled to mean 0 and (population) standard deviation 1; with an infinite one all become NaN."""
    if flat(values):
        return np.zeros_like(values)
    with np.errstate(invalid="ignore"):
        centred = values - values.mean()
        centred /= np.abs(centred).max()  # otherwise squares of tiny differences would underflow
        shaped: Values = centred / np.sqrt(np.mean(centred**2))
    return shaped


def unshaped(values: Values) -> Values:
    """values [n], unchanged."""
    return values


SHAPINGS: dict[str, Callable[[Values], Values]] = {
    "centered-ranks": centered_ranks,
    "standardized": standardized,
    "none": unshaped,
}
"""Name -> function from values [n] without NaN to shaped values [n]."""


def less_baseline(values: Values, cohort: NDArray[np.int64]) -> Values:
    """values [n] minus the mean of their cohort [n], which is shrunk towards the mean of all for small cohorts.

    A cohort is the evaluations of one version. Differences between versions carry no information about directions: without
    this baseline they are noise in estimates that are not antithetic. With one cohort the values are unchanged.
    """
    cohorts, index, counts = np.unique(cohort, return_inverse=True, return_counts=True)
    if len(cohorts) < 2:
        return values
    sums = np.bincount(index, values, len(cohorts))
    baseline = (sums + SHRINKAGE * values.mean()) / (counts + SHRINKAGE)
    less: Values = values - baseline[index]
    return less
