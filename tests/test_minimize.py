"""Black-box minimisation of a function: the same workers and learner as for policies."""

from __future__ import annotations

import os
import threading
import time
import warnings

import numpy as np
import pytest
from running import children

import asyncrl
from asyncrl.errors import UserError


def sphere(x):
    return float(((x - 1.0) ** 2).sum())


def test_the_minimum_is_reached():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asyncrl.minimize(sphere, np.zeros(5), "cma-es", 800, 2, sigma=0.3)
    assert found.value < 1e-4
    assert np.abs(found.x - 1).max() < 0.02
    assert (found.x.shape, found.x.dtype) == ((5,), np.float64)
    assert children() == []


def test_sync_finds_the_same_with_any_number_of_workers():
    options = {"sigma": 0.1, "learning_rate": 0.05, "population": 20}
    one, three = (asyncrl.minimize(sphere, np.zeros(4), "es", 1000, count, **options) for count in (1, 3))
    assert one.x.tobytes() == three.x.tobytes()
    assert (one.value, one.evaluations, one.updates) == (three.value, 1000, 49), "19 of the last generation, and one call at x"
    assert one.value < 0.05
    for found in (one, three):
        assert found.best_value == sphere(found.best_x) <= found.value == sphere(found.x)
    assert children() == []


@pytest.mark.parametrize("algo", ["es", "ars", "tres", "nes", "cem"])
def test_steps_are_in_units_of_sigma(algo):
    """A minimum that is 100 away is reached in as many steps as one that is 1 away, and es is not drawn back to 0."""
    found = asyncrl.minimize(lambda x: float(((x - 100.0) ** 2).sum()), np.zeros(3), algo, 12_000, 2, sigma=10.0, population=20)
    assert np.abs(found.x - 100.0).max() < 20.0


def test_what_was_found_is_not_lost_where_the_function_raises_at_the_end():
    home = os.getpid()

    def fails_at_home(x):
        if os.getpid() == home:
            raise ValueError("not here")
        return sphere(x)

    with pytest.warns(UserWarning, match="raised ValueError at the point that the search has reached: not here"):
        found = asyncrl.minimize(fails_at_home, np.zeros(3), "es", 200, 2, population=20)
    assert np.isnan(found.value) and found.best_value == sphere(found.best_x)


def test_the_best_point_of_a_function_is_one_that_was_evaluated():
    found = asyncrl.minimize(lambda x: np.nan if x[0] > 0 else sphere(x) + 10 * (x[1] > 0.02), [-0.1, 0.0], "es", 60, 2, population=20)
    assert found.best_value == sphere(found.best_x) < 10
    assert found.best_x[0] <= 0


def test_calls_of_a_noisy_function_are_averaged():
    def noisy(x):
        noisy.calls = getattr(noisy, "calls", 0) + 1
        return sphere(x) + (4.0 if noisy.calls % 2 else 0.0)

    found = asyncrl.minimize(noisy, np.zeros(3), "es", 400, 1, population=20, episodes=2, sigma=0.1)
    assert found.best_value == pytest.approx(sphere(found.best_x) + 2.0), "the mean of two calls"
    assert (found.evaluations, found.updates) == (400, 9), "each call counts"


def test_time_ends_it():
    began = time.monotonic()
    found = asyncrl.minimize(lambda x: time.sleep(0.01) or sphere(x), np.zeros(3), "es", 10**7, 2, mode="async", seconds=0.5)
    assert 0.5 <= found.seconds < 5
    assert time.monotonic() - began < 20
    assert 0 < found.evaluations < 10**4
    assert found.best_value <= found.value
    assert children() == []


def test_a_function_that_raises_ends_it_in_one_line():
    def broken(x):
        raise ZeroDivisionError("by nought")

    with pytest.raises(UserError) as caught:
        asyncrl.minimize(broken, np.zeros(3), "es", 100, 1)
    assert "the function raised ZeroDivisionError: by nought" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "in broken" in caught.value.__notes__[0], "whoever lets it through sees where"
    assert children() == []


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"start": [[1.0, 2.0]]}, "start of shape (1, 2)"),
        ({"start": []}, "start of shape (0,)"),
        ({"start": [1.0, np.inf]}, "finite"),
        ({"start": ["a"]}, "start cannot be used"),
        ({"algo": "cmaes"}, "did you mean 'cma-es'"),
        ({"algo": "a3c"}, "unknown black-box search 'a3c'"),
        ({"algo": None}, "unknown black-box search None"),
        ({"explore": 3}, "explore = 3 cannot be used (allowed: text)"),
        ({"explore": None}, "explore = None"),
        ({"mode": 0}, "mode = 0"),
        ({"sigm": 0.1}, "did you mean 'sigma'"),
        ({"sigma": 0.0}, "sigma = 0"),
        ({"survival_bonus": 3.0}, "survival_bonus cannot be used with minimize: it is about the episodes"),
        ({"normalize_observations": True}, "normalize_observations cannot be used"),
        ({"algo": "ars", "version": "v1"}, "version cannot be used"),
        ({"algo": "es", "episode_limit": 10}, "episode_limit cannot be used"),
        ({"episodes": 0}, "episodes = 0"),
        ({"algo": "es", "population": 7}, "even number"),
        ({"mode": "async"}, "needs a whole generation"),
        ({"mode": "asinc"}, "did you mean 'async'"),
        ({"evaluations": 0}, "evaluations = 0"),
        ({"seconds": -1.0}, "seconds = -1"),
        ({"workers": 0}, "workers = 0"),
        ({"function": 3}, "function is of type int"),
        ({"function": lambda x, lock=LOCK: 0.0}, "cannot travel"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(arguments, line):
    with pytest.raises(UserError) as caught:
        asyncrl.minimize(**{"function": sphere, "start": np.zeros(3), "workers": 2, **arguments})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
