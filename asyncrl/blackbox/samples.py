"""Evaluations of perturbed parameters in the form that the compiled functions of `ratios` take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """n evaluations of parameters theta_v + sign sigma eps, N parameters, C versions."""

    block: NDArray[np.float32]
    """eps [M, N], read-only, since the compiled functions are compiled for read-only arrays."""
    row: Whole
    """Each evaluation's row of the block, [n]."""
    sign: Vector
    """1, or -1 for a mirror image, [n]."""
    value: Vector
    """V [n]."""
    cohort: Whole
    """Each evaluation's row of `stale`, [n]."""
    stale: Vector
    """theta - theta_v of each version, [C, N]; no rows if no evaluation is to be corrected."""
    inverse_sigma: Vector
    """1 / sigma [n]."""
    normal: NDArray[np.bool_]
    """Whether the entries of eps are marginally normal, [n]; for other directions the ratios are taken as 1."""
    sigma: float
    """sigma_0, the unit of gradients."""

    def __len__(self) -> int:
        return len(self.value)
