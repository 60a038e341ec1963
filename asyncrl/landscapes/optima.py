"""How many local optima a function has, by its values on a grid."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit

ROUNDING = 1e-6
"""Of the largest value, what rounding may make of it in float32."""


def local_optima(values: NDArray[Any], descent: float = 0.0) -> int:
    """Local maxima of values [n] or [n, m]: a plateau counts once, and so do ends and edges; a point of a plane has eight neighbours.

    A maximum from which a higher one is reached without a descent of more than `descent` does not count. (The least descent that is
    needed is the maximum's persistence, Edelsbrunner and others 2002.) What is not a number is lower than all others.

    Points are taken from the highest down, and each joins the hills that it touches. Where several meet, the highest goes on; the
    others end there, and count if they rise far enough above that point.
    """
    padded = np.pad(np.where(np.isnan(values), -np.inf, values).astype(np.float64), 1, constant_values=np.nan)
    strides = [stride // padded.itemsize for stride in padded.strides]
    around = np.array([np.dot(moves, strides) for moves in itertools.product((-1, 0, 1), repeat=values.ndim) if any(moves)], np.int64)
    order = np.argsort(-padded, axis=None, kind="stable")[: values.size]
    return int(_count(padded.reshape(-1), order, around, descent)) if values.size else 0


def doubtful(values: NDArray[Any]) -> float:
    """The largest descent that rounding or the grid may have made of a function whose values on a dense grid are [n] or [n, m].

    A line has no maximum that the function has not. On a plane a ridge that runs askew to the grid looks like a chain of hills, more of
    them the denser the grid, since points lie nearer to its crest or farther from it. How far that goes depends on the slopes; taken
    is what the function would change in one step, were the difference of its extremes spread evenly.
    """
    rounding = ROUNDING * float(np.abs(values).max())
    return rounding if values.ndim == 1 else rounding + float(np.ptp(values)) / (min(values.shape) - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _peak(uphill, point):  # type: ignore[no-untyped-def]
    """The top of the hill on which a point lies, of uphill[N]; ways up are made shorter on the way."""
    while uphill[point] != point:
        uphill[point] = uphill[uphill[point]]
        point = uphill[point]
    return point


@njit(cache=True, nogil=True, error_model="numpy")
def _count(heights, order, around, descent):  # type: ignore[no-untyped-def]
    """As `local_optima` of heights[N] with a border of one point, of which order[n] are the points that count from the highest down."""
    uphill = np.full(heights.size, -1)
    count = 1  # the highest hill never ends
    for point in order:
        highest = point
        for move in around:
            if uphill[point + move] < 0:
                continue
            peak = _peak(uphill, point + move)
            if highest == point:
                highest = peak
            elif peak != highest:
                lower = peak if heights[peak] <= heights[highest] else highest
                highest = highest if lower == peak else peak
                uphill[lower] = highest
                count += heights[lower] - heights[point] > descent
        uphill[point] = highest
    return count
