"""The two trees that draw, and refinement, against plain references."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from test_selections import latents_of, queries_of

from asyncrl.errors import UserError
from asyncrl.heads.implicit.selection.blocks import LANES
from asyncrl.heads.implicit.selection.cells import descend, keep, moment_features
from asyncrl.heads.implicit.selection.controls import RandomBlock
from asyncrl.heads.implicit.selection.cutting import principal_axis, select
from asyncrl.heads.implicit.selection.feature_draws import draw_leaf, query_features
from asyncrl.heads.implicit.selection.feature_tree import FeatureTree, highest_exponent
from asyncrl.heads.implicit.selection.principal_tree import PrincipalTree, depth_of
from asyncrl.heads.implicit.selection.refinement import Refinement, perturb, resample
from asyncrl.heads.implicit.selection.selection import SelectionOptions


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


# Principal tree.


@pytest.mark.parametrize("seed", range(5))
def test_selection_by_rank(seed):
    """Also with equal keys."""
    generator = np.random.default_rng(seed)
    keys = generator.integers(0, 1 + 10**seed, 101).astype(np.float32)
    before, rows = keys.copy(), np.arange(101)
    select(keys, rows, 10, 90, 33)
    np.testing.assert_array_equal(before[rows], keys)
    np.testing.assert_array_equal(np.sort(rows[10:90]), np.arange(10, 90))
    assert keys[10:33].max() <= keys[33:90].min()


def test_the_principal_axis():
    latents = latents_of(200, 4) * np.float32([0.1, 5.0, 1.0, 0.5])
    axis = np.empty(4)
    principal_axis(latents, np.arange(200), axis, np.empty((4, 4)))
    _, vectors = np.linalg.eigh(np.cov(latents.T.astype(np.float64)))
    assert abs(axis @ vectors[:, -1]) / np.linalg.norm(axis) == pytest.approx(1.0, abs=1e-6)
    principal_axis(np.ones((8, 4), np.float32), np.arange(8), axis, np.empty((4, 4)))
    np.testing.assert_array_equal(axis, [1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("actions", [1, 64, 65, 128, 1000, 5001])
def test_cells_hold_every_action_once(actions):
    tree = PrincipalTree.build(latents_of(actions, 4), SelectionOptions(), np.random.default_rng(0))
    ids = tree.arrays["ids"]
    cells = [np.unique(cell) for cell in ids]
    np.testing.assert_array_equal(np.sort(np.concatenate(cells)), np.arange(actions))
    assert len(ids) == 1 << depth_of(actions)
    assert max(map(len, cells)) - min(map(len, cells)) <= 1


@pytest.mark.parametrize("moments", [1, 2])
def test_nodes_hold_mean_and_covariance(moments):
    latents = latents_of(700, 4)
    tree = PrincipalTree.build(latents, SelectionOptions(moments=moments), np.random.default_rng(0))
    nodes, ids = tree.arrays["nodes"], tree.arrays["ids"]
    cells = len(ids)
    query, features = queries_of(1, 4)[0], np.empty(nodes.shape[1])
    moment_features(query, 0.5, features)
    for node in range(1, 2 * cells):
        level = node.bit_length() - 1
        first = (node << (cells.bit_length() - 1 - level)) - cells
        rows = np.unique(ids[first : first + (cells >> level)])
        inside = latents[rows].astype(np.float64)
        covariance = np.cov(inside.T, bias=True) if moments == 2 else np.zeros((4, 4))
        expected = 2 * query @ inside.mean(axis=0) + 0.5 * (2 * query) @ covariance @ (2 * query)
        assert nodes[node].astype(np.float64) @ features == pytest.approx(expected, abs=1e-4)


def test_the_best_are_kept():
    scores = np.random.default_rng(0).integers(0, 20, 100).astype(float)
    kept, count = np.empty((2, 7)), 0
    for number, score in enumerate(scores):
        count = keep(kept, count, score, number)
    np.testing.assert_array_equal(np.sort(kept[0]), np.sort(scores)[-7:])
    np.testing.assert_array_equal(scores[kept[1].astype(int)], kept[0])


@pytest.mark.parametrize(("actions", "size"), [(3000, 6), (20_000, 20)])
def test_the_best_cells_are_scanned(actions, size):
    latents = latents_of(actions, size)
    tree = PrincipalTree.build(latents, SelectionOptions(scanned=300), np.random.default_rng(0))
    ids = tree.arrays["ids"]
    cells, groups = len(ids), 1 << ((len(ids).bit_length() - 1) // 2)
    means = np.stack([latents[np.unique(cell)].mean(axis=0, dtype=np.float64) for cell in ids])
    sets = [latents[np.unique(part)].mean(axis=0, dtype=np.float64) for part in np.split(ids, groups)]
    for query in queries_of(20, size):
        opened = np.argsort(-(np.stack(sets) @ query), kind="stable")[: tree._opened]
        inside = np.concatenate([np.arange(group * cells // groups, (group + 1) * cells // groups) for group in opened])
        near = inside[np.argsort(-(means[inside] @ query), kind="stable")[:5]]
        rows = np.unique(ids[near])
        assert tree.best(query) == rows[np.argmax(latents[rows] @ query)]


def test_with_all_cells_scanned_it_is_exact():
    latents = latents_of(5000, 6)
    tree = PrincipalTree.build(latents, SelectionOptions(scanned=10**5), np.random.default_rng(0))
    for query in queries_of(50, 6):
        assert (latents @ query)[tree.best(query)] == pytest.approx((latents @ query).max(), abs=1e-5)


@pytest.mark.parametrize(("temperature", "most"), [(1.0, 0.001), (0.5, 0.005), (0.25, 0.02)])
def test_draws_by_moments_are_near_the_softmax(temperature, most):
    latents = latents_of(10_000, 20, unit=True)
    tree = PrincipalTree.build(latents, SelectionOptions(temperature=temperature), np.random.default_rng(0))
    for query in queries_of(5, 20):
        query /= np.linalg.norm(query)
        exact = softmax(latents.astype(np.float64) @ query / temperature)
        cells = np.array([exact[np.unique(cell)].sum() for cell in tree.arrays["ids"]])
        shares = tree.shares(query)
        assert shares.sum() == pytest.approx(1.0)
        assert 0.5 * np.abs(shares - cells).sum() < most


def test_a_draw_descends_by_the_shares():
    """A uniform number's place among the cumulated shares, and within the cell among the cumulated softmax."""
    latents, temperature = latents_of(1000, 6), 0.7
    tree = PrincipalTree.build(latents, SelectionOptions(temperature=temperature), np.random.default_rng(0))
    features = np.empty(tree.arrays["nodes"].shape[1])
    for query, uniform in zip(queries_of(50, 6), np.random.default_rng(3).random(50)):
        shares = tree.shares(query)
        reached = np.cumsum(shares)
        moment_features(query, temperature, features)
        cell, rest = descend(tree.arrays["nodes"], 1000, features, uniform)
        assert cell == np.searchsorted(reached, uniform, side="right")
        assert rest == pytest.approx((uniform - (reached[cell] - shares[cell])) / shares[cell], abs=1e-9)
        ids = tree.arrays["ids"][cell]
        count = len(np.unique(ids))
        within = np.cumsum(softmax(latents[ids[:count]].astype(np.float64) @ query / temperature))
        assert tree.draw(query, uniform) == ids[np.searchsorted(within, rest, side="right")]


