"""Late evaluations: which earlier parameters they perturbed, and whether those are near enough to the current ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.space import Points, Vector, Whole

CURRENT, LOST = -1, -2
MEAN_SQUARE, LARGEST = 0.25, 1.0 + 1e-3
"""Limits of the mean square and the largest magnitude of (theta - theta_v) / sigma, up to which the density ratios of a version v
are informative (effective sample size exp(-.25)). The largest may be 1, as after an update of TRES that `max_kl` has ended; the
0.001 is for the rounding to float32."""


class History:
    """Earlier parameters, in two arrays of a search's state: `history` [max_lag, N] and `history_version` [max_lag].

    A row is written when the parameters change, with the last version that had them: an update that changes nothing
    writes no row, and the versions before and after it have the same parameters. The oldest row is overwritten.
    """

    def __init__(self, state: dict[str, NDArray[Any]], size: int, max_lag: int, dtype: type = np.float32) -> None:
        self._max_lag = max_lag
        self._vectors = state["history"] = np.zeros((max(max_lag, 1), size), dtype)
        self._versions = state["history_version"] = np.full(max(max_lag, 1), -1, np.int64)

    def clear(self) -> None:
        """Remove all rows."""
        self._vectors[:], self._versions[:] = 0.0, -1

    def record(self, version: int, theta: Points) -> None:
        """Store theta [N], the parameters of `version`, which version + 1 no longer has."""
        row = int(np.argmin(self._versions))
        self._vectors[row], self._versions[row] = theta, version

    def rows(self, version: int, acted: Whole) -> Whole:
        """For each evaluation the row of the parameters that it perturbed, [n].

        acted [n]: their versions. CURRENT if the parameters are still those of `version`, whatever their age; LOST if they are
        others and older than max_lag updates.
        """
        found = np.full(len(acted), CURRENT, np.int64)
        for earlier in np.unique(acted[acted < version]):
            row = self._row(int(earlier))  # CURRENT is right even if rows were overwritten, since the newest change is always kept
            found[acted == earlier] = LOST if row != CURRENT and version - earlier > self._max_lag else row
        return found

    def stale(self, row: int, theta: Points) -> Vector:
        """theta [N] - theta_v as float64 [N], where theta_v are the parameters of `row`; zeros for CURRENT."""
        return np.zeros(len(theta)) if row == CURRENT else theta.astype(np.float64) - self._vectors[row]

    def admitted(self, rows: Whole, theta: Points, sigma: float, late: str) -> NDArray[np.bool_]:
        """Which evaluations may be used, [n].

        rows [n]: from `rows`; theta [N]: the current parameters. late: `drop` admits evaluations of theta only; `as-is` all that are
        not LOST; `ratio` those of them for which the mean of ((theta - theta_v) / sigma)^2 is below MEAN_SQUARE and the largest
        |theta - theta_v| / sigma is at most LARGEST.
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
    """Whether less than half of the evaluations possible [n] are in used [n]. Then an update is skipped.

    A step from a few evaluations would be as long as one from many, and noisier. Since a skipped update does not change the
    parameters, later evaluations of them are not late.
    """
    return bool(2 * used.sum() < possible.sum())


def skipped_late(possible: NDArray[np.bool_]) -> dict[str, float]:
    """The figures of an update that was skipped since too few of the evaluations possible [n] are recent enough."""
    return {"late_dropped": float(possible.sum()), "late_used": 0.0, "skipped_late": 1.0}
