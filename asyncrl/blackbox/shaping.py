"""What returns are turned into before they weigh directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import unknown

Values = NDArray[np.float64]


def shape(returns: Values, kind: str) -> Values:
    """Shaped returns, float64 [n]. NaN (not evaluated) stays NaN and counts for nothing.

    kind: one of SHAPINGS; UserError for any other. Returns that are all equal tell nothing: they become zeros, except
    with `none`, which leaves them as they are (see `flat`).
    """
    if kind not in SHAPINGS:
        raise unknown("shaping", kind, SHAPINGS)
    shaped = np.array(returns, np.float64)
    there = ~np.isnan(shaped)
    shaped[there] = SHAPINGS[kind](shaped[there])
    return shaped


def flat(returns: Values) -> bool:
    """Whether returns [n] tell nothing about the directions: fewer than two of them are there, or all are equal."""
    there = returns[~np.isnan(returns)]
    return len(there) < 2 or bool(there.min() == there.max())


def with_worst(returns: Values) -> Values:
    """Returns [n] with numbers in place of -inf (no value), as far below the worst of the others as that is below the best.

    So they rank last, and differences to them are of the size of the others. At least one is finite.
    """
    missing = np.isneginf(returns)
    if not missing.any():
        return returns
    best, worst = returns[~missing].max(), returns[~missing].min()
    return np.where(missing, worst - ((best - worst) or abs(worst) or 1.0), returns)


def centered_ranks(returns: Values) -> Values:
    """Ranks [n], evenly spaced from -0.5 to 0.5, with sum 0; equal returns share the mean of their ranks.

    Source: Salimans et al. 2017; their code breaks ties by position, which pushes all of a plateau one way
    (V+ - V- = -1/(2n - 1) in every one of n pairs).
    """
    if flat(returns):
        return np.zeros_like(returns)
    _, place, counts = np.unique(returns, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    shaped: Values = ranks[place] / (len(returns) - 1) - 0.5
    return shaped


def standardized(returns: Values) -> Values:
    """Returns [n] with mean 0 and (population) deviation 1; an infinite one makes NaN of all."""
    if flat(returns):
        return np.zeros_like(returns)
    with np.errstate(invalid="ignore"):
        centred = returns - returns.mean()
        centred /= np.abs(centred).max()  # or squares of tiny differences would vanish
        shaped: Values = centred / np.sqrt(np.mean(centred**2))
    return shaped


def unshaped(returns: Values) -> Values:
    """Returns as they are."""
    return returns


SHAPINGS: dict[str, Callable[[Values], Values]] = {
    "centered-ranks": centered_ranks,
    "standardized": standardized,
    "none": unshaped,
}
"""All take returns [n] without NaN."""