# Random-feature tree.


def features_of(tree, query, temperature=1.0):
    features = np.empty(tree.arrays["vectors"].shape[1])
    query_features(query, tree.arrays["vectors"], temperature * tree.arrays["lengths"][1], features)
    return features


def test_nodes_are_sums_of_features():
    latents = latents_of(300, 5)
    tree = FeatureTree.build(latents, SelectionOptions(features=16), np.random.default_rng(0))
    nodes, ids, vectors = tree.arrays["nodes"], tree.arrays["ids"], tree.arrays["vectors"]
    radius, scale = tree.arrays["lengths"]
    y = scale * (latents.astype(np.float64) - latents.mean(axis=0, dtype=np.float64))
    assert np.linalg.norm(y, axis=1).max() == pytest.approx(scale * radius)
    psi = np.exp(y @ vectors - 0.5 * np.square(y).sum(axis=1, keepdims=True) - highest_exponent(vectors, scale * radius))
    assert psi.max() <= 1.0
    np.testing.assert_allclose(nodes[1], psi.sum(axis=0), rtol=1e-5)
    for leaf in range(5):
        np.testing.assert_allclose(nodes[8 + leaf], psi[np.unique(ids[leaf])].sum(axis=0), rtol=1e-5)
    assert not nodes[13:].any(), "leaves beyond the last block have no mass"
    np.testing.assert_array_equal(np.unique(ids), np.arange(300))


