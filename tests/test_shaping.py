"""Returns to utilities: ties, NaN, and nothing learned from a plateau."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrl.blackbox.shaping import SHAPINGS, flat, shape
from asyncrl.errors import UserError

NAN = float("nan")
RETURNS = st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6), st.just(NAN)), min_size=1, max_size=30)


@given(RETURNS)
@settings(max_examples=200, deadline=None)
def test_centred_ranks(returns):
    returns = np.array(returns)
    there = ~np.isnan(returns)
    shaped = shape(returns, "centered-ranks")
    assert shaped.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(shaped), ~there)
    if flat(returns):
        assert not shaped[there].any()
        return
    ranks = scipy.stats.rankdata(returns[there]) - 1
    np.testing.assert_allclose(shaped[there], ranks / (there.sum() - 1) - 0.5, atol=1e-15)
    assert abs(shaped[there].sum()) < 1e-12
    assert np.abs(shaped[there]).max() <= 0.5


def test_ranks_by_hand():
    np.testing.assert_allclose(
        shape(np.array([7.0, NAN, -2.0, 7.0, 9.0, -np.inf]), "centered-ranks"), [0.125, NAN, -0.25, 0.125, 0.5, -0.5]
    )
    # Only the order counts.
    np.testing.assert_array_equal(shape(np.array([1e300, 0, 1]), "centered-ranks"), shape(np.array([3.0, 1, 2]), "centered-ranks"))


@given(RETURNS)
@settings(max_examples=100, deadline=None)
def test_standardized(returns):
    returns = np.array(returns)
    there = ~np.isnan(returns)
    shaped = shape(returns, "standardized")
    np.testing.assert_array_equal(np.isnan(shaped), ~there)
    if flat(returns):
        assert not shaped[there].any()
    elif np.ptp(returns[there]) > 1e-3:
        assert abs(shaped[there].mean()) < 1e-6
        np.testing.assert_allclose(shaped[there].std(), 1, rtol=1e-6)


def test_standardized_returns_of_any_size():
    for size in (1e-200, 1.0, 1e200):
        np.testing.assert_allclose(shape(np.array([size, NAN, 3 * size]), "standardized"), [-1, NAN, 1])
    assert np.isnan(shape(np.array([1.0, np.inf, 2.0]), "standardized")).all()


@pytest.mark.parametrize("kind", ["centered-ranks", "standardized"])
@pytest.mark.parametrize("value", [0.0, -200.0, 0.1, 1e18])
def test_a_plateau_is_zero(kind, value):
    """A deviation that rounding leaves (0.1 has no exact mean) must not be blown up."""
    returns = np.full(40, value)
    assert flat(returns)
    np.testing.assert_array_equal(shape(returns, kind), np.zeros(40))


def test_pairs_that_tie_push_nowhere():
    """Ranks by position would give every pair V+ - V- = -1/(2n - 1)."""
    returns = np.repeat([3.0, 1.0, 2.0, 2.0], 2)
    shaped = shape(returns, "centered-ranks")
    np.testing.assert_array_equal(shaped[0::2], shaped[1::2])


def test_input_is_left_alone():
    returns = np.array([3.0, NAN, 1.0])
    for kind in SHAPINGS:
        shaped = shape(returns, kind)
        assert not np.shares_memory(shaped, returns)
        np.testing.assert_array_equal(returns, [3.0, NAN, 1.0])
    np.testing.assert_array_equal(shape(returns, "none"), returns)


def test_flat():
    assert flat(np.array([NAN, NAN])) and flat(np.array([NAN, 2.0])) and flat(np.array([]))
    assert not flat(np.array([NAN, 2.0, 3.0]))


def test_unknown_kind():
    with pytest.raises(UserError, match=r"unknown shaping 'centred-ranks'; did you mean 'centered-ranks'\?"):
        shape(np.ones(3), "centred-ranks")
