"""Running mean and variance: what many writers fold and any reader merges is that of all rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrl.shared.statistics import fold, merge, standardise


def folded(parts, size):
    counts, means, squares = np.zeros(len(parts)), np.zeros((len(parts), size)), np.zeros((len(parts), size))
    for writer, chunks in enumerate(parts):
        for rows in chunks:
            counts[writer] = fold(counts[writer], means[writer], squares[writer], rows)
    return counts, means, squares


def merged(counts, means, squares):
    mean, square = np.full(means.shape[1], np.nan), np.full(means.shape[1], np.nan)
    return merge(counts, means, squares, mean, square), mean, square


@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=5),
    st.sampled_from([0.0, 1.0, 1e6]),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_any_split_among_writers_is_the_statistics_of_all_rows(seed, size, split, shift, dtype):
    generator = np.random.default_rng(seed)
    scale = 10.0 ** generator.integers(-2, 3, size)
    parts = [[(shift + scale * generator.standard_normal((rows, size))).astype(dtype) for rows in chunks] for chunks in split]
    everything = [rows for chunks in parts for rows in chunks]
    rows = np.concatenate(everything).astype(np.float64) if everything else np.zeros((0, size))
    count, mean, square = merged(*folded(parts, size))
    assert count == len(rows)
    if not len(rows):
        assert (mean == 0).all() and (square == 0).all()
        return
    spread = np.abs(rows).max()
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-12, atol=1e-12 * spread)
    np.testing.assert_allclose(square, ((rows - rows.mean(0)) ** 2).sum(0), rtol=1e-8, atol=1e-13 * len(rows) * spread**2)


def test_a_large_mean_does_not_swallow_the_variance():
    rows = 1e8 + np.random.default_rng(0).standard_normal((5000, 1))
    count, _, square = merged(*folded([[rows[:100]], [], [rows[100:]]], 1))
    assert square[0] / count == pytest.approx(rows.var(), rel=1e-6)


def test_the_merge_is_the_same_bits_every_time():
    parts = [[np.random.default_rng(i).standard_normal((7, 3))] for i in range(4)]
    numbers = folded(parts, 3)
    np.testing.assert_array_equal(merged(*numbers)[2], merged(*numbers)[2])


def test_standardised_rows_have_mean_zero_and_deviation_one():
    rows = (3 + np.array([0.5, 20.0]) * np.random.default_rng(0).standard_normal((1000, 2))).astype(np.float32)
    shift, scale = np.zeros(2, np.float32), np.zeros(2, np.float32)
    standardise(*merged(*folded([[rows]], 2)), shift, scale)
    standard = (rows - shift) * scale
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(0), 1, rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1])
def test_before_two_rows_nothing_is_changed(count):
    shift, scale = np.full(2, np.nan, np.float32), np.full(2, np.nan, np.float32)
    standardise(*merged(*folded([[np.full((count, 2), 5.0)]], 2)), shift, scale)
    assert (shift == 0).all() and (scale == 1).all()


def test_what_never_changes_becomes_zero():
    shift, scale = np.zeros(1, np.float32), np.zeros(1, np.float32)
    standardise(*merged(*folded([[np.full((50, 1), 0.5)]], 1)), shift, scale)
    assert np.isfinite(scale).all() and (0.5 - shift) * scale == 0
