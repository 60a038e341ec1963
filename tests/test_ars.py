"""Augmented random search: golden values, the best directions, and ties."""

from __future__ import annotations

import numpy as np
import pytest
from searches import assert_same_state, batch, snapshot

from asyncrl.algos.ars import Ars, ArsOptions
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.search import Setting

N, SEED = 5, 2
RETURNS = np.array([1.0, 2.0, 6.0, 0.0, 4.0, 4.0, 3.0, 5.0])  # r+ and r- of 4 directions: max 2, 6, 4, 5


def moved(top, returns=RETURNS, **options):
    search = Ars(ArsOptions(population=len(returns), top=top, learning_rate=0.5, **options), N, SEED)
    search.begin(np.full(N, 0.1, np.float32))
    figures = search.update(0, batch(returns))
    return search.theta - np.float64(np.float32(0.1)), figures


def expected(weights, top, deviation, kind="gaussian"):
    eps = Directions(SEED, N, len(weights), (Setting(0.03, kind),)).block(0).astype(np.float64)
    return 0.5 / (top * deviation) * np.array(weights) @ eps


@pytest.mark.parametrize(
    ("top", "weights", "deviation"),
    [
        (0, [-1, 6, 0, -2], np.sqrt(3.609375)),
        (4, [-1, 6, 0, -2], np.sqrt(3.609375)),
        (2, [0, 6, 0, -2], np.sqrt(5.25)),  # 6 0 3 5
        (1, [0, 6, 0, 0], 3.0),
    ],
)
def test_golden_values(top, weights, deviation):
    move, figures = moved(top)
    np.testing.assert_allclose(move, expected(weights, top or 4, deviation), rtol=1e-6, atol=1e-7)
    assert figures["return_std"] == pytest.approx(deviation)


@pytest.mark.parametrize("kind", ["orthogonal", "hadamard"])
def test_other_directions(kind):
    move, _ = moved(2, directions=kind)
    np.testing.assert_allclose(move, expected([0, 6, 0, -2], 2, np.sqrt(5.25), kind), rtol=1e-6, atol=1e-7)


def test_of_ties_exactly_so_many_and_the_first():
    move, _ = moved(2, np.array([0.0, 3.0, 3.0, 1.0, 2.0, 3.0, 3.0, 3.0]))
    np.testing.assert_allclose(move, expected([-3, 2, 0, 0], 2, np.std([0, 3, 3, 1])), rtol=1e-6, atol=1e-7)


def test_no_deviation_among_the_kept_is_flat():
    returns = np.array([0.0, 1.0, 7.1, 7.1, 7.1, 7.1, 2.0, 3.0])
    search = Ars(ArsOptions(population=8, top=2), N, SEED)
    search.begin(np.full(N, 0.1, np.float32))
    kept = snapshot(search)
    assert search.update(0, batch(returns))["flat"] == 1.0
    assert_same_state(search, kept)


def test_it_needs_both_of_a_pair():
    """The half of a pair that is in another batch does not count, however good."""
    search, alone = (Ars(ArsOptions(population=8), N, SEED) for _ in range(2))
    for which in (search, alone):
        which.begin(np.zeros(N, np.float32))
    search.update(0, batch(np.append(RETURNS[:6], 1e3), ticket=np.arange(7)))
    alone.update(0, batch(RETURNS[:6], ticket=np.arange(6)))
    np.testing.assert_array_equal(search.theta, alone.theta)
    assert np.abs(search.theta).min() > 0


def test_scale_and_shift_of_returns_do_not_matter():
    np.testing.assert_allclose(moved(2, 100 * RETURNS - 3000)[0], moved(2)[0], rtol=1e-6, atol=1e-7)


def test_version_1_does_not_normalize_observations():
    assert ArsOptions().normalize_observations
    assert not ArsOptions(version="v1").normalize_observations
