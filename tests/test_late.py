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
