"""SNES and xNES against plain loops, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from searches import batch, candidates, check_continuation, ellipsoid, evaluations_until, joined, search_for, snapshot, sphere

from asyncrl.algos.nes import Nes, NesOptions, exponential, utilities
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError

N, SEED = 10, 5
KINDS = ("snes", "xnes")


def begun(options=NesOptions(), size=N, start=0.0):  # noqa: B008
    search = Nes(options, size, SEED)
    search.begin(np.full(size, start, np.float32))
    return search


def test_utilities_are_the_papers():
    """The formula written out for n = 4: ln 3 - ln k, not below 0."""
    raw = np.array([math.log(3), math.log(3) - math.log(2), 0.0, 0.0])
    np.testing.assert_allclose(utilities(np.array([0.5, -2.0, 7.0, -9.0])), (raw / raw.sum() - 0.25)[[1, 2, 0, 3]], atol=1e-15)


def test_equal_returns_share_their_utilities():
    tied = utilities(np.array([1.0, 3.0, 3.0, 0.0, 1.0, 1.0]))
    distinct = utilities(np.array([3.0, 5.0, 4.0, 0.0, 2.0, 1.0]))
    np.testing.assert_allclose(tied[[1, 2]], distinct[[1, 2]].mean())
    np.testing.assert_allclose(tied[[0, 4, 5]], distinct[[0, 4, 5]].mean())
    assert tied.sum() == pytest.approx(0.0, abs=1e-15)


def test_snes_equals_a_plain_loop():
    search = begun(NesOptions(population=12, sigma=0.4))
    directions = Directions(SEED, N, 12, (Setting(0.4),))
    mean, sigma = np.zeros(N), np.full(N, 0.4)
    for g in range(6):
        s = directions.block(g).astype(np.float64)
        points = candidates(search, g)
        np.testing.assert_allclose(points, mean + sigma * s, atol=1e-6)
        returns = np.array([ellipsoid(x) for x in points])
        search.update(g, batch(returns, g))
        order = np.argsort(-returns)
        raw = [max(0.0, math.log(12 / 2 + 1) - math.log(k + 1)) for k in range(12)]
        gradient_mean, gradient_sigma = np.zeros(N), np.zeros(N)
        for k, i in enumerate(order):
            u = raw[k] / sum(raw) - 1 / 12
            gradient_mean += u * s[i]
            gradient_sigma += u * (s[i] ** 2 - 1)
        mean = mean + sigma * gradient_mean
        sigma = sigma * np.exp((3 + math.log(N)) / (5 * math.sqrt(N)) / 2 * gradient_sigma)
        np.testing.assert_allclose(search.state["mean"], mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(search.state["sigma"], sigma, rtol=1e-9)


def test_xnes_equals_a_plain_loop():
    search = begun(NesOptions(kind="xnes", sigma=0.4))
    population = 4 + math.floor(3 * math.log(N))
    assert search.tickets == population
    directions = Directions(SEED, N, population, (Setting(0.4),))
    mean, sigma, shape = np.zeros(N), 0.4, np.eye(N)
    rate = (9 + 3 * math.log(N)) / (5 * N * math.sqrt(N))
    for g in range(8):
        s = directions.block(g).astype(np.float64)
        points = candidates(search, g)
        np.testing.assert_allclose(points, [mean + sigma * shape @ draw for draw in s], atol=1e-5)
        returns = np.array([ellipsoid(x) for x in points])
        search.update(g, batch(returns, g))
        gradient_mean, gradient = np.zeros(N), np.zeros((N, N))
        for u, draw in zip(utilities(returns), s):
            gradient_mean += u * draw
            gradient += u * (np.outer(draw, draw) - np.eye(N))
        mean = mean + sigma * shape @ gradient_mean
        overall = np.trace(gradient) / N
        sigma *= math.exp(rate / 2 * overall)
        shape = shape @ series(rate / 2 * (gradient - overall * np.eye(N)))
        np.testing.assert_allclose(search.state["mean"], mean, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(search.state["sigma"] * search.state["shape"], sigma * shape, rtol=1e-8, atol=1e-10)


def series(matrix):
    """The exponential of a matrix by its power series."""
    term = total = np.eye(len(matrix))
    for k in range(1, 30):
        term = term @ matrix / k
        total = total + term
    return total


def test_exponential_is_that_of_the_series():
    matrix = np.random.default_rng(0).standard_normal((6, 6)) / 10
    symmetric = matrix + matrix.T
    np.testing.assert_allclose(exponential(symmetric), series(symmetric), atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "function", "goal", "most"),
    [("snes", sphere, -1e-3, 3000), ("snes", ellipsoid, -1e-2, 8000), ("xnes", sphere, -1e-3, 4000)],
)
def test_finds_the_best_point(kind, function, goal, most):
    assert evaluations_until(begun(NesOptions(kind=kind, sigma=0.5)), function, goal, most) > 100


def test_xnes_learns_a_rotated_scale_where_snes_cannot():
    """After as many evaluations, xNES is nearer on an ellipsoid whose axes are not those of the parameters."""
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0]
    reached = {}
    for kind in KINDS:
        search = begun(NesOptions(kind=kind, sigma=0.5, population=16), size=4)
        search_for(search, lambda x: ellipsoid(rotation @ (np.asarray(x, np.float64) - 1) + 1), 150)
        reached[kind] = ellipsoid(rotation @ (search.state["mean"] - 1) + 1)
    assert reached["xnes"] > 0.01 * reached["snes"] and reached["xnes"] > -1e-4, reached


@pytest.mark.parametrize("kind", KINDS)
def test_goes_up_not_down_and_wherever_the_problem_lies(kind):
    near, far = begun(NesOptions(kind=kind)), begun(NesOptions(kind=kind), start=64.0)
    search_for(near, lambda x: sphere(x), 8)
    search_for(far, lambda x: sphere(np.asarray(x, np.float64) - 64.0), 8)
    assert sphere(near.state["mean"]) > sphere(np.zeros(N))
    np.testing.assert_allclose(far.state["mean"] - 64.0, near.state["mean"], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_continues_from_its_arrays_bit_for_bit(kind):
    check_continuation(lambda: Nes(NesOptions(kind=kind), N, SEED), N, ellipsoid)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_generation_changes_nothing(kind):
    search = begun(NesOptions(kind=kind))
    search_for(search, sphere, 2)
    before = snapshot(search)
    count = search.tickets
    for returns in (np.full(count, 3.0), np.full(count, np.nan), np.where(np.arange(count) == 5, 1.0, np.nan)):
        assert search.update(2, batch(returns, 2))["flat"] == 1.0
    assert all(np.array_equal(search.state[name], array) for name, array in before.items())


def test_missing_returns_are_left_out():
    search = begun(NesOptions(population=8))
    s = Directions(SEED, N, 8, (Setting(0.1),)).block(0).astype(np.float64)
    returns = np.array([1.0, np.nan, 5.0, 2.0, np.nan, 3.0, 4.0, 0.0])
    search.update(0, batch(returns, 0))
    there = ~np.isnan(returns)
    np.testing.assert_allclose(search.state["mean"], 0.1 * utilities(returns[there]) @ s[there], rtol=1e-9)


def test_late_points_are_seen_from_the_present_distribution():
    search = begun(NesOptions(population=8, sigma=0.3, max_lag=3))
    early = candidates(search, 50)
    search_for(search, sphere, 2)
    state = snapshot(search)
    s = Directions(SEED, N, 8, (Setting(0.3),)).block(2).astype(np.float64)
    returns = np.arange(16.0)
    figures = search.update(2, joined(batch(returns[:8], 2), batch(returns[8:], 50, version=0)))
    draws = np.concatenate([s, (early - state["mean"]) / state["sigma"]])
    np.testing.assert_allclose(search.state["mean"], state["mean"] + state["sigma"] * (utilities(returns) @ draws), rtol=1e-6)
    assert (figures["late_used"], figures["late_dropped"]) == (8, 0)


@pytest.mark.parametrize(
    ("options", "version"), [(NesOptions(late="drop"), 3), (NesOptions(max_lag=1), 2), (NesOptions(kind="xnes"), 3)], ids=str
)
def test_points_that_are_too_old_are_left_out(options, version):
    search, alone = begun(options), begun(options)
    search_for(search, sphere, 4)
    search_for(alone, sphere, 4)
    own = batch(np.arange(float(search.tickets)), 4)
    figures = search.update(4, joined(own, batch(np.full(search.tickets, 1e9) + np.arange(search.tickets), 90, version=version)))
    alone.update(4, own)
    assert (figures["late_used"], figures["late_dropped"]) == (0, search.tickets)
    np.testing.assert_array_equal(search.state["mean"], alone.state["mean"])


def test_points_that_the_present_distribution_would_not_draw_are_left_out():
    search = begun(NesOptions(population=8, sigma=1.0))
    search.update(0, batch(np.arange(8.0), 0))
    search.state["sigma"] *= 0.01
    figures = search.update(1, joined(batch(np.arange(8.0), 1), batch(np.full(8, 1e3) + np.arange(8), 70, version=0)))
    assert (figures["late_used"], figures["late_dropped"]) == (0, 8)
    assert search.state["sigma"].max() < 0.1


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        (NesOptions(kind="xnes"), 301, "snes and es"),
        (NesOptions(kind="xnse"), 3, "did you mean 'xnes'"),  # type: ignore[arg-type]
        (NesOptions(sigma=-1.0), 3, "above 0"),
        (NesOptions(population=1), 3, "at least 2"),
        (NesOptions(directions="discrete"), 3, "gaussian"),  # type: ignore[arg-type]
    ],
)
def test_refuses(options, size, words):
    with pytest.raises(UserError, match=words):
        Nes(options, size, SEED)
