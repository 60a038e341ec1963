"""Shaping: how returns are transformed before they weight directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import unknown

Values = NDArray[np.float64]


def shape(returns: Values, kind: str) -> Values:
    """The shaped returns [n], float64. NaN (not evaluated) remains NaN and does not affect the others.

    kind: one of SHAPINGS; UserError for any other. Returns that are all equal become zeros, except with `none`, which leaves
    them as they are.
    """
    if kind not in SHAPINGS:
        raise unknown("shaping", kind, SHAPINGS)
    shaped = np.array(returns, np.float64)
    there = ~np.isnan(shaped)
    shaped[there] = SHAPINGS[kind](shaped[there])
    return shaped


def flat(returns: Values) -> bool:
    """Whether returns [n] carry no information about the directions: all are equal, or fewer than two are not NaN."""
    there = returns[~np.isnan(returns)]
    return len(there) < 2 or bool(there.min() == there.max())


def with_worst(returns: Values) -> Values:
    """returns [n] with finite numbers in place of -inf (no value), as far below the worst of the others as that is below the best.

    So they have the lowest rank, and differences to them are of the size of other differences. At least one must be finite.
    """
    missing = np.isneginf(returns)
    if not missing.any():
        return returns
    best, worst = returns[~missing].max(), returns[~missing].min()
    return np.where(missing, worst - ((best - worst) or abs(worst) or 1.0), returns)


def centered_ranks(returns: Values) -> Values:
    """Ranks [n] of returns [n], evenly spaced from -0.5 to 0.5, with sum 0; equal returns get the mean of their ranks.

    Source: Salimans et al. 2017. Their code breaks ties by position, which biases the estimate on a plateau
    (V+ - V- = -1/(2n - 1) in each of n pairs).
    """
    if flat(returns):
        return np.zeros_like(returns)
    _, place, counts = np.unique(returns, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    shaped: Values = ranks[place] / (len(returns) - 1) - 0.5
    return shaped


def standardized(returns: Values) -> Values:
    """returns [n] scaled to mean 0 and (population) standard deviation 1; with an infinite one all become NaN."""
    if flat(returns):
        return np.zeros_like(returns)
    with np.errstate(invalid="ignore"):
        centred = returns - returns.mean()
        centred /= np.abs(centred).max()  # otherwise squares of tiny differences would underflow
        shaped: Values = centred / np.sqrt(np.mean(centred**2))
    return shaped


def unshaped(returns: Values) -> Values:
    """returns [n], unchanged."""
    return returns


SHAPINGS: dict[str, Callable[[Values], Values]] = {
    "centered-ranks": centered_ranks,
    "standardized": standardized,
    "none": unshaped,
}
"""Name -> function from returns [n] without NaN to shaped returns [n]."""
