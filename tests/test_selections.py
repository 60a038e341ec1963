"""Ways to select an action among many: equal to plain references, deterministic, and better than the controls."""

from __future__ import annotations

import numpy as np
import pytest

from asyncrl.errors import UserError
from asyncrl.heads.implicit.selection import CONTROLS, DRAWING_CONTROLS, SELECTIONS
from asyncrl.heads.implicit.selection.blocks import LANES, write_blocks
from asyncrl.heads.implicit.selection.brute import Brute, best_row
from asyncrl.heads.implicit.selection.selection import SelectionOptions
from asyncrl.shared.arrays import SharedArrays

KINDS = {**SELECTIONS, **CONTROLS, **DRAWING_CONTROLS}
DRAWING = [name for name, kind in KINDS.items() if kind.draws]


def latents_of(actions, size, seed=0, unit=False):
    """Random latents [N, d] with a mean that is not 0."""
    generator = np.random.default_rng(seed)
    latents = generator.standard_normal((actions, size)) + (0.0 if unit else 0.3)
    if unit:
        latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    return latents.astype(np.float32)


def queries_of(count, size, seed=1):
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def score(latents, queries, chosen):
    """Mean over queries [Q, d] of the chosen scores, where the best is 1 and the mean action's 0."""
    scores = queries @ latents.T
    best, mean = scores.max(axis=1), scores.mean(axis=1)
    return float(np.mean((scores[np.arange(len(queries)), chosen] - mean) / (best - mean)))


@pytest.mark.parametrize("size", [1, 3, 4, 6, 20])
@pytest.mark.parametrize("actions", [1, 2, 63, 64, 65, 1000])
def test_brute_is_argmax(actions, size):
    latents = latents_of(actions, size)
    brute = Brute.build(latents, SelectionOptions(), np.random.default_rng(0))
    for query in queries_of(20, size):
        scores = latents.astype(np.float64) @ query
        assert scores[brute.best(query)] == pytest.approx(scores.max(), abs=1e-5)
        assert scores[best_row(latents, query)] == pytest.approx(scores.max(), abs=1e-5)


@pytest.mark.parametrize("actions", [5, 64, 200, 1000])
def test_ties_go_to_the_first(actions):
    """Whole numbers, so that sums are exact in any order."""
    latents = np.random.default_rng(0).integers(-2, 3, (actions, 3)).astype(np.float32)
    options = SelectionOptions(scanned=4 * actions)
    chosen = {name: kind.build(latents, options, np.random.default_rng(0)) for name, kind in KINDS.items()}
    for query in np.random.default_rng(1).integers(-2, 3, (30, 3)).astype(np.float32):
        first = int(np.argmax(latents @ query))
        assert best_row(latents, query) == first
        assert {name: selection.best(query) for name, selection in chosen.items()} == dict.fromkeys(KINDS, first)


def test_the_layout_of_blocks():
    latents = latents_of(130, 5)
    order = np.random.default_rng(0).permutation(130)
    blocks = np.zeros((3, 5, LANES), np.float32)
    write_blocks(latents, order, blocks)
    flat = blocks.transpose(0, 2, 1).reshape(-1, 5)
    np.testing.assert_array_equal(flat[:130], latents[order])
    np.testing.assert_array_equal(flat[130:], np.broadcast_to(latents[order[-1]], (62, 5)))


@pytest.mark.parametrize("actions", [1, 64, 70, 3000])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_brute_draws_from_the_softmax(actions, temperature):
    latents = latents_of(actions, 6)
    brute = Brute.build(latents, SelectionOptions(temperature=temperature), np.random.default_rng(0))
    for query, uniform in zip(queries_of(20, 6), np.random.default_rng(2).random(20)):
        scores = latents.astype(np.float64) @ query / temperature
        reached = np.cumsum(np.exp(scores - scores.max()))
        drawn = brute.draw(query, uniform)
        below = reached[drawn - 1] if drawn else 0.0
        assert below / reached[-1] - 1e-5 <= uniform <= reached[drawn] / reached[-1] + 1e-5


@pytest.mark.filterwarnings("ignore:.*feature tree")
@pytest.mark.parametrize("name", DRAWING)
def test_draws_stay_within_the_actions(name):
    """At the ends of [0, 1), at temperatures at which most weights are 0, and with blocks that are not full."""
    for actions in (1, 65, 700):
        latents = 30 * latents_of(actions, 3)
        selection = KINDS[name].build(latents, SelectionOptions(temperature=40.0, features=16), np.random.default_rng(0))
        for query in queries_of(5, 3):
            drawn = [selection.draw(query, uniform) for uniform in (0.0, 0.5, np.nextafter(1.0, 0.0))]
            assert all(0 <= action < actions for action in drawn)


@pytest.mark.parametrize("name", KINDS)
def test_the_same_generator_gives_the_same_bits(name):
    latents, options = latents_of(3000, 6), SelectionOptions(scanned=256, features=32)
    one, same, other = (KINDS[name].build(latents, options, np.random.default_rng(seed)) for seed in (0, 0, 1))
    for key, array in one.arrays.items():
        assert array.tobytes() == same.arrays[key].tobytes(), key
    random = name in {"projections", "feature-tree", "random-subset", "random-block"}
    assert random == any(array.tobytes() != other.arrays[key].tobytes() for key, array in one.arrays.items())


