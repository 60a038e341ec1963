"""Evaluations of perturbed parameters, as the kernels of `ratios` read them."""

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
    """eps [M, N], read-only: kernels are compiled for that."""
    row: Whole
    """Row of the block, [n]."""
    sign: Vector
    """1, or -1 for a mirror image, [n]."""
    value: Vector
    """V [n]."""
    cohort: Whole
    """Row of stale, [n]."""
    stale: Vector
    """theta - theta_v of each version [C, N]; no rows where every evaluation is taken for one of theta."""
    inverse_sigma: Vector
    """1 / sigma [n]."""
    normal: NDArray[np.bool_]
    """Whether the entries of eps are normal by themselves, [n]: other directions have no ratios, theirs count as 1."""
    sigma: float
    """sigma_0, the unit of gradients."""

    def __len__(self) -> int:
        return len(self.value)
