"""Late evaluations, for every search that takes them: each generation acts on the parameters of the one before, as in `pipelined`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from searches import batch, candidates, sphere

from asyncrl.algos.ars import Ars, ArsOptions
from asyncrl.algos.cem import Cem, CemOptions
from asyncrl.algos.es import Es, EsOptions
from asyncrl.algos.nes import Nes, NesOptions
from asyncrl.algos.tres import Tres, TresOptions
from asyncrl.blackbox.history import CURRENT
from asyncrl.blackbox.kinds import KINDS
from asyncrl.blackbox.ratios import gradient

N = 8
SEARCHES = {
    "es": (Es, EsOptions(population=20, sigma=0.1, weight_decay=0.0)),
    "tres": (Tres, TresOptions(population=20, sigma=0.1)),
    "ars": (Ars, ArsOptions(population=20, sigma=0.1, learning_rate=0.02)),
    "nes": (Nes, NesOptions(population=20, sigma=0.3)),
    "cem": (Cem, CemOptions(population=20, sigma=0.5)),
}


def pipelined(search, function, generations):
    """The figures of each update."""
    search.begin(np.zeros(N, np.float32))
    figures = []
    points = coming = candidates(search, 0)
    for g in range(generations):
        coming = candidates(search, g + 1)  # version g: the newest when generation g + 1 begins
        figures.append(search.update(g, batch([function(x) for x in points], g, version=max(g - 1, 0))))
        points = coming
    return figures


@pytest.mark.parametrize("late", ["ratio", "as-is", "drop"])
@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_learns_from_evaluations_that_are_one_version_late(name, late):
    kind, options = SEARCHES[name]
    if late == "ratio" and name in ("nes", "cem"):
        pytest.skip("has no ratio")
    search = kind(replace(options, late=late), N, 0)
    figures = pipelined(search, sphere, 150)
    skipped = sum("skipped_late" in one for one in figures)
    assert skipped <= 76, "what was left out leaves the parameters as they were, so the next evaluations are of them"
    assert name == "nes" or all("skipped_late" in one or not one.get("late_dropped") for one in figures)  # nes looks at each point
    mean = next(search.state[key] for key in ("theta", "mean") if key in search.state)
    assert sphere(mean) > 0.25 * sphere(np.zeros(N))


SLOPE = np.array([1.0, -2.0, 1.5, 1.0, -0.5, 0.5, 1.0, -1.0])
MOVES = np.array([0.25, 0.49, -0.7, 0.0, 0.1, 0.0, 0.0, 0.0])  # in sigmas


def linear(search):
    """A large generation of points around the parameters, evaluated by a function with that slope."""
    eps = search._sign[:, None] * search._directions.block(0)[search._direction]
    return (search.theta + 0.1 * eps) @ SLOPE


@pytest.mark.parametrize("estimator", ["antithetic", "vanilla", "forward"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_late_gradient_of_a_linear_function_is_its_slope(kind, estimator):
    """The function's slope is the same everywhere: how far the parameters have moved since must not show, whatever the directions."""
    options = EsOptions(population=40_000, estimator=estimator, directions=kind, shaping="none", sigma=0.1)
    search = Es(replace(options, population=40_001) if estimator == "forward" else options, N, 0)
    search.begin(np.zeros(N, np.float32))
    returns = linear(search)
    search._replaced(0, (0.1 * MOVES).astype(np.float32))
    kept, figures = search._keep(1, batch(returns, 0, version=0))
    assert figures["late_used"] == len(returns)
    estimate = gradient(search._samples(kept, kept.value)) / 0.1
    np.testing.assert_allclose(estimate, SLOPE, atol=0.1 if kind in ("gaussian", "orthogonal") else 0.06)  # ratios spread


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_on_a_linear_function_all_take_the_same_step(kind):
    options = TresOptions(population=40_000, directions=kind, shaping="none", sigma=0.1, learning_rate=0.5, epochs=8, mean_kl=1e9)
    moves = []
    for epochs in (1, 8):
        search = Tres(replace(options, epochs=epochs), N, 0)
        search.begin(np.zeros(N, np.float32))
        figures = search.update(0, batch(linear(search)))
        assert figures["epochs_done"] == epochs and figures["max_kl"] < options.max_kl
        moves.append(search.theta.copy())
    np.testing.assert_allclose(moves[1] / 0.1, 8 * moves[0] / 0.1, atol=0.02)
    assert np.abs(moves[1]).max() > 0.07  # 0.8 sigma: a ratio of normal densities for signs would have kept 0.8 of it


@pytest.mark.parametrize("late", ["ratio", "as-is"])
def test_a_move_that_the_trust_region_ended_leaves_its_evaluations_admissible(late):
    """TRES scales a move back to max_kl, where |move| = sigma in one coordinate: what acted before it is still to be used."""
    search = Tres(TresOptions(population=8, sigma=0.1, late=late, mean_kl=1e9), N, 0)
    search.begin(np.zeros(N, np.float32))
    bound, generator = 0, np.random.default_rng(0)
    for version in range(60):
        figures = search.update(version, batch(generator.standard_normal(8), version))
        rows = search._history.rows(version + 1, np.full(8, version))
        if figures["max_kl"] > 0.499 and np.mean((search._history.stale(int(rows[0]), search.theta) / 0.1) ** 2) < 0.25:
            bound += 1
            assert rows[0] != CURRENT and search._history.admitted(rows, search.theta, 0.1, late).all()
    assert bound > 10


@pytest.mark.parametrize("max_lag", [0, 1, 3])
def test_parameters_that_did_not_change_are_current_however_long_ago_they_began(max_lag):
    search = Es(replace(SEARCHES["es"][1], late="ratio", max_lag=max_lag), N, 0)
    search.begin(np.zeros(N, np.float32))
    for version in range(6):
        assert search.update(version, batch(np.zeros(20), version))["flat"] == 1.0
    assert (search._history.rows(6, np.zeros(3, np.int64)) == CURRENT).all()
    figures = search.update(6, batch(np.arange(20.0), 6, version=0))
    assert figures["late_dropped"] == figures["late_used"] == 0 and figures["update_norm"] > 0


def test_a_step_that_is_not_finite_is_left_out():
    search = Es(EsOptions(population=20, shaping="none"), N, 0)
    search.begin(np.zeros(N, np.float32))
    before = {name: array.copy() for name, array in search.state.items()}
    assert search.update(0, batch(np.linspace(-1e60, 1e60, 20), 0))["not_finite"] == 1.0
    for name, array in search.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert search.update(1, batch(np.arange(20.0), 1))["update_norm"] > 0