@pytest.mark.parametrize("temperature", [1e-6, 1e-45, 1e-300])
def test_brute_at_a_temperature_of_almost_0_is_argmax(temperature):
    latents = latents_of(300, 4)
    brute = Brute.build(latents, SelectionOptions(temperature=temperature), np.random.default_rng(0))
    for query in queries_of(10, 4):
        assert {brute.draw(query, uniform) for uniform in (0.0, 0.5, 0.99)} == {brute.best(query)}


@pytest.mark.filterwarnings("ignore:.*feature tree")
@pytest.mark.parametrize("name", KINDS)
def test_an_index_in_shared_memory(name):
    """The arrays that `fill` wrote are all that another process needs."""
    kind, options, latents = KINDS[name], SelectionOptions(scanned=256, features=32), latents_of(1000, 6)
    before = latents.copy()
    segment = SharedArrays.allocate(kind.layout(1000, 6, options))
    own = kind.build(latents, options, np.random.default_rng(0), segment)
    np.testing.assert_array_equal(latents, before)
    latents[:] = 0.0
    attached = kind(segment, options)
    for query in queries_of(10, 6):
        assert attached.best(query) == own.best(query)
        if kind.draws:
            assert attached.draw(query, 0.3) == own.draw(query, 0.3)
    assert kind.bytes(1000, 6, options) == segment.size


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("actions", [1, 2, 40, 64, 65, 129])
def test_few_actions(name, actions):
    """All are scanned, so that every selection is exact."""
    latents = latents_of(actions, 2)
    selection = KINDS[name].build(latents, SelectionOptions(scanned=4 * actions, features=8), np.random.default_rng(0))
    for query in queries_of(10, 2):
        assert (latents @ query)[selection.best(query)] == pytest.approx((latents @ query).max(), abs=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_equal_latents(name):
    latents = np.full((300, 4), 0.5, np.float32)
    selection = KINDS[name].build(latents, SelectionOptions(scanned=64, features=8), np.random.default_rng(0))
    query = queries_of(1, 4)[0]
    assert 0 <= selection.best(query) < 300
    if selection.draws:
        assert {selection.draw(query, uniform) for uniform in np.linspace(0.0, 0.99, 40)} <= set(range(300))


@pytest.mark.parametrize("name", KINDS)
def test_a_query_that_is_not_finite_gets_some_action(name):
    selection = KINDS[name].build(latents_of(200, 4), SelectionOptions(features=8), np.random.default_rng(0))
    query = np.full(4, np.nan, np.float32)
    assert 0 <= selection.best(query) < 200
    if selection.draws:
        assert 0 <= selection.draw(query, 0.7) < 200


@pytest.mark.parametrize(
    ("latents", "part"),
    [
        (np.zeros((0, 3), np.float32), "no action"),
        (np.zeros(3, np.float32), "no action"),
        (np.array([[0.0, np.nan]], np.float32), "not finite"),
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_latents_that_cannot_be_used(name, latents, part):
    with pytest.raises(UserError, match=part):
        KINDS[name].build(latents, SelectionOptions(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"scanned": 0}, "scanned = 0"),
        ({"bits": 21}, "bits = 21"),
        ({"features": 0}, "features = 0"),
        ({"moments": 3}, "moments = 3"),
        ({"order": "haming"}, "did you mean 'hamming'"),
        ({"thresholds": "mean"}, "unknown thresholds 'mean'"),
    ],
)
def test_options_that_cannot_be_used(given, part):
    with pytest.raises(UserError, match=part):
        SelectionOptions(**given)


@pytest.mark.parametrize("name", ["projections", "principal-tree"])
def test_approximate_selections_are_better_than_the_controls(name):
    """At an equal number of scanned actions, 1/40 of them, with latents that fill a sphere."""
    latents, queries = latents_of(40_000, 20, unit=True), queries_of(100, 20)
    options = SelectionOptions(scanned=1024)
    scores = {}
    for kind in (KINDS[name], *CONTROLS.values()):
        selection = kind.build(latents, options, np.random.default_rng(0))
        scores[kind.name] = score(latents, queries, [selection.best(query) for query in queries])
    assert scores[name] > 0.95
    assert scores[name] > 0.05 + max(scores[control] for control in CONTROLS)


@pytest.mark.parametrize("name", CONTROLS)
def test_controls(name):
    latents, query = latents_of(500, 4), queries_of(1, 4)[0]
    selection = CONTROLS[name].build(latents, SelectionOptions(scanned=100), np.random.default_rng(0))
    ids = np.unique(selection.arrays["ids"])
    assert len(ids) == 100
    assert selection.best(query) == ids[np.argmax((latents @ query)[ids])]
    if name == "top-norm-subset":
        lengths = np.linalg.norm(latents, axis=1)
        assert lengths[ids].min() >= np.sort(lengths)[-100]
