"""What values are turned into before they weigh directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import unknown

Values = NDArray[np.float64]


def shape(values: Values, kind: str) -> Values:
    """Shaped values, float64 [n]. NaN (not evaluated) stays NaN and counts for nothing.

    kind: one of SHAPINGS; UserError for any other. Returns that are all equal tell nothing: they become zeros, except
    with `none`, which leaves them as they are (see `flat`).
    """
    if kind not in SHAPINGS:
        raise unknown("shaping", kind, SHAPINGS)
    shaped = np.array(values, np.float64)
    there = ~np.isnan(shaped)
    shaped[there] = SHAPINGS[kind](shaped[there])
    return shaped


def flat(values: Values) -> bool:
    """Whether values [n] tell nothing about the directions: fewer than two of them are there, or all are equal."""
    there = values[~np.isnan(values)]
    return len(there) < 2 or bool(there.min() == there.max())


def with_worst(values: Values) -> Values:
    """Returns [n] with numbers in place of -inf (no value), as far below the worst of the others as that is below the best.

    So they rank last, and differences to them are of the size of the others. At least one is finite.
    """
    missing = np.isneginf(values)
    if not missing.any():
        return values
    best, worst = values[~missing].max(), values[~missing].min()
    return np.where(missing, worst - ((best - worst) or abs(worst) or 1.0), values)


def centered_ranks(values: Values) -> Values:
    """Ranks [n], evenly spaced from -0.5 to 0.5, with sum 0; equal values share the mean of their ranks.

    Source: Salimans et al. 2017; their code breaks ties by position, which pushes all of a plateau one way
    (V+ - V- = -1/(2n - 1) in every one of n pairs).
    """
    if flat(values):
        return np.zeros_like(values)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    shaped: Values = ranks[place] / (len(values) - 1) - 0.5
    return shaped


def standardized(values: Values) -> Values:
    """Returns [n] with mean 0 and (population) deviation 1; an infinite one makes NaN of all."""
    if flat(values):
        return np.zeros_like(values)
    with np.errstate(invalid="ignore"):
        centred = values - values.mean()
        centred /= np.abs(centred).max()  # or squares of tiny differences would vanish
        shaped: Values = centred / np.sqrt(np.mean(centred**2))
    return shaped


def unshaped(values: Values) -> Values:
    """Returns as they are."""
    return values


SHAPINGS: dict[str, Callable[[Values], Values]] = {
    "centered-ranks": centered_ranks,
    "standardized": standardized,
    "none": unshaped,
}
"""All take values [n] without NaN."""
