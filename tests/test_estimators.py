"""Returns and advantages against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrl.learners.estimators import generalised_advantages, standardised
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED


def plain(reward, value, next_value, ended, gamma, lam):
    """The definition: A_t = sum over l of (gamma lambda)^l delta_{t+l}, up to the end of the episode or of the rollout."""
    steps, envs = reward.shape
    advantage = np.zeros((steps, envs))
    for e in range(envs):
        for t in range(steps):
            factor = 1.0
            for k in range(t, steps):
                ahead = 0.0 if ended[k, e] == TERMINATED else next_value[k, e]
                advantage[t, e] += factor * (reward[k, e] + gamma * ahead - value[k, e])
                factor *= gamma * lam
                if ended[k, e] != GOES_ON:
                    break
    return advantage


def algorithm_s3(reward, next_value, ended, gamma):
    """R of Algorithm S3, with an end of the rollout after every episode; a truncated one is bootstrapped."""
    steps, envs = reward.shape
    returns = np.zeros((steps, envs))
    for e in range(envs):
        following = next_value[-1, e]
        for t in reversed(range(steps)):
            if ended[t, e] == TERMINATED:
                following = 0.0
            elif ended[t, e] == TRUNCATED:
                following = next_value[t, e]
            following = reward[t, e] + gamma * following
            returns[t, e] = following
    return returns


@st.composite
def rollouts(draw):
    steps, envs = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    pattern = draw(st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=steps * envs, max_size=steps * envs))
    ended = np.array(pattern, np.uint8).reshape(steps, envs)
    reward, value, next_value = generator.standard_normal((3, steps, envs)).astype(np.float32)
    next_value[:-1] = np.where(ended[:-1] == GOES_ON, value[1:], next_value[:-1])
    return reward, value, next_value, ended


def computed(reward, value, next_value, ended, gamma, lam):
    advantage = np.full(reward.shape, np.nan, np.float32)
    generalised_advantages(reward, value, next_value, ended, gamma, lam, advantage)
    return advantage


@given(rollouts(), st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.sampled_from([0.0, 0.3, 0.95, 1.0]))
@settings(max_examples=300, deadline=None)
def test_equal_to_the_definition(rollout, gamma, lam):
    np.testing.assert_allclose(computed(*rollout, gamma, lam), plain(*rollout, gamma, lam), rtol=1e-4, atol=1e-5)


@given(rollouts(), st.sampled_from([0.5, 0.99, 1.0]))
@settings(max_examples=200, deadline=None)
def test_with_lambda_one_it_is_algorithm_s3s_return_less_the_value(rollout, gamma):
    reward, value, next_value, ended = rollout
    returns = computed(*rollout, gamma, 1.0) + value
    np.testing.assert_allclose(returns, algorithm_s3(reward, next_value, ended, gamma), rtol=1e-4, atol=2e-5)


@given(rollouts(), rollouts(), st.sampled_from([TERMINATED, TRUNCATED]))
@settings(max_examples=200, deadline=None)
def test_two_episodes_in_one_trace_are_two_traces(first, second, end):
    first, second = ([part[:, :1].copy() for part in rollout] for rollout in (first, second))
    first[3][-1] = end
    together = [np.concatenate(pair) for pair in zip(first, second)]
    apart = np.concatenate([computed(*first, 0.9, 0.8), computed(*second, 0.9, 0.8)])
    np.testing.assert_array_equal(computed(*together, 0.9, 0.8), apart)


def test_terminated_and_truncated_differ_by_the_bootstrap():
    reward, value, next_value = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), np.full((1, 1), 10, np.float32)
    ends = [np.array([[end]], np.uint8) for end in (TERMINATED, TRUNCATED, GOES_ON)]
    advantages = [computed(reward, value, next_value, ended, 0.9, 1.0)[0, 0] for ended in ends]
    assert advantages == pytest.approx([1, 10, 10])


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_standardised(shift):
    advantage = (shift + 3 * np.random.default_rng(0).standard_normal((20, 4))).astype(np.float32)
    expected = (advantage.astype(float) - advantage.astype(float).mean()) / advantage.astype(float).std()
    standardised(advantage)
    np.testing.assert_allclose(advantage, expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 1), (20, 1), (7, 3)])
@pytest.mark.parametrize("number", [0.0, 0.1, -3.3])
def test_advantages_that_are_all_equal_become_zero(shape, number):
    advantage = np.full(shape, number, np.float32)
    standardised(advantage)
    np.testing.assert_array_equal(advantage, 0)