def test_features_estimate_the_kernel():
    """exp(x . y) is the mean of psi(x) . psi(y)."""
    latents, query = 0.3 * latents_of(64, 5), 0.5 * queries_of(1, 5)[0]
    centred = latents - latents.mean(axis=0)
    estimates = []
    for seed in range(200):
        tree = FeatureTree.build(latents, SelectionOptions(features=64), np.random.default_rng(seed))
        vectors = tree.arrays["vectors"]
        radius, scale = tree.arrays["lengths"]
        x = query / scale
        left_out = highest_exponent(vectors, scale * radius) + (x @ vectors).max() - 0.5 * x @ x
        estimates.append(tree.arrays["nodes"][1] @ features_of(tree, query) * np.exp(left_out) / 64)
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(np.exp(centred @ query).sum(), abs=4 * error)


def test_exact_masses_give_the_softmax():
    """A tree of one feature that is the softmax's own weight: draws of leaves in proportion to it, and none of padding."""
    weights = np.random.default_rng(0).random(11)
    weights[3] = 0.0
    nodes = np.zeros((32, 1), np.float32)
    nodes[16:27, 0] = weights
    for node in range(15, 0, -1):
        nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
    count, one = 20_000, np.ones(1)
    drawn = [draw_leaf(nodes, one, uniform)[0] for uniform in np.random.default_rng(1).random(count)]
    observed = np.bincount(drawn, minlength=16)
    assert not observed[11:].any() and observed[3] == 0
    expected = count * np.delete(weights, 3) / weights.sum()
    assert (np.square(np.delete(observed[:11], 3) - expected) / expected).sum() < 30.0, "chi-square with 9 degrees of freedom"
    assert {draw_leaf(nodes, one, uniform)[0] for uniform in (0.0, np.nextafter(1.0, 0.0), 1.0)} == {0, 10}


@pytest.mark.parametrize(("temperature", "most"), [(4.0, 0.002), (2.0, 0.004), (1.0, 0.009)])
def test_draws_by_features_are_near_the_softmax(temperature, most):
    """In total variation, and nearer than blocks that are drawn with equal probabilities."""
    latents = latents_of(10_000, 20, unit=True)
    tree = FeatureTree.build(latents, SelectionOptions(temperature=temperature), np.random.default_rng(0))
    ids = tree.arrays["ids"]
    found, equal = [], []
    for query in queries_of(20, 20):
        query /= np.linalg.norm(query)
        exact = softmax(latents.astype(np.float64) @ query / temperature)
        blocks = np.array([exact[np.unique(block)].sum() for block in ids])
        shares = tree.shares(query)
        assert shares.sum() == pytest.approx(1.0)
        found.append(0.5 * np.abs(shares - blocks).sum())
        equal.append(0.5 * np.abs(RandomBlock(tree.arrays, tree.options).shares(query) - blocks).sum())
    assert np.mean(found) < most
    assert np.mean(found) < 0.85 * np.mean(equal)


def test_a_draw_by_features_is_the_plain_one():
    latents = latents_of(1000, 6)
    tree = FeatureTree.build(latents, SelectionOptions(features=64, temperature=8.0), np.random.default_rng(0))
    ids, nodes = tree.arrays["ids"], tree.arrays["nodes"]
    leaves = len(nodes) // 2
    for query, uniform in zip(queries_of(50, 6), np.random.default_rng(3).random(50)):
        masses = nodes[leaves:].astype(np.float64) @ features_of(tree, query, 8.0)
        reached = np.cumsum(masses) / masses.sum()
        leaf = np.searchsorted(reached, uniform, side="right")
        rest = (uniform - (reached[leaf - 1] if leaf else 0.0)) * masses.sum() / masses[leaf]
        count = min(LANES, 1000 - leaf * LANES)
        within = np.cumsum(softmax(latents[ids[leaf][:count]].astype(np.float64) @ query / 8.0))
        drawn = tree.draw(query, uniform)
        assert drawn == ids[leaf][min(np.searchsorted(within, rest, side="right"), count - 1)]


