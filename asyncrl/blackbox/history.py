"""Late evaluations: which parameters they perturbed, and whether those are still near enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.samples import Vector, Whole
from asyncrl.blackbox.space import Points

CURRENT, LOST = -1, -2
MEAN_SQUARE, LARGEST = 0.25, 1.0 + 1e-3
"""Of (theta - theta_v) / sigma: where the ratios of a version v still have something to say (effective sample size exp(-.25)). The
largest may be 1, as it is after an update of TRES that `max_kl` ended; the rest is for its rounding to float32."""
SHRINKAGE = 4.0  # evaluations that the mean of all counts for in the baseline of a version


class History:
    """Earlier parameters, in two arrays of a search's state: `history` [max_lag, N] and `history_version` [max_lag].

    A row is written when the parameters change, with the last version that they were: an update that changes nothing
    writes nothing, and the versions on both sides of it are the same parameters. The oldest row gives way.
    """

    def __init__(self, state: dict[str, NDArray[Any]], size: int, max_lag: int, dtype: type = np.float32) -> None:
        self._max_lag = max_lag
        self._vectors = state["history"] = np.zeros((max(max_lag, 1), size), dtype)
        self._versions = state["history_version"] = np.full(max(max_lag, 1), -1, np.int64)

    def clear(self) -> None:
        """Forget all."""
        self._vectors[:], self._versions[:] = 0.0, -1

    def record(self, version: int, theta: Points) -> None:
        """Keep the parameters [N] that version + 1 no longer has."""
        row = int(np.argmin(self._versions))
        self._vectors[row], self._versions[row] = theta, version

    def rows(self, version: int, acted: Whole) -> Whole:
        """For each evaluation the row of the parameters that acted, [n].

        acted [n]: their versions. CURRENT where they are those of `version`, however long ago that began; LOST where they are
        others, and older than max_lag updates.
        """
        found = np.full(len(acted), CURRENT, np.int64)
        for earlier in np.unique(acted[acted < version]):
            row = self._row(int(earlier))  # CURRENT even if rows gave way: the newest change is always there
            found[acted == earlier] = LOST if row != CURRENT and version - earlier > self._max_lag else row
        return found

    def stale(self, row: int, theta: Points) -> Vector:
        """theta - theta_v [N], in float64; zeros for CURRENT."""
        return np.zeros(len(theta)) if row == CURRENT else theta.astype(np.float64) - self._vectors[row]

    def admitted(self, rows: Whole, theta: Points, sigma: float, late: str) -> NDArray[np.bool_]:
        """Which evaluations may be used, [n].

        late: `drop` admits those of theta itself; `as-is` all that are not LOST; `ratio` those of them for which
        the mean of ((theta - theta_v) / sigma)^2 is below MEAN_SQUARE and the largest |theta - theta_v| / sigma at most LARGEST.
        """
        admitted = rows == CURRENT
        if late != "drop":
            for row in np.unique(rows[rows >= 0]):
                admitted[rows == row] = late == "as-is" or _near(self.stale(int(row), theta) / sigma)
        return admitted

    def _row(self, version: int) -> int:
        later = np.where(self._versions >= version, self._versions, np.iinfo(np.int64).max)
        row = int(np.argmin(later))
        return row if self._versions[row] >= version else CURRENT


def _near(delta: Vector) -> bool:
    return bool(np.mean(delta**2) < MEAN_SQUARE and np.abs(delta).max() <= LARGEST)


def too_few(used: NDArray[np.bool_], possible: NDArray[np.bool_]) -> bool:
    """Whether less than half of what could be evaluated [n] may be used: a step from a few would be as long as one from many.

    As the parameters then stay, evaluations of them are not late any more.
    """
    return bool(2 * used.sum() < possible.sum())


def skipped_late(possible: NDArray[np.bool_]) -> dict[str, float]:
    """The figures of such an update: all that could be evaluated is lost."""
    return {"late_dropped": float(possible.sum()), "late_used": 0.0, "skipped_late": 1.0}


def less_baseline(values: Vector, cohort: Whole) -> Vector:
    """Returns [n] less the mean of their cohort [n], which is drawn to the mean of all where it has few.

    How good a version was says nothing about a direction: without the baseline that difference is noise in every
    estimate that is not made of mirror images of one version. One cohort: unchanged.
    """
    cohorts, index, counts = np.unique(cohort, return_inverse=True, return_counts=True)
    if len(cohorts) < 2:
        return values
    sums = np.bincount(index, values, len(cohorts))
    baseline = (sums + SHRINKAGE * values.mean()) / (counts + SHRINKAGE)
    less: Vector = values - baseline[index]
    return less
