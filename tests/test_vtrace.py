"""V-trace against the paper's sums written as plain loops, and the figures of importance ratios against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrl.learners.estimators import generalised_advantages
from asyncrl.learners.vtrace import importance_figures, vtrace
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED

BARS = st.sampled_from([0.5, 1.0, 2.0, np.inf])
SHARES = st.sampled_from([0.0, 0.4, 0.95, 1.0])


def episodes(ended):
    """(first, last) of the pieces of a trace [T] that no bootstrap crosses."""
    ends = [t for t in range(len(ended)) if ended[t] != GOES_ON or t == len(ended) - 1]
    return [(before + 1, end) for before, end in zip([-1, *ends], ends)]


def plain(reward, value, next_value, ended, log_ratio, gamma, lam, rho_bar, c_bar):
    """Equation 1 of the paper as it stands: v_s = V_s + sum over t of gamma^(t-s) (product of c_i, s <= i < t) delta_t."""
    target, advantage = np.zeros(reward.shape), np.zeros(reward.shape)
    ratio = np.exp(log_ratio.astype(float))
    rho, c = np.minimum(rho_bar, ratio), lam * np.minimum(c_bar, ratio)
    ahead = np.where(ended == TERMINATED, 0.0, next_value)
    delta = rho * (reward + gamma * ahead - value)
    for e in range(reward.shape[1]):
        for first, last in episodes(ended[:, e]):
            for s in range(first, last + 1):
                terms = [gamma ** (t - s) * np.prod(c[s:t, e]) * delta[t, e] for t in range(s, last + 1)]
                target[s, e] = value[s, e] + sum(terms)
            for s in range(first, last + 1):
                following = ahead[s, e] + (lam * (target[s + 1, e] - value[s + 1, e]) if s < last else 0.0)
                advantage[s, e] = rho[s, e] * (reward[s, e] + gamma * following - value[s, e])
    return target, advantage


@st.composite
def traces(draw):
    steps, envs = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    pattern = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=steps * envs, max_size=steps * envs))
    ended = np.array(pattern, np.uint8).reshape(steps, envs)
    reward, value, next_value, log_ratio = generator.standard_normal((4, steps, envs)).astype(np.float32)
    next_value[:-1] = np.where(ended[:-1] == GOES_ON, value[1:], next_value[:-1])
    return reward, value, next_value, ended, log_ratio


def computed(trace, *numbers):
    target, advantage = np.full((2, *trace[0].shape), np.nan, np.float32)
    vtrace(*trace, *numbers, target, advantage)
    return target, advantage


@given(traces(), st.sampled_from([0.0, 0.9, 1.0]), SHARES, BARS, BARS)
@settings(max_examples=300, deadline=None)
def test_equal_to_the_papers_sums(trace, gamma, lam, rho_bar, c_bar):
    for ours, theirs in zip(computed(trace, gamma, lam, rho_bar, c_bar), plain(*trace, gamma, lam, rho_bar, c_bar)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@given(traces(), traces(), st.sampled_from([TERMINATED, TRUNCATED]))
@settings(max_examples=200, deadline=None)
def test_two_episodes_in_one_trace_are_two_traces(first, second, end):
    first, second = ([part[:, :1].copy() for part in trace] for trace in (first, second))
    first[3][-1] = end
    together = computed([np.concatenate(pair) for pair in zip(first, second)], 0.9, 0.8, 1.0, 1.0)
    apart = [np.concatenate(pair) for pair in zip(computed(first, 0.9, 0.8, 1.0, 1.0), computed(second, 0.9, 0.8, 1.0, 1.0))]
    np.testing.assert_array_equal(together, apart)


@given(traces(), SHARES)
@settings(max_examples=200, deadline=None)
def test_on_policy_it_is_generalised_advantage_estimation_and_with_lambda_one_n_step_returns(trace, lam):
    *first, log_ratio = trace
    target, advantage = computed((*first, 0 * log_ratio), 0.9, lam, 1.0, 1.0)
    expected = np.zeros_like(advantage)
    generalised_advantages(*first, 0.9, lam, expected)
    np.testing.assert_allclose(advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(target, expected + first[1], rtol=1e-4, atol=1e-5)


def test_with_lambda_one_and_no_bars_one_step_is_an_importance_sample():
    ones = np.ones((1, 1), np.float32)
    ends = np.array([[TERMINATED]], np.uint8)
    target, advantage = computed((5 * ones, ones, 7 * ones, ends, np.log(3 * ones)), 0.9, 1.0, np.inf, 1.0)
    assert (target[0, 0], advantage[0, 0]) == pytest.approx((1 + 3 * 4, 12))


def test_terminated_and_truncated_differ_by_the_bootstrap():
    one = np.ones((1, 1), np.float32)
    ends = [np.array([[end]], np.uint8) for end in (TERMINATED, TRUNCATED, GOES_ON)]
    targets = [computed((one, 0 * one, 10 * one, ended, 0 * one), 0.9, 1.0, 1.0, 1.0)[0][0, 0] for ended in ends]
    assert targets == pytest.approx([1, 10, 10])


def test_figures_on_policy():
    assert importance_figures(np.zeros((4, 3), np.float32)) == {
        "effective_samples": 1.0,
        "ratio_mean": 1.0,
        "ratio_max": 1.0,
        "kl_acting": 0.0,
        "kl_learning": 0.0,
    }
    assert importance_figures(np.zeros(0)) == {}


def test_figures_of_two_normal_distributions():
    """mu = N(0, 1), pi = N(0.5, 1): both divergences are 0.125, the mean square of the ratio is exp(0.25)."""
    action = np.random.default_rng(0).standard_normal(400_000)
    figures = importance_figures(0.5 * action - 0.125)
    assert figures["kl_acting"] == pytest.approx(0.125, rel=0.02)
    assert figures["kl_learning"] == pytest.approx(0.125, rel=0.02)
    assert figures["ratio_mean"] == pytest.approx(1, rel=0.01)
    assert figures["effective_samples"] == pytest.approx(np.exp(-0.25), rel=0.02)


def test_one_sample_with_all_the_weight_is_one_effective_sample():
    figures = importance_figures(np.array([0.0, 0, 0, 900]))
    assert figures["effective_samples"] == pytest.approx(0.25)
    assert np.isfinite(list(figures.values())).all()
