"""What exploration makes of a policy: the density of what is drawn, and the gradient of what the exploring policy earns."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from asyncrl.actors.exploration import EXPLORATIONS, check_use
from asyncrl.actors.rollout import Actor
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.a3c import A3C, A3COptions
from asyncrl.envs import GymnasiumStepping
from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import TEMPERATURE
from asyncrl.learners.gradients import WrittenGradient

SPACES: dict[str, Any] = {
    "discrete": spaces.Discrete(4, start=2),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "box": spaces.Box(np.array([-2.0, 0.1], np.float32), np.array([2.0, 0.3], np.float32)),
    "infinite": spaces.Box(-np.inf, np.inf, (2,), np.float32),
}
CORRECTED = {
    kind
    for entry in ALGORITHMS.values()
    if entry.topology == "streams" and entry.implementation.needs_log_prob
    for kind in entry.explorations
}
"""Exploration settings of algorithms that divide by the probability of what was drawn."""
SETTINGS = [
    *[(kind, value, space) for kind in sorted(CORRECTED) for value in (0.3, 0.999) for space in SPACES],
    *[("temperature", 2.0, space) for space in SPACES],
]


def policy_of(space: str, squash: bool = False, head: str = "auto") -> Policy:
    spec = EnvSpec((1,), "float32", *_action(SPACES[space]))
    hidden = () if head == "auto" else None
    return Policy(spec, head, NetworkOptions(hidden=hidden, squash=squash, initial_log_std=-0.4))


def drawn(policy: Policy, settings: list[Any], rows: int) -> tuple[Any, Any]:
    """(arrays, vector) after so many environments have drawn an action each from the same outputs, as actors do."""
    vector, rounds, generator = policy.initial(0), policy.round_arrays(1, rows), np.random.default_rng(1)
    outputs = np.linspace(-0.9, 0.6, policy.head.policy_outputs)
    rounds.policy_output[:] = outputs
    for setting in settings:
        setting.turn(rounds, 0.0, generator, np.zeros((rows, policy.head.components)))
    policy.head.draw(generator, rounds)
    policy.head.choose(rounds, vector, 0)
    return rounds, vector


def densities(policy: Policy, rounds: Any, vector: Any, points: Any) -> Any:
    """exp log mu of points [N, C], as an actor of a stream tells it."""
    outputs = np.repeat(rounds.policy_output[:1], len(points), 0)
    out = np.zeros(len(points), np.float32)
    policy.head.log_prob(outputs, vector, points.astype(policy.head.action_dtype), rounds.knobs, out)
    return np.exp(out.astype(np.float64))


CASES = [
    (kind, value, space, squash, head)
    for kind, value, space in SETTINGS
    if EXPLORATIONS[kind](value).fits(EnvSpec((1,), "float32", *_action(SPACES[space]))) is None
    for squash in ([False, True] if space == "box" else [False])
    for head in (["auto", "toeplitz"] if value == 0.3 else ["auto"])
]


@pytest.mark.parametrize(("kind", "value", "space", "squash", "head"), CASES)
def test_mu_is_the_density_of_what_was_drawn(kind, value, space, squash, head):
    """It adds up to 1, and says how often each action, or each square of a grid, is drawn."""
    policy, rows = policy_of(space, squash, head), 20_000
    for more in ([], [EXPLORATIONS["temperature" if kind == "epsilon" else "epsilon"](0.4)]):
        if any(setting.fits(policy.spec) for setting in more):
            continue
        rounds, vector = drawn(policy, [EXPLORATIONS[kind](value), *more], rows)
        action = rounds.action[0]
        if space in ("discrete", "multidiscrete"):
            points = np.stack(np.meshgrid(*[np.arange(size) for size in policy.spec.action_sizes], indexing="ij"), -1)
            points = points.reshape(-1, policy.head.components)
            expected = densities(policy, rounds, vector, points)
            counts = np.array([(action == point).all(1).sum() for point in points])
        else:
            fine, width = np.linspace(-8, 8, 401)[:-1] + 0.02, 0.04
            points = np.stack(np.meshgrid(fine, fine, indexing="ij"), -1).reshape(-1, 2)
            mass = densities(policy, rounds, vector, points).reshape(400, 400) * width**2
            expected = mass.reshape(16, 25, 16, 25).sum((1, 3)).ravel()
            counts = np.histogram2d(*action.T.astype(np.float64), bins=[np.linspace(-8, 8, 17)] * 2)[0].ravel()
        assert expected.sum() == pytest.approx(1.0, abs=2e-3)
        np.testing.assert_allclose(counts / rows, expected, atol=5 * np.sqrt(0.25 / rows))
        likely = expected > 20 / rows
        np.testing.assert_allclose(counts[likely] / rows, expected[likely], rtol=0.0, atol=5 * np.sqrt(expected[likely].max() / rows))
        spread = (counts - rows * expected)[likely] / np.sqrt(rows * expected[likely])
        assert np.abs(spread).max() < 5.0


@pytest.mark.parametrize("algo", ["impala", "appo", "ppo"])
def test_settings_whose_density_nobody_knows_are_refused_where_it_is_needed(algo):
    """Noise that remembers has none for a step by itself. What is allowed is tested above."""
    assert set(ALGORITHMS[algo].explorations) == CORRECTED  # type: ignore[attr-defined]
    for kind in set(EXPLORATIONS) - CORRECTED:
        with pytest.raises(UserError, match=f"'{kind}' cannot be used with {algo} .allowed: temperature, epsilon"):
            check_use([[EXPLORATIONS[kind](0.1)]], ALGORITHMS[algo].explorations, algo)  # type: ignore[attr-defined]


# The gradient of an actor-critic whose workers explore.


class Earning(gymnasium.Env):  # type: ignore[type-arg]
    """Endless; a reward for the newest action alone, observations of one."""

    def __init__(self, space: str):
        self.observation_space, self.action_space = spaces.Box(1.0, 1.0, (1,), np.float32), SPACES[space]
        self.discrete = space in ("discrete", "multidiscrete")

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Any:
        first = float(np.ravel(action)[0])
        reward = (first**2 - 3.0 * first) if self.discrete else np.sin(3.0 * first) + first
        return np.ones(1, np.float32), reward, False, False, {}


def earned(policy: Policy, outputs: Any, log_std: Any, rounds: Any) -> float:
    """Mean reward of the first component under these outputs, over the settings of a round: by sums, without anything that is drawn."""
    temperature, reward = rounds.knobs[TEMPERATURE], lambda a: a**2 - 3.0 * a
    if policy.spec.action_kind != "box":
        size = policy.spec.action_sizes[0]
        p = np.exp(outputs[:size] / temperature)
        return float(p @ reward(np.arange(size) + policy.spec.action_start[0]) / p.sum())
    z, noise = np.linspace(-6, 6, 201), rounds.extra_noise[:, 0, :1]
    weight = np.exp(-(z**2) / 2)
    u = outputs[0] + temperature * np.exp(log_std[0]) * z + (noise if noise.any() else noise[:1])
    low, high = policy.spec.action_low[0], policy.spec.action_high[0]
    if np.isfinite(low):
        within = np.tanh(u) if policy.head.squash else np.clip(u, -1, 1)
        u = low + 0.5 * (within + 1) * (high - low)
    return float((np.sin(3.0 * u) + u).mean(0) @ weight / weight.sum())


SLOPES = [
    (kind, value, space, squash)
    for kind in EXPLORATIONS
    for value in ((0.4, 1.7) if kind == "temperature" else (0.4,))
    for space in SPACES
    if EXPLORATIONS[kind](value).fits(EnvSpec((1,), "float32", *_action(SPACES[space]))) is None
    for squash in ([False, True] if space == "box" else [False])
]


@pytest.mark.parametrize(("kind", "value", "space", "squash"), SLOPES)
def test_the_gradient_is_that_of_what_the_exploring_policy_earns(kind, value, space, squash):
    policy, steps = policy_of(space, squash), 12_000
    vector, outputs = policy.initial(0), policy.head.policy_outputs
    vector[:] = 0.0
    vector[outputs : 2 * outputs] = np.linspace(-0.5, 0.4, outputs)  # the biases, after weights [1, P]
    if policy.head.extra_size:
        vector[-policy.head.extra_size :] = -0.4
    stepping = GymnasiumStepping([Earning(space)], policy.spec)  # type: ignore[list-item]
    actor = Actor(stepping, policy, vector, steps, [EXPLORATIONS[kind](value)], np.random.default_rng(2))
    actor.reset([0])
    trajectory = actor.collect(0, 0)
    trajectory.reward -= trajectory.reward.mean()
    learner = WrittenGradient(policy, vector, steps, 1, A3COptions(gamma=0.0), A3C)
    learner(trajectory, 0.0)
    biases, log_std = vector[outputs : 2 * outputs].astype(np.float64), vector[vector.size - policy.head.extra_size :].astype(np.float64)
    share = 1 - value if kind == "epsilon" else 1.0

    def slope(of: Any, i: int) -> float:
        ends = []
        for way in (1e-3, -1e-3):
            of[i] += way
            ends.append(earned(policy, biases, log_std, actor.rounds))
            of[i] -= way
        return share * (ends[0] - ends[1]) / 2e-3

    first = policy.spec.action_sizes[0] if policy.spec.action_kind != "box" else 1
    found = [*-learner.gradient[outputs : outputs + first], *(-learner.gradient[-policy.head.extra_size :][:1] if log_std.size else [])]
    expected = [*(slope(biases, i) for i in range(first)), *([slope(log_std, 0)] if log_std.size else [])]
    np.testing.assert_allclose(found, expected, atol=0.08)
    assert np.abs(expected).max() > 0.1
