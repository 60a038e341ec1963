"""Local optima of a grid are what a search of every plateau finds; a descent that rounding explains makes none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from asyncrl.landscapes.optima import doubtful, local_optima


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([], 0),
        ([3.0], 1),
        ([1, 2, 3], 1),
        ([3, 2, 3], 2),
        ([0, 1, 0, 2, 0], 2),
        ([0, 2, 2, 2, 1], 1),  # a plateau
        ([2, 2, 1, 2, 2], 2),
        ([0, 1, 1, 2], 1),  # a step on the way up is none
        ([5, 5, 5], 1),
        ([1, np.nan, 1], 2),
        ([-np.inf, 1, np.inf, np.inf, 0, np.inf], 2),
        ([np.nan, np.nan], 1),
        ([[1, 0, 1], [0, 0, 0], [1, 0, 1]], 4),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 1),  # a ridge across the corners is one
        ([[2, 1, 3], [1, 0, 1]], 2),
        ([[1, 1, 1], [1, 0, 1], [1, 1, 1]], 1),  # a plateau around a valley
        ([[1, 2, 1]], 1),
    ],
)
def test_of_small_grids(values, count):
    assert local_optima(np.array(values, np.float64)) == count


@pytest.mark.parametrize("shape", [(200,), (15, 14)])
@pytest.mark.parametrize("levels", [3, 10, 10_000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_it_is_what_a_search_of_every_plateau_finds(shape, levels, dtype):
    values = np.random.default_rng(levels).integers(0, levels, shape).astype(dtype)
    whole, count = np.ones((3,) * len(shape)), 0
    for level in np.unique(values):
        plateaus, found = ndimage.label(values == level, whole)
        for number in range(1, found + 1):
            here = plateaus == number
            around = ndimage.binary_dilation(here, whole) & ~here
            count += bool((values[around] < level).all())
    assert local_optima(values) == count > 1


def test_what_rounding_explains_is_none():
    x = np.linspace(-1, 1, 201)
    hill = 100.0 - 0.01 * x**2 + 2e-5 * np.random.default_rng(0).standard_normal(201)
    assert local_optima(hill) > 5 and local_optima(hill, 2e-4) == 1
    hills = hill + np.where(x > 0.5, 0.005, 0.0)
    assert local_optima(hills, 2e-4) == 2 and local_optima(-hills, 2e-4) == 3
    assert local_optima(hills + hills[:, None], 4e-4) == 4


def test_a_low_hill_beside_a_high_one_counts_by_its_own_descent():
    values = np.array([0.0, 10.0, 1.0, 3.0, 2.5, 3.2, 0.0])
    assert [local_optima(values, rounding) for rounding in (0.0, 0.4, 0.5, 2.1, 2.2, 50.0)] == [3, 3, 2, 2, 1, 1]


@pytest.mark.parametrize("points", [31, 61, 121])
def test_a_ridge_askew_to_the_grid_is_one_hill(points):
    x, y = np.meshgrid(*[np.linspace(-1, 1, points)] * 2)
    ridge = -np.abs(y - 0.37 * x) + 0.01 * x
    assert local_optima(ridge) > 3 and local_optima(ridge, doubtful(ridge)) == 1
    hills = np.maximum(ridge, 0.3 - np.hypot(x - 0.2, y + 0.7)) + 0.2 * (np.hypot(x + 0.5, y - 0.7) < 0.2)
    assert local_optima(hills, doubtful(hills)) == 3
    line = ridge[0] + 0.05 * (np.arange(points) == 2)  # on a line none is doubted
    assert local_optima(line, doubtful(line)) == local_optima(line) == 2
