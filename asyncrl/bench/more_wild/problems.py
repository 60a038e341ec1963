"""The 53 problems: rows (function, n, m, scale), starting points, and the four types of objective.

Source: Moré and Wild (2009); figures from POptUS/BenDFO (`data/dfo.dat`, `dfoxs`, `calfun`), version 5f06c29.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.bench.more_wild.residuals import FUNCTIONS, Matrix, mancino_sum
from asyncrl.errors import UserError, unknown

TYPES = ("smooth", "nondiff", "wild3", "noisy3")
"""Types of objective, by the names of the reference; see `Problem.values`."""

NOISE = 1e-3
"""Relative size of the noise of wild3 and noisy3."""

CLIPPED = frozenset({8, 9, 13, 16, 17, 18})
"""Functions whose arguments are clipped to x >= 0 in the type nondiff."""

_ROWS = """
1:9,45,0 1:9,45,1 2:7,35,0 2:7,35,1 3:7,35,0 3:7,35,1 4:2,2,0 4:2,2,1 5:3,3,0 5:3,3,1 6:4,4,0 6:4,4,1 7:2,2,0 7:2,2,1
8:3,15,0 8:3,15,1 9:4,11,0 10:3,16,0 11:6,31,0 11:6,31,1 11:9,31,0 11:9,31,1 11:12,31,0 11:12,31,1 12:3,10,0 13:2,10,0
14:4,20,0 14:4,20,1 15:6,6,0 15:7,7,0 15:8,8,0 15:9,9,0 15:10,10,0 15:11,11,0 16:10,10,0 17:5,33,0 18:11,65,0 18:11,65,1
19:8,8,0 19:10,12,0 19:11,14,0 19:12,16,0 20:5,5,0 20:6,6,0 20:8,8,0 21:5,5,0 21:5,5,1 21:8,8,0 21:10,10,0 21:12,12,0
21:12,12,1 22:8,8,0 22:8,8,1
"""  # function:n,m,scale

_STARTS: dict[int, tuple[float, ...]] = {
    4: (-1.2, 1.0),
    5: (-1.0, 0.0, 0.0),
    6: (3.0, -1.0, 0.0, 1.0),
    7: (0.5, -2.0),
    8: (1.0, 1.0, 1.0),
    9: (0.25, 0.39, 0.415, 0.39),
    10: (0.02, 4000.0, 250.0),
    12: (0.0, 10.0, 20.0),
    13: (0.3, 0.4),
    14: (25.0, 5.0, -5.0, -1.0),
    17: (0.5, 1.5, 1.0, 0.01, 0.02),
    18: (1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5),
    22: (-0.3, -0.39, 0.3, -0.344, -1.2, 2.69, 1.59, -1.5),
}
_CONSTANT_STARTS = {1: 1.0, 2: 1.0, 3: 1.0, 11: 0.5, 16: 0.5, 19: 1.0, 20: 0.5}


@dataclass(frozen=True)
class Problem:
    """One of the 53: f(x) is to be made small, from `start`, without derivatives."""

    number: int
    """1 to 53, in the order of the reference's list."""
    function: int
    """1 to 22: which residuals."""
    n: int
    """Parameters."""
    m: int
    """Residuals."""
    scale: int
    """The start is the standard one times 10**scale."""

    @property
    def name(self) -> str:
        """Such as ``Rosenbrock (2), start x 10``."""
        return f"{FUNCTIONS[self.function][0]} ({self.n})" + (f", start x {10**self.scale}" if self.scale else "")

    @property
    def start(self) -> NDArray[np.float64]:
        """[n], the starting point."""
        return 10.0**self.scale * _standard_start(self.function, self.n)

    def residuals(self, x: Matrix) -> Matrix:
        """Points [k, n] to residuals [k, m]; not finite where the formula is not."""
        points = np.asarray(x, np.float64)
        if points.ndim != 2 or points.shape[1] != self.n:
            raise UserError(f"problem {self.number} takes points [k, {self.n}], got {list(points.shape)}")
        with np.errstate(all="ignore"):
            return FUNCTIONS[self.function][1](points, self.m)

    def values(self, x: Matrix, kind: str = "smooth", rng: np.random.Generator | None = None) -> NDArray[np.float64]:
        """The objective at points [k, n], as [k]; not finite where the formula is not.

        kind, with r the residuals:
            smooth: sum of r^2.
            nondiff: sum of abs(r); for the functions in CLIPPED at max(x, 0) instead of x.
            wild3: (1 + 1e-3 phi(x)) sum of r^2, with phi a fixed fast oscillation.
            noisy3: sum of (r (1 + z))^2 with a new z for each residual, uniform in [-1e-3, 1e-3), from rng.

        For noisy3 the reference's README says that z is Gaussian with deviation 1e-3, its programs draw it uniformly;
        this follows the programs. (In its Fortran version the two kinds of noise go under each other's number.)

        Raises:
            UserError: kind is not in TYPES, or noisy3 lacks its rng.
        """
        if kind not in TYPES:
            raise unknown("type of objective", kind, TYPES)
        x = np.asarray(x, np.float64)
        residuals = self.residuals(np.maximum(x, 0.0) if kind == "nondiff" and self.function in CLIPPED else x)
        with np.errstate(all="ignore"):
            if kind == "nondiff":
                return np.abs(residuals).sum(1)
            if kind == "noisy3":
                if rng is None:
                    raise UserError("noisy3 needs rng, its source of noise")
                residuals = residuals * (1.0 + NOISE * (2.0 * rng.random(residuals.shape) - 1.0))
            squares = np.square(residuals).sum(1)
            return squares * (1.0 + NOISE * _oscillation(x)) if kind == "wild3" else squares


def _oscillation(x: Matrix) -> NDArray[np.float64]:
    """phi of Moré and Wild (2009): the cubic Chebyshev polynomial of a product of waves; in [-1, 1]."""
    size = np.abs(x)
    wave = 0.9 * np.sin(100.0 * size.sum(1)) * np.cos(100.0 * size.max(1)) + 0.1 * np.cos(np.sqrt(np.square(x).sum(1)))
    return wave * (4.0 * wave**2 - 3.0)


def _standard_start(function: int, n: int) -> NDArray[np.float64]:
    if function in _STARTS:
        return np.array(_STARTS[function])
    if function in _CONSTANT_STARTS:
        return np.full(n, _CONSTANT_STARTS[function])
    if function == 15:
        return np.arange(1, n + 1) / (n + 1)
    cubes = (np.arange(1, n + 1) - 50.0) ** 3  # 21, Mancino: the fixed-point step that the reference starts from
    return -8.710996e-4 * (cubes + mancino_sum(np.zeros((1, n)))[0])


def _parse(rows: str) -> tuple[Problem, ...]:
    problems = []
    for number, row in enumerate(rows.split(), 1):
        function, _, rest = row.partition(":")
        n, m, scale = map(int, rest.split(","))
        problems.append(Problem(number, int(function), n, m, scale))
    return tuple(problems)


PROBLEMS = _parse(_ROWS)
"""All 53, in the reference's order."""
