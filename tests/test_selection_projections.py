"""Signed random projections against a plain reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from test_selections import latents_of, queries_of

from asyncrl.heads.implicit.selection.blocks import LANES
from asyncrl.heads.implicit.selection.heaps import push
from asyncrl.heads.implicit.selection.probing import MARGINS, best_by_projections, bits_of_flips, following, place_of, sort_margins
from asyncrl.heads.implicit.selection.projections import Projections, _lengthened, bits_of, masks_by_distance, orthogonal_gaussians
from asyncrl.heads.implicit.selection.selection import SelectionOptions


def test_vectors_are_orthogonal_in_blocks_and_normal():
    vectors = orthogonal_gaussians(np.random.default_rng(0), 50, 20)
    for first in (0, 20, 40):
        products = vectors[first : first + 20] @ vectors[first : first + 20].T
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-10)
    many = np.concatenate([orthogonal_gaussians(np.random.default_rng(seed), 5, 5) for seed in range(2000)])
    np.testing.assert_allclose(many.T @ many / len(many), np.eye(5), atol=0.06)
    assert np.square(many).sum(axis=1).mean() == pytest.approx(5.0, rel=0.03)
    assert np.square(many).sum(axis=1).var() == pytest.approx(10.0, rel=0.1)


def test_one_more_number_makes_lengths_equal():
    latents, centre = latents_of(1000, 6), np.full(6, 0.2)
    more, longest = _lengthened(latents, centre)
    lengths = np.sqrt(np.square(latents - centre).sum(axis=1) + more**2)
    assert np.ptp(lengths) < 1e-12
    assert longest == pytest.approx(lengths[0])


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_masks_come_by_hamming_distance(bits):
    masks = masks_by_distance(bits)
    assert sorted(masks) == list(range(1 << bits))
    distances = [int(mask).bit_count() for mask in masks]
    assert distances == sorted(distances)


@pytest.mark.parametrize("bits", [1, 2, 6])
def test_sets_of_flips_come_once_each_by_cost(bits):
    margins, ranks = np.random.default_rng(bits).random(bits), np.empty(bits)
    sets = [one for n in range(1, bits + 1) for one in itertools.combinations(range(bits), n)]
    costs = {sum(1 << i for i in one): sum(margins[i] for i in one) for one in sets}
    sort_margins(margins, ranks)
    heap, found = np.empty((2, 200)), []
    size = push(heap, 0, margins[0], 1.0)
    while size:
        found.append(bits_of_flips(int(heap[1, 0]), ranks))
        size = following(heap, size, margins)
    assert found == sorted(costs, key=costs.__getitem__)


def test_neighbouring_buckets_differ_in_one_bit():
    places = [place_of(key) for key in range(64)]
    keys = np.argsort(places)
    assert sorted(places) == list(range(64))
    assert all(int(one ^ other).bit_count() == 1 for one, other in itertools.pairwise(keys))


def reference(latents, query, options, seed):
    """The action that a plain search of the buckets picks: keys of all actions, buckets sorted by cost, whole blocks of 64."""
    size, bits = latents.shape[1], bits_of(len(latents), options)
    vectors = orthogonal_gaussians(np.random.default_rng(seed), bits, size + 1)
    median = options.thresholds == "median"
    z = latents.astype(np.float64) - (0.0 if median else latents.mean(axis=0, dtype=np.float64))
    squares = np.square(z).sum(axis=1)
    projected = np.column_stack([z, np.sqrt(squares.max() - squares)]) @ vectors.T
    thresholds = np.median(projected, axis=0) if median else np.zeros(bits)
    keys = (projected > thresholds) @ (1 << np.arange(bits))
    gray = np.array([place ^ (place >> 1) for place in range(1 << bits)])
    order = np.argsort(np.argsort(gray)[keys], kind="stable")
    scale = np.sqrt(squares.max()) / np.linalg.norm(query) if median else 1.0
    aim = scale * (vectors[:, :size] @ query) - thresholds
    differ = ((gray[:, None] >> np.arange(bits)) & 1) != (aim > 0)
    cost = differ @ np.abs(aim) if options.order == "margins" else differ.sum(axis=1) + 1e-6 * (gray ^ ((aim > 0) @ (1 << np.arange(bits))))
    seen, rows = [], 0
    for place in np.argsort(cost, kind="stable"):
        inside = np.flatnonzero(keys[order] == gray[place])
        if rows >= options.scanned:
            break
        if len(inside):
            first, last = inside[0] // LANES, inside[-1] // LANES + 1
            seen += list(order[first * LANES : last * LANES])
            rows += (last - first) * LANES
    scores = latents.astype(np.float64) @ query
    return max(seen, key=lambda action: (scores[action], -action)), rows


@pytest.mark.parametrize("order", ["margins", "hamming"])
@pytest.mark.parametrize("thresholds", ["centred", "median"])
@pytest.mark.parametrize(("actions", "size", "bits"), [(1000, 6, 0), (5000, 20, 0), (3000, 4, 5)])
def test_it_is_the_plain_search(order, thresholds, actions, size, bits):
    latents = latents_of(actions, size)
    options = SelectionOptions(scanned=300, order=order, thresholds=thresholds, bits=bits)
    selection = Projections.build(latents, options, np.random.default_rng(3))
    for query in queries_of(20, size):
        chosen, rows = best_by_projections(*selection.arguments[:6], query, *selection.arguments[6:])
        assert (chosen, rows) == reference(latents, query, options, 3)
        assert selection.best(query) == chosen


@pytest.mark.parametrize("order", ["margins", "hamming"])
def test_all_buckets_together_are_all_actions(order):
    latents = latents_of(1500, 6)
    selection = Projections.build(latents, SelectionOptions(scanned=10**6, order=order, bits=4), np.random.default_rng(0))
    np.testing.assert_array_equal(np.unique(selection.arrays["ids"]), np.arange(1500))
    for query in queries_of(20, 6):
        assert (latents @ query)[selection.best(query)] == pytest.approx((latents @ query).max(), abs=1e-5)


def test_where_all_near_buckets_are_empty_others_are_searched():
    """Latents in one direction, a query in the opposite one, and a heap that holds few sets."""
    latents = (np.array([1.0, 0.0, 0.0]) + 1e-3 * latents_of(500, 3)).astype(np.float32)
    selection = Projections.build(latents, SelectionOptions(bits=12, thresholds="median", scanned=1), np.random.default_rng(0))
    scratch = np.empty(LANES, np.float32), np.empty(24), np.empty((2, 4))
    for query in (*-latents[:5], *queries_of(20, 3)):
        chosen, rows = best_by_projections(*selection.arguments[:6], query, np.array([1, MARGINS]), *scratch)
        assert 0 <= chosen < 500 and rows >= LANES
