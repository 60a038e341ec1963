"""The 22 nonlinear least-squares functions of the Moré-Wild set: points [k, n] to residuals [k, m], float64.

Numbered as in Moré and Wild, "Benchmarking derivative-free optimization algorithms" (SIAM J. Optimization 20, 2009); 1 to 18
are defined in Moré, Garbow and Hillstrom, "Testing unconstrained optimization software" (ACM TOMS 7, 1981), 19 to 22 come
from CUTEr. The measured data and the fixed constants are those of POptUS/BenDFO, the authors' own programs (BSD-3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# fmt: off
BARD = np.array([.14, .18, .22, .25, .29, .32, .35, .39, .37, .58, .73, .96, 1.34, 2.1, 4.39])
KOWALIK_INPUT = np.array([4, 2, 1, .5, .25, .167, .125, .1, .0833, .0714, .0625])
KOWALIK = np.array([.1957, .1947, .1735, .16, .0844, .0627, .0456, .0342, .0323, .0235, .0246])
MEYER = np.array([34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872.])
OSBORNE_1 = np.array([
    .844, .908, .932, .936, .925, .908, .881, .85, .818, .784, .751, .718, .685, .658, .628, .603, .58,
    .558, .538, .522, .506, .49, .478, .467, .457, .448, .438, .431, .424, .42, .414, .411, .406])
OSBORNE_2 = np.array([
    1.366, 1.191, 1.112, 1.013, .991, .885, .831, .847, .786, .725, .746, .679, .608, .655, .616, .606, .602,
    .626, .651, .724, .649, .649, .694, .644, .624, .661, .612, .558, .533, .495, .5, .423, .395, .375,
    .372, .391, .396, .405, .428, .429, .523, .562, .607, .653, .672, .708, .633, .668, .645, .632, .591,
    .559, .597, .625, .739, .71, .729, .72, .636, .581, .428, .292, .162, .098, .054])
# fmt: on


def _linear_full_rank(x: Matrix, m: int) -> Matrix:
    result = np.repeat(-2.0 / m * x.sum(1, keepdims=True) - 1.0, m, axis=1)
    result[:, : x.shape[1]] += x
    return result


def _linear_rank_1(x: Matrix, m: int) -> Matrix:
    return np.outer(x @ np.arange(1.0, x.shape[1] + 1), np.arange(1.0, m + 1)) - 1.0


def _linear_rank_1_zeros(x: Matrix, m: int) -> Matrix:
    slopes = np.arange(float(m))
    slopes[-1] = 0.0
    return np.outer(x[:, 1:-1] @ np.arange(2.0, x.shape[1]), slopes) - 1.0


def _rosenbrock(x: Matrix, m: int) -> Matrix:
    return np.stack((10.0 * (x[:, 1] - x[:, 0] ** 2), 1.0 - x[:, 0]), 1)


def _helical_valley(x: Matrix, m: int) -> Matrix:
    first, second, third = x.T
    turns = np.arctan(second / first) / (2.0 * np.pi) + np.where(first < 0.0, 0.5, 0.0)
    turns = np.where(first == 0.0, np.where(second == 0.0, 0.0, 0.25), turns)
    return np.stack((10.0 * (third - 10.0 * turns), 10.0 * (np.hypot(first, second) - 1.0), third), 1)


def _powell_singular(x: Matrix, m: int) -> Matrix:
    a, b, c, d = x.T
    return np.stack((a + 10.0 * b, np.sqrt(5.0) * (c - d), (b - 2.0 * c) ** 2, np.sqrt(10.0) * (a - d) ** 2), 1)


def _freudenstein_roth(x: Matrix, m: int) -> Matrix:
    a, b = x.T
    return np.stack((a - 13.0 + ((5.0 - b) * b - 2.0) * b, a - 29.0 + ((b + 1.0) * b - 14.0) * b), 1)


def _bard(x: Matrix, m: int) -> Matrix:
    up = np.arange(1.0, 16.0)
    down = 16.0 - up
    return BARD - x[:, :1] - up / (x[:, 1:2] * down + x[:, 2:3] * np.minimum(up, down))


def _kowalik_osborne(x: Matrix, m: int) -> Matrix:
    a, b, c, d = (x[:, i : i + 1] for i in range(4))
    v = KOWALIK_INPUT
    return KOWALIK - a * v * (v + b) / (v * (v + c) + d)


def _meyer(x: Matrix, m: int) -> Matrix:
    return x[:, :1] * np.exp(x[:, 1:2] / (45.0 + 5.0 * np.arange(1, 17) + x[:, 2:3])) - MEYER


def _watson(x: Matrix, m: int) -> Matrix:
    n = x.shape[1]
    powers = (np.arange(1, 30) / 29.0) ** np.arange(n)[:, None]
    slope = x[:, 1:] @ (np.arange(1.0, n)[:, None] * powers[:-1])
    ends = np.stack((x[:, 0], x[:, 1] - x[:, 0] ** 2 - 1.0), 1)
    return np.concatenate((slope - (x @ powers) ** 2 - 1.0, ends), 1)


def _box(x: Matrix, m: int) -> Matrix:
    whole = np.arange(1.0, m + 1)
    t = whole / 10.0
    return np.exp(-t * x[:, :1]) - np.exp(-t * x[:, 1:2]) + (np.exp(-whole) - np.exp(-t)) * x[:, 2:3]


def _jennrich_sampson(x: Matrix, m: int) -> Matrix:
    i = np.arange(1.0, m + 1)
    return 2.0 + 2.0 * i - np.exp(i * x[:, :1]) - np.exp(i * x[:, 1:2])


def _brown_dennis(x: Matrix, m: int) -> Matrix:
    t = np.arange(1, m + 1) / 5.0
    a, b, c, d = (x[:, i : i + 1] for i in range(4))
    return (a + t * b - np.exp(t)) ** 2 + (c + np.sin(t) * d - np.cos(t)) ** 2


def _chebyquad(x: Matrix, m: int) -> Matrix:
    """Mean of the shifted Chebyshev polynomial of degree i over the components, minus its integral over [0, 1]."""
    before, now = np.ones_like(x), 2.0 * x - 1.0
    double = 2.0 * now
    result = np.empty((len(x), m))
    for degree in range(1, m + 1):
        integral = -1.0 / (degree**2 - 1) if degree % 2 == 0 else 0.0
        result[:, degree - 1] = now.mean(1) - integral
        before, now = now, double * now - before
    return result


def _brown_almost_linear(x: Matrix, m: int) -> Matrix:
    result = x + (x.sum(1, keepdims=True) - (x.shape[1] + 1))
    result[:, -1] = x.prod(1) - 1.0
    return result


def _osborne_1(x: Matrix, m: int) -> Matrix:
    t = 10.0 * np.arange(33)
    return OSBORNE_1 - x[:, :1] - x[:, 1:2] * np.exp(-x[:, 3:4] * t) - x[:, 2:3] * np.exp(-x[:, 4:5] * t)


def _osborne_2(x: Matrix, m: int) -> Matrix:
    t = np.arange(65) / 10.0
    result = OSBORNE_2 - x[:, :1] * np.exp(-x[:, 4:5] * t)
    for i in (1, 2, 3):  # three bells: height i, sharpness i + 4, centre i + 7
        result = result - x[:, i : i + 1] * np.exp(-x[:, i + 4 : i + 5] * (t - x[:, i + 7 : i + 8]) ** 2)
    return result


def _bdqrtic(x: Matrix, m: int) -> Matrix:
    count = x.shape[1] - 4
    quartic = 5.0 * x[:, -1:] ** 2 + sum((i + 1) * x[:, i : i + count] ** 2 for i in range(4))
    return np.concatenate((3.0 - 4.0 * x[:, :count], quartic), 1)


def _cube(x: Matrix, m: int) -> Matrix:
    return np.concatenate((x[:, :1] - 1.0, 10.0 * (x[:, 1:] - x[:, :-1] ** 3)), 1)


def mancino_sum(x: Matrix) -> Matrix:
    """The sums in Mancino's function at points x [k, n], [k, n]: over j of v (sin^5 log v + cos^5 log v), v^2 = x_i^2 + i/j."""
    i = np.arange(1.0, x.shape[1] + 1)
    v = np.sqrt(x[:, :, None] ** 2 + i[:, None] / i)
    log = np.log(v)
    return (v * (np.sin(log) ** 5 + np.cos(log) ** 5)).sum(2)


