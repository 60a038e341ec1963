"""The cross-entropy method against a plain loop, its noise, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from searches import batch, candidates, check_continuation, ellipsoid, evaluations_until, joined, search_for, snapshot, sphere

from asyncrl.algos.cem import Cem, CemOptions, extra_variance
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError

N, SEED = 10, 4


def begun(options=CemOptions(), size=N, start=0.0, **more):  # noqa: B008
    search = Cem(options, size, SEED, **more)
    search.begin(np.full(size, start, np.float32))
    return search


def test_equals_a_plain_loop():
    options = CemOptions(population=20, elite=0.3, sigma=0.7, extra_std=0.2, extra_decay=4, smoothing=0.25)
    search = begun(options)
    directions = Directions(SEED, N, 20, (Setting(0.7),))
    mean, fitted, drawn = np.zeros(N), np.full(N, 0.7), np.full(N, 0.7)
    for t in range(6):
        eps = directions.block(t)
        points = [drawn.astype(np.float32) * e + mean.astype(np.float32) for e in eps]
        np.testing.assert_array_equal(candidates(search, t), points)
        returns = [ellipsoid(x) for x in points]
        search.update(t, batch(returns, t))
        best = np.array(sorted(points, key=ellipsoid)[-6:], np.float64)
        mean = 0.25 * mean + 0.75 * best.mean(axis=0)
        fitted = 0.25 * fitted + 0.75 * np.sqrt(np.mean((best - best.mean(axis=0)) ** 2, axis=0))
        drawn = np.sqrt(fitted**2 + 0.04 * max(0, 1 - (t + 1) / 4))
        np.testing.assert_allclose(search.state["mean"], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(search.state["deviation"], fitted, rtol=1e-5)


def test_noise_falls_linearly_to_nothing():
    options = CemOptions(extra_std=2.0, extra_decay=50)
    schedule = [extra_variance(options, t) for t in range(60)]
    assert schedule[0] == 0.0  # the first generation is drawn with sigma
    np.testing.assert_allclose(schedule[1:50], 4.0 * (1 - np.arange(1, 50) / 50))
    assert schedule[50:] == [0.0] * 10
    assert extra_variance(CemOptions(extra_std=2.0, extra_decay=0), 10**6) == 4.0
    search = begun(CemOptions(extra_std=2.0, extra_decay=3))
    figures = search_for(search, sphere, 4)
    assert [f["extra_variance"] for f in figures] == pytest.approx([4 * 2 / 3, 4 / 3, 0, 0])
    assert figures[0]["sigma_min"] > np.sqrt(4 * 2 / 3)


def test_noise_keeps_the_search_from_stopping_early():
    """From far away the fitted deviation shrinks before the mean arrives (Szita and Lorincz's point)."""
    reached = {}
    for extra in (0.0, 0.5):
        search = begun(CemOptions(sigma=0.3, population=40, elite=0.1, extra_std=extra, extra_decay=40), start=8.0)
        search_for(search, sphere, 80)
        reached[extra] = sphere(search.state["mean"])
    assert reached[0.0] < -10 and reached[0.5] > -0.1, reached


@pytest.mark.parametrize(("function", "goal", "most"), [(sphere, -1e-3, 2000), (ellipsoid, -5.0, 5000)])
def test_finds_the_best_point(function, goal, most):
    """From -10 and -22,000."""
    assert evaluations_until(begun(CemOptions(extra_std=0.1 if function is sphere else 0.5, extra_decay=20)), function, goal, most) > 64


def test_goes_up_not_down_and_wherever_the_problem_lies():
    near, far = begun(), begun(start=64.0)
    search_for(near, lambda x: sphere(x), 5)
    search_for(far, lambda x: sphere(np.asarray(x, np.float64) - 64.0), 5)
    assert sphere(near.state["mean"]) > sphere(np.zeros(N))
    np.testing.assert_allclose(far.state["mean"] - 64.0, near.state["mean"], atol=1e-3)


def test_continues_from_its_arrays_bit_for_bit():
    check_continuation(lambda: Cem(CemOptions(extra_decay=20), N, SEED), N, ellipsoid)


def test_a_flat_generation_changes_nothing():
    search = begun()
    search_for(search, sphere, 2)
    before = snapshot(search)
    for returns in (np.full(64, 3.0), np.full(64, np.nan), np.where(np.arange(64) == 5, 1.0, np.nan)):
        assert search.update(2, batch(returns, 2))["flat"] == 1.0
    assert all(np.array_equal(search.state[name], array) for name, array in before.items())


def test_missing_returns_are_left_out():
    search, fewer = begun(), begun()
    points = candidates(search, 0)
    returns = np.array([sphere(x) for x in points])
    missing = np.arange(64) % 4 == 0
    search.update(0, batch(np.where(missing, np.nan, returns), 0))
    best = points[~missing][np.argsort(-returns[~missing], kind="stable")[: round(0.2 * 48)]]
    np.testing.assert_allclose(search.state["mean"], best.astype(np.float64).mean(axis=0))
    fewer.update(0, batch(returns, 0))
    assert not np.array_equal(fewer.state["mean"], search.state["mean"])


@pytest.mark.parametrize("late", ["as-is", "drop"])
def test_late_points_are_those_that_were_evaluated(late):
    """A late generation's best points are the elite: the mean moves onto them only where they count."""
    search = begun(CemOptions(late=late, max_lag=3, extra_std=0.0, population=10))
    early = candidates(search, 100)  # drawn from version 0
    flat_since = search.update(0, batch(np.zeros(10), 0))
    assert flat_since["flat"] == 1.0
    search_for(search, sphere, 3, first=1)
    own = candidates(search, 4)
    both = joined(batch([sphere(x) - 1e6 for x in own], 4, version=4), batch([sphere(x) for x in early], 100, version=1))
    figures = search.update(4, both)
    values = np.array([sphere(x) for x in (own if late == "drop" else early)])
    chosen = (own if late == "drop" else early)[np.argsort(-values, kind="stable")[: 2 if late == "drop" else 4]]
    np.testing.assert_allclose(search.state["mean"], chosen.astype(np.float64).mean(axis=0))
    assert (figures["late_used"], figures["late_dropped"]) == ((0, 10) if late == "drop" else (10, 0))


def test_points_that_are_too_old_are_left_out():
    search = begun(CemOptions(max_lag=2, population=10))
    search_for(search, sphere, 5)
    figures = search.update(5, joined(batch(np.arange(10.0), 5), batch(np.full(10, 1e9), 90, version=2)))
    assert (figures["late_used"], figures["late_dropped"]) == (0, 10)


@pytest.mark.parametrize(
    ("options", "settings", "words"),
    [
        (CemOptions(sigma=0.0), (), "above 0"),
        (CemOptions(population=1), (), "at least 2"),
        (CemOptions(elite=0.01), (), "at least 2 candidates"),
        (CemOptions(elite=1.5), (), "up to 1"),
        (CemOptions(directions="hadamard"), (), "orthogonal"),  # type: ignore[arg-type]
        (CemOptions(), (Setting(1.0), Setting(2.0)), "allowed: one"),
    ],
)
def test_refuses(options, settings, words):
    with pytest.raises(UserError, match=words):
        Cem(options, N, SEED, settings)
