"""Average ranks over many problems and tests of their significance, after Demšar, "Statistical comparisons of classifiers over
multiple data sets" (JMLR 7, 2006)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError

NEMENYI_Q = {
    0.05: (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164),
    0.10: (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920),
}
"""Critical values of the two-tailed Nemenyi test for 2 to 10 methods: Demšar (2006), table 5a."""


@dataclass(frozen=True)
class Friedman:
    """Friedman's test that k methods are equally good on N problems, from their average ranks."""

    statistic: float
    """Chi-squared with k - 1 degrees of freedom."""
    p: float
    """The p-value: the probability of a statistic at least as large if all methods are equally good."""
    f: float
    """Iman and Davenport's less conservative statistic, F-distributed with (k - 1, (k - 1)(N - 1)) degrees of freedom; infinite
    if all problems rank the methods in the same order."""


def ranks_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks within each row of values [N, k]: 1 for the smallest, ties averaged; as [N, k]."""
    if not np.isfinite(values).all():
        raise UserError("values that are to be ranked must be finite")
    below = (values[:, None, :] < values[:, :, None]).sum(2)
    equal = (values[:, None, :] == values[:, :, None]).sum(2)
    return below + (equal + 1) / 2.0


def friedman(average: NDArray[np.float64], problems: int) -> Friedman:
    """Friedman's test, from average ranks [k] over so many problems. Demšar (2006), section 3.2.2; ties are not corrected for."""
    k = len(average)
    if k < 2 or problems < 2:
        raise UserError(f"Friedman's test needs at least 2 methods and 2 problems, got {k} and {problems}")
    spread = float(np.square(average).sum()) - k * (k + 1) ** 2 / 4.0
    statistic = max(12.0 * problems / (k * (k + 1)) * spread, 0.0)
    left = problems * (k - 1) - statistic
    f = (problems - 1) * statistic / left if left > 1e-9 else math.inf
    return Friedman(statistic, _chi_squared_tail(statistic, k - 1), f)


def critical_difference(methods: int, problems: int, alpha: float = 0.05) -> float:
    """The difference from which two average ranks differ significantly, by the Nemenyi test: Demšar (2006), 3.2.2.

    Raises:
        UserError: alpha is not 0.05 or 0.10, or methods is not 2 to 10.
    """
    if alpha not in NEMENYI_Q:
        raise UserError(f"alpha = {alpha} cannot be used (allowed: {', '.join(map(str, NEMENYI_Q))})")
    if not 2 <= methods <= 10 or problems < 1:
        raise UserError(f"the Nemenyi test is tabulated for 2 to 10 methods on at least 1 problem, got {methods} on {problems}")
    return NEMENYI_Q[alpha][methods - 2] * math.sqrt(methods * (methods + 1) / (6.0 * problems))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of the sign test: the probability that two equally good methods differ at least so much in wins.

    Ties are not counted. Demšar (2006), section 3.1.4.
    """
    total, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(total, i) for i in range(fewer + 1)) / 2**total
    return min(1.0, 2.0 * tail)


def _chi_squared_tail(x: float, freedom: int) -> float:
    """P(X >= x) for whole degrees of freedom, by the recurrence Q(a + 1) = Q(a) + (x/2)^a exp(-x/2) / Gamma(a + 1)."""
    half = x / 2.0
    if half == 0.0:
        return 1.0
    odd = freedom % 2 == 1
    result = math.erfc(math.sqrt(half)) if odd else math.exp(-half)
    a = 0.5 if odd else 1.0
    while a < freedom / 2.0:
        result += math.exp(a * math.log(half) - half - math.lgamma(a + 1.0))
        a += 1.0
    return min(result, 1.0)
