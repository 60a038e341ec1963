"""Bounds of a function's parameters: kept, refused, and no obstacle to the search."""

from __future__ import annotations

import numpy as np
import pytest

import asyncrl
from asyncrl.blackbox.space import Space, function_space
from asyncrl.errors import UserError

ALGORITHMS = ["es", "ars", "tres", "nes", "cem", "cma-es", "sep-cma"]
INF = np.inf


class Bounded:
    """The sphere around a minimum; raises where it is asked outside of its bounds."""

    def __init__(self, low, high, minimum):
        self.low, self.high, self.minimum = low, high, minimum

    def __call__(self, x):
        if not (np.all(self.low <= x) and np.all(x <= self.high)):
            raise ValueError(f"asked at {x}")
        return float(((x - self.minimum) ** 2).sum())


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize(
    ("low", "high", "minimum", "expected"),
    [
        ([0.0, -INF, -1.0], [1.0, 0.5, INF], 2.0, [1.0, 0.5, 2.0]),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [
            (0.0, 1.0, 0.8, [0.8, 0.8, 0.8]),
            (np.array([0.25, 0.25, -INF]), INF, -1.0, [0.25, 0.25, -1.0]),
        ]),
    ],
)
@pytest.mark.filterwarnings("ignore:all :UserWarning")
def test_the_best_point_of_a_box_is_found_and_the_function_never_asked_outside(algo, low, high, minimum, expected):
    function = Bounded(low, high, minimum)
    found = asyncrl.minimize(function, np.full(3, 0.4), algo, 3000, 2, sigma=0.2, bounds=(low, high))
    assert found.best_value == function(found.best_x), "which raises outside"
    function(found.x)
    np.testing.assert_allclose(found.best_x, expected, atol=0.1)


@pytest.mark.parametrize("algo", ["es", "nes", "cma-es", "sep-cma"])
def test_a_step_far_larger_than_the_box_is_no_trouble(algo):
    found = asyncrl.minimize(Bounded(0.0, 1e-3, 2e-4), np.full(2, 1e-3), algo, 400, 1, sigma=5.0, bounds=(0, 1e-3))
    assert found.best_value < 1e-6 and found.evaluations <= 400


@pytest.mark.parametrize("algo", ["nes", "cma-es"])
def test_bounds_that_are_infinite_or_far_change_nothing(algo):
    results = [
        asyncrl.minimize(lambda x: float(((x - 1) ** 2).sum()), np.zeros(3), algo, 300, 1, sigma=0.3, bounds=bounds).x
        for bounds in (None, (-INF, INF), (-INF, [INF, INF, INF]))
    ]
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_points_are_mirrored_into_the_box():
    space = Space(True, np.array([0.0, -INF, 2.0, -INF]), np.array([1.0, 3.0, INF, INF]))
    inside = np.array([0.3, 2.0, 2.5, -7.0])
    assert space.inside(inside) is inside
    for x, expected in [
        ([1.25, 3.5, 1.0, 9.0], [0.75, 2.5, 3.0, 9.0]),
        ([-0.25, 2.0, 2.0, 9.0], [0.25, 2.0, 2.0, 9.0]),
        ([2.25, 4.0, -1.0, 0.0], [0.25, 2.0, 5.0, 0.0]),
        ([-1.25, 0.0, 3.0, 0.0], [0.75, 0.0, 3.0, 0.0]),
        ([7.5, 0.0, 3.0, 0.0], [0.5, 0.0, 3.0, 0.0]),
    ]:
        np.testing.assert_allclose(space.inside(np.array(x)), expected, atol=1e-12)


@pytest.mark.parametrize("low, high", [(0.1, 0.3), (1e6, 1e6 + 1e-6), (-1e308, 1e308), (-3.0, 1e-300)])
def test_what_is_mirrored_lies_inside_to_the_last_digit(low, high):
    space = function_space((low, high), np.full(1000, low))
    points = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.random.default_rng(1).uniform(-3, 300, 1000)
    inside = space.inside(points)
    assert np.all((low <= inside) & (inside <= high))


@pytest.mark.parametrize(
    ("bounds", "line"),
    [
        (3.0, "bounds cannot be used"),
        ("ab", "bounds cannot be used"),
        ((0.0, 1.0, 2.0), "bounds of 3 parts"),
        (([0.0, 0.0], 1.0), "bounds of 2 parts of shapes (2,), () cannot be used for 3 parameters"),
        ([(0.0, 1.0)] * 3, "zip(*bounds)"),
        ((None, 1.0), "bounds contain nan"),
        ((0.0, np.nan), "bounds contain nan"),
        ((0.0, 0.0), "bounds 0 and 0 of parameter 0 cannot be used: the lower is not below the upper"),
        (([-1.0, 2.0, -1.0], 1.0), "bounds 2 and 1 of parameter 1"),
        ((INF, INF), "the lower is not below"),
        ((1.0, 2.0), "start 0.5 of parameter 0 lies outside of its bounds 1 and 2"),
        ((-1.0, [1.0, 0.25, 1.0]), "start 0.5 of parameter 1 lies outside"),
    ],
)
def test_bounds_that_cannot_be_used_are_refused_in_one_line(bounds, line):
    with pytest.raises(UserError) as caught:
        asyncrl.minimize(lambda x: 0.0, np.full(3, 0.5), "nes", 100, 1, bounds=bounds)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