def _mancino(x: Matrix, m: int) -> Matrix:
    return 1400.0 * x + (np.arange(1, x.shape[1] + 1) - 50.0) ** 3 + mancino_sum(x)


def _heart(x: Matrix, m: int) -> Matrix:
    """Heart8ls. With z = t + iu and w = v + is for each of the two pairs, its rows are the parts of w z^k, k = 0..3, summed."""
    weight = np.stack((x[:, 0] + 1j * x[:, 2], x[:, 1] + 1j * x[:, 3]))
    point = np.stack((x[:, 4] + 1j * x[:, 6], x[:, 5] + 1j * x[:, 7]))
    # Row pair k: real and imaginary part of the sum of w z^k, with constants; the reference writes the real polynomials.
    moments = [(weight * point**k).sum(0) for k in range(4)]
    targets = (-0.69 - 0.044j, -1.57 - 1.31j, -2.65 + 2.0j, -12.6 + 9.48j)
    parts = [part for moment, target in zip(moments, targets) for part in ((moment - target).real, (moment - target).imag)]
    return np.stack(parts, 1)


FUNCTIONS: dict[int, tuple[str, Callable[[Matrix, int], Matrix]]] = {
    1: ("linear, full rank", _linear_full_rank),
    2: ("linear, rank 1", _linear_rank_1),
    3: ("linear, rank 1, zero columns and rows", _linear_rank_1_zeros),
    4: ("Rosenbrock", _rosenbrock),
    5: ("helical valley", _helical_valley),
    6: ("Powell singular", _powell_singular),
    7: ("Freudenstein-Roth", _freudenstein_roth),
    8: ("Bard", _bard),
    9: ("Kowalik-Osborne", _kowalik_osborne),
    10: ("Meyer", _meyer),
    11: ("Watson", _watson),
    12: ("Box, three-dimensional", _box),
    13: ("Jennrich-Sampson", _jennrich_sampson),
    14: ("Brown-Dennis", _brown_dennis),
    15: ("Chebyquad", _chebyquad),
    16: ("Brown almost-linear", _brown_almost_linear),
    17: ("Osborne 1", _osborne_1),
    18: ("Osborne 2", _osborne_2),
    19: ("Bdqrtic", _bdqrtic),
    20: ("Cube", _cube),
    21: ("Mancino", _mancino),
    22: ("Heart8ls", _heart),
}
"""Name, and points [k, n] and m to residuals [k, m]."""
