"""Data profiles of Moré and Wild (2009): the share of problems that are solved after so many evaluations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def evaluations_to_solve(best: NDArray[np.float64], start: float, least: float, tolerance: float) -> int | None:
    """Evaluations until f <= fL + tau (f0 - fL); None if that is not reached, or if no search found a value below f0.

    Args:
        best: [evaluations] of the least value so far, after each evaluation.
        start: f0, the value at the starting point.
        least: fL, the least value that any of the compared methods found within the same budget.
        tolerance: tau; 0.1 is a coarse solution, 1e-5 a good one.
    """
    if start <= least:
        return None
    solved = np.flatnonzero(best <= least + tolerance * (start - least))
    return int(solved[0]) + 1 if len(solved) else None


def data_profile(
    evaluations: Sequence[int | None], parameters: Sequence[int], kappas: NDArray[np.float64] | Sequence[float]
) -> NDArray[np.float64]:
    """Share of problems solved within kappa (n + 1) evaluations, for each kappa: as [kappas].

    Args:
        evaluations: for each problem, the evaluations to solve it, or None.
        parameters: n of each problem. n + 1 evaluations make one simplex gradient.
    """
    units = np.array([np.inf if e is None else e / (n + 1) for e, n in zip(evaluations, parameters, strict=True)])
    return np.array([(units <= kappa).mean() for kappa in kappas])
