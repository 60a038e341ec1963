"""The sum tree against sums, and its draws against their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asyncrl.shared.sum_tree import SumTree

SIZES = [1, 2, 3, 7, 8, 9, 100]


def filled(leaves, seed=0, share_of_zeros=0.3):
    generator = np.random.default_rng(seed)
    tree = SumTree.empty(leaves)
    weights = generator.exponential(size=leaves) * (generator.random(leaves) >= share_of_zeros)
    weights[generator.integers(leaves)] = 0.7
    tree.set(np.arange(leaves), weights)
    return tree, weights


@pytest.mark.parametrize("leaves", SIZES)
def test_every_node_is_the_sum_of_its_children(leaves):
    tree, weights = filled(leaves)
    for seed in range(50):
        generator = np.random.default_rng(seed)
        changed = generator.integers(leaves, size=5)
        new = 10.0 ** generator.integers(-9, 9, size=5)
        tree.set(changed, new)
        for leaf, weight in zip(changed, new):
            weights[leaf] = weight
    np.testing.assert_array_equal(tree.weights, weights)
    nodes = np.arange(1, tree.array.size // 2)
    np.testing.assert_array_equal(tree.array[nodes], tree.array[2 * nodes] + tree.array[2 * nodes + 1])
    assert tree.total == pytest.approx(weights.sum(), rel=1e-14)


def test_no_error_builds_up_and_rebuilding_changes_nothing():
    tree, weights = filled(1000)
    generator = np.random.default_rng(1)
    for _ in range(2000):
        tree.set(generator.integers(1000, size=16), 10.0 ** generator.uniform(-12, 12, size=16))
    tree.set(np.arange(1000), weights)
    fresh, _ = filled(1000)
    np.testing.assert_array_equal(tree.array, fresh.array)
    tree.rebuild()
    np.testing.assert_array_equal(tree.array, fresh.array)


def test_a_writers_half_done_work_is_mended():
    tree, _ = filled(100)
    intact = tree.array.copy()
    tree.array[1:64] = -1
    tree.rebuild()
    np.testing.assert_array_equal(tree.array[1:], intact[1:])


@pytest.mark.parametrize("leaves", SIZES)
def test_draws_follow_the_weights(leaves):
    """Chi-square at the 1e-4 level; stratified draws spread less than independent ones, so a wrong index is what fails."""
    tree, weights = filled(leaves)
    generator = np.random.default_rng(3)
    drawn = np.concatenate([tree.draw(generator, 64)[0] for _ in range(2000)])
    counts = np.bincount(drawn, minlength=leaves)
    assert (counts[weights == 0] == 0).all()
    positive = weights > 0
    expected = weights[positive] / weights.sum() * drawn.size
    if positive.sum() > 1:
        assert stats.chisquare(counts[positive], expected).pvalue > 1e-4


@given(st.integers(1, 40), st.integers(1, 64), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_every_stratum_gives_the_leaf_in_which_its_mass_falls(leaves, count, seed):
    tree, weights = filled(leaves, seed)
    drawn, given_weights = tree.draw(np.random.default_rng(seed), count)
    mass = (np.arange(count) + np.random.default_rng(seed).random(count)) / count * weights.sum()
    ends = np.cumsum(weights)
    np.testing.assert_array_equal(given_weights, weights[drawn])
    assert (ends[drawn] >= mass * (1 - 1e-12)).all()
    assert (ends[drawn] - weights[drawn] <= mass * (1 + 1e-12)).all()


def test_rounding_never_ends_in_an_empty_leaf():
    tree = SumTree.empty(6)
    tree.set(np.array([0, 1, 2]), np.array([0.1, 0.2, 0.3]))
    ends = type("Ends", (), {"random": staticmethod(lambda count: np.full(count, np.nextafter(1, 2)))})
    for count in (1, 2, 3):
        assert tree.draw(ends, count)[0][-1] == 2


@pytest.mark.parametrize(
    ("leaf", "weight", "text"),
    [(-1, 1.0, "leaves"), (5, 1.0, "leaves"), (0, -1.0, "weights"), (0, np.nan, "weights"), (0, np.inf, "weights")],
)
def test_what_cannot_be_set_changes_nothing(leaf, weight, text):
    tree, _ = filled(5)
    before = tree.array.copy()
    with pytest.raises(ValueError, match=text):
        tree.set(np.array([1, leaf]), np.array([2.0, weight]))
    np.testing.assert_array_equal(tree.array, before)


def test_nothing_can_be_drawn_without_weight():
    with pytest.raises(ValueError, match="without weight"):
        SumTree.empty(3).draw(np.random.default_rng(0), 1)
