"""Means, intervals and comparisons over runs, beside plain loops and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from asyncrl.studies.statistics import (
    band,
    interquartile_mean,
    interval,
    interval_of_mean,
    mean,
    probability_of_improvement,
    profile,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(NUMBERS, NUMBERS)
def test_the_interquartile_mean_is_the_trimmed_mean_of_all_runs(one, other):
    expected = stats.trim_mean(one + other, 0.25)
    assert interquartile_mean([np.array(one), np.array(other)]) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(NUMBERS, NUMBERS)
def test_the_probability_of_improvement_is_mann_and_whitneys(one, other):
    expected = stats.mannwhitneyu(one, other, method="asymptotic").statistic / (len(one) * len(other))
    assert probability_of_improvement([np.array(one)], [np.array(other)]) == pytest.approx(expected)


def test_tasks_count_alike_however_many_runs_they_have():
    scores = [np.array([0.0, 0.0, 0.0, 0.0]), np.array([1.0])]
    assert mean(scores) == 0.5
    assert probability_of_improvement(scores, [np.array([-1.0]), np.array([2.0])]) == 0.5
    assert profile(scores, np.array([-0.5, 0.0, 0.5, 1.0])).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_intervals_are_those_of_the_bootstrap():
    values = np.random.default_rng(1).normal(size=12)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert interval_of_mean(values, draws=20_000) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert interval(mean, [values], draws=5_000) == pytest.approx((expected.low, expected.high), abs=0.04)


def test_runs_are_drawn_within_their_task():
    """Two tasks that differ by much and runs that do not: drawn over tasks the interval would be wide."""
    scores = [np.array([0.0, 0.1, 0.2]), np.array([100.0, 100.1, 100.2])]
    low, high = interval(mean, scores, draws=500)
    assert 50.0 <= low <= high <= 50.2


def test_intervals_hold_the_mean_as_often_as_they_say():
    generator = np.random.default_rng(3)
    held = 0
    for turn in range(400):
        low, high = interval_of_mean(generator.normal(size=20), draws=400, seed=turn)
        held += low <= 0.0 <= high
    assert 0.89 <= held / 400 <= 0.97  # a percentile bootstrap of 20 values is a little narrow


def test_a_band_is_an_interval_at_every_point():
    curves = np.random.default_rng(4).normal(size=(7, 3)) * [1.0, 0.0, 5.0]
    low, high = band(curves, draws=20_000)
    for point in range(3):
        expected = interval_of_mean(curves[:, point], draws=20_000)
        assert (low[point], high[point]) == pytest.approx(expected, abs=0.1)
    assert low[1] == high[1] == 0.0
