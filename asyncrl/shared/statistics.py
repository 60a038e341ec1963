"""Running mean and variance of rows [D]: each writer keeps its own, and a reader merges them exactly."""

from __future__ import annotations

import numpy as np

from asyncrl.shared.compiled import njit


@njit(cache=True)
def fold(count, mean, square, rows):  # type: ignore[no-untyped-def]
    """Add rows[N, D] to mean[D] and square[D], the sum of squared deviations, in place; returns the new count.

    Welford's update, one row at a time, in float64.
    """
    for n in range(rows.shape[0]):
        count += 1.0
        for d in range(mean.size):
            delta = rows[n, d] - mean[d]
            mean[d] += delta / count
            square[d] += delta * (rows[n, d] - mean[d])
    return count


@njit(cache=True)
def merge(counts, means, squares, mean, square):  # type: ignore[no-untyped-def]
    """Merge the statistics of W writers (counts[W], means[W, D], squares[W, D]) into mean[D] and square[D], in their order.

    Equal to the statistics of all rows together, up to rounding (Chan, Golub and LeVeque). Returns the total count.
    """
    total = 0.0
    mean[:] = 0.0
    square[:] = 0.0
    for w in range(counts.size):
        if counts[w] == 0.0:
            continue
        both = total + counts[w]
        for d in range(mean.size):
            delta = means[w, d] - mean[d]
            mean[d] += delta * counts[w] / both
            square[d] += squares[w, d] + delta * delta * total * counts[w] / both
        total = both
    return total


@njit(cache=True)
def merge_one(count, mean, square, more, more_mean, more_square):  # type: ignore[no-untyped-def]
    """Merge the statistics (more, more_mean[D], more_square[D]) into (count[1], mean[D], square[D]), in place."""
    if more == 0.0:
        return
    both = count[0] + more
    for d in range(mean.size):
        delta = more_mean[d] - mean[d]
        mean[d] += delta * more / both
        square[d] += more_square[d] + delta * delta * count[0] * more / both
    count[0] = both


@njit(cache=True)
def standardise(count, mean, square, shift, scale):  # type: ignore[no-untyped-def]
    """Write the float32 numbers of (x - shift) * scale: shift[D] = mean[D] and scale[D] = 1 / sqrt(square[D] / count + 1e-8).

    With a count below 2 they are the identity: shift 0, scale 1.
    """
    for d in range(mean.size):
        if count < 2.0:
            shift[d] = np.float32(0.0)
            scale[d] = np.float32(1.0)
        else:
            shift[d] = np.float32(mean[d])
            scale[d] = np.float32(1.0 / np.sqrt(square[d] / count + 1e-8))


@njit(cache=True, nogil=True, error_model="numpy")
def merge_observed(count, mean, square, counts, means, squares):  # type: ignore[no-untyped-def]
    """Merge evaluations' statistics (counts [n], means [n, D], squares [n, D]) into count [1], mean [D], square [D], in order."""
    for n in range(counts.size):
        if counts[n] == 0.0:
            continue
        both = count[0] + counts[n]
        for d in range(mean.size):
            delta = means[n, d] - mean[d]
            mean[d] += delta * counts[n] / both
            square[d] += squares[n, d] + delta * delta * count[0] * counts[n] / both
        count[0] = both