def test_products_that_are_too_large_are_warned_of_once():
    latents, query = 10 * latents_of(200, 4), queries_of(1, 4)[0]
    tree = FeatureTree.build(latents, SelectionOptions(features=16), np.random.default_rng(0))
    with pytest.warns(UserWarning, match="raise the temperature"):
        tree.draw(query, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree.draw(query, 0.5)
        FeatureTree.build(latents, SelectionOptions(features=16, temperature=1000.0), np.random.default_rng(0)).draw(query, 0.5)


@pytest.mark.filterwarnings("ignore:.*feature tree")
def test_features_of_long_latents_do_not_overflow():
    latents = 1e4 * latents_of(200, 4)
    tree = FeatureTree.build(latents, SelectionOptions(features=8), np.random.default_rng(0))
    assert np.isfinite(tree.arrays["nodes"]).all() and (tree.arrays["nodes"][1] > 0).all()
    for query, uniform in zip(1e4 * queries_of(20, 4), np.random.default_rng(2).random(20)):
        assert 0 <= tree.draw(query, uniform) < 200


def test_draws_in_a_random_block():
    latents = latents_of(150, 4)
    blocks = RandomBlock.build(latents, SelectionOptions(), np.random.default_rng(0))
    ids = blocks.arrays["ids"].reshape(-1)[:150]
    query = queries_of(1, 4)[0]
    np.testing.assert_allclose(blocks.shares(query), np.array([64, 64, 22]) / 150)
    reached = np.concatenate([n / 150 * softmax(latents[part] @ query) for n, part in zip((64, 64, 22), np.split(ids, [64, 128]))]).cumsum()
    for uniform in np.random.default_rng(1).random(50):
        assert blocks.draw(query, uniform) == ids[np.searchsorted(reached, uniform, side="right")]


# Refinement.


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_samples_are_drawn_by_their_energies(temperature):
    generator = np.random.default_rng(0)
    samples, energies = generator.standard_normal((300, 3)).astype(np.float32), generator.standard_normal(300).astype(np.float32)
    drawn, uniform = np.empty_like(samples), 0.37
    resample(samples, energies, temperature, uniform, drawn)
    reached = np.cumsum(softmax(-energies.astype(np.float64) / temperature))
    expected = samples[np.searchsorted(reached, (np.arange(300) + uniform) / 300)]
    np.testing.assert_array_equal(drawn, expected)


def test_noise_stays_within_bounds():
    samples, noise = np.zeros((50, 2), np.float32), queries_of(50, 2)
    low, high = np.float32([-0.1, -5.0]), np.float32([0.2, 5.0])
    perturb(samples, noise, np.float32(0.5), low, high)
    np.testing.assert_allclose(samples, np.clip(0.5 * noise, low, high), rtol=1e-6)


def test_refinement_finds_a_lower_energy():
    """The minimum of a bowl, nearer than the best of the samples that it began with, in nearly all cases."""
    refine, better = Refinement(np.full(4, -1.0), np.full(4, 1.0), temperature=0.05), 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        target = generator.uniform(-0.8, 0.8, 4)
        calls = []

        def energy(samples, energies, target=target, calls=calls):
            energies[:] = np.square(samples - target).sum(axis=1)
            calls.append(energies.min())

        samples = generator.uniform(-1, 1, (200, 4)).astype(np.float32)
        best = refine(energy, samples, generator)
        assert np.square(samples[best] - target).sum() == pytest.approx(calls[-1], rel=1e-5)
        assert np.abs(samples).max() <= 1.0
        assert len(calls) == 3
        better += calls[-1] < calls[0]
    assert better >= 17


def test_refinement_repeats_with_the_same_generator():
    def energy(samples, energies):
        energies[:] = np.sin(3 * samples).sum(axis=1)

    found = []
    for _ in range(2):
        generator = np.random.default_rng(5)
        samples = generator.uniform(-1, 1, (64, 2)).astype(np.float32)
        best = Refinement(np.full(2, -1.0), np.full(2, 1.0))(energy, samples, generator)
        found.append((best, samples.tobytes()))
    assert found[0] == found[1]


def test_what_cannot_be_refined():
    with pytest.raises(UserError, match="without bounds"):
        Refinement(np.array([-np.inf]), np.array([1.0]))
    with pytest.raises(UserError, match="rounds = 0"):
        Refinement(np.zeros(1), np.ones(1), rounds=0)
