"""The learners of streams without processes: IMPALA's gradient, written out and by torch; NPG's step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asyncrl.actors.rollout import Actor
from asyncrl.algos.a3c import A3C, A3COptions
from asyncrl.algos.appo import AppoOptions
from asyncrl.algos.impala import ImpalaOptions, ImpalaUpdater, log_prob_weights
from asyncrl.algos.npg import NpgOptions, NpgUpdater
from asyncrl.algos.td3 import Td3Options, Td3Updater
from asyncrl.envs import GymnasiumStepping, make_env, spec_of
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, TEMPERATURE
from asyncrl.learners.gradients import WrittenGradient, feed_forward
from asyncrl.learners.traces import AutogradTraces, Trace, WrittenTraces
from asyncrl.learners.updater import draws
from asyncrl.trajectory import TERMINATED, TRUNCATED, Trajectory

STEPS, ENVS = 12, 3


def acted(env: str, policy: Policy, vector: Any, seed: int = 0, **knobs: float) -> tuple[Trajectory, Any]:
    """A real trajectory with several ends in it, and the log-probabilities of its actions as they were drawn."""
    stepping = GymnasiumStepping([make_env(env) for _ in range(ENVS)], policy.spec)
    actor = Actor(stepping, policy, vector, STEPS, [], np.random.default_rng(seed), keeps_outputs=True)
    actor.reset([seed, seed + 1, seed + 2])
    actor.rounds.knobs[TEMPERATURE] = knobs.get("temperature", 1.0)
    for _ in range(3):
        trajectory = actor.collect(0, 0)
    log_prob = np.zeros((STEPS, ENVS), np.float32)
    rows = STEPS * ENVS
    arguments = (actor.outputs.reshape(rows, -1), actor.dense, trajectory.action.reshape(rows, -1), actor.rounds.knobs)
    policy.head.log_prob(*arguments, log_prob.reshape(rows))
    return trajectory, log_prob


def policy_for(env: str, **options: Any) -> tuple[Policy, Any]:
    policy = Policy(spec_of(make_env(env)), "auto", NetworkOptions(hidden=(8,), **options))
    vector = policy.initial(0)
    vector += np.random.default_rng(1).normal(0, 0.3, vector.size).astype(np.float32)
    return policy, vector


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize(
    "options", [ImpalaOptions(entropy_weight=0.02), ImpalaOptions(correction=False, normalize_advantages=True), AppoOptions()]
)
def test_the_written_gradient_equals_that_of_torch(env, options):
    policy, vector = policy_for(env)
    trajectory, log_prob = acted(env, policy, vector)
    if env == "CartPole-v1":
        assert trajectory.ended.any(), "episodes end within the trace"
    moved = vector + np.random.default_rng(2).normal(0, 0.1, vector.size).astype(np.float32)
    written = WrittenTraces(policy, moved.copy(), STEPS, ENVS, options, log_prob_weights)
    general = AutogradTraces(policy, moved.copy(), STEPS, ENVS, options, log_prob_weights)
    one, two = Trace(trajectory, log_prob), Trace(trajectory, log_prob)
    for _ in range(2):  # the second time ratios to the first epoch count
        figures, others = written(one), general(two)
        np.testing.assert_allclose(written.gradient, general.gradient, rtol=2e-3, atol=2e-6)
        for name in ("value_loss", "entropy", "effective_samples", "ratio_max", "kl_acting"):
            assert figures[name] == pytest.approx(others[name], rel=1e-3, abs=1e-5)
        written._vector += np.float32(0.02)
        general._vector += np.float32(0.02)
    assert np.abs(written.gradient).max() > 1e-4


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("normalised", [False, True])
def test_on_policy_the_gradient_is_that_of_a3c(env, normalised):
    policy, vector = policy_for(env)
    trajectory, log_prob = acted(env, policy, vector)
    trajectory.ended[3, 1], trajectory.ended[7, 2] = TERMINATED, TRUNCATED
    options = ImpalaOptions(entropy_weight=0.02, normalize_advantages=normalised)
    traces = WrittenTraces(policy, vector, STEPS, ENVS, options, log_prob_weights)
    traces(Trace(trajectory, log_prob))
    others = WrittenGradient(policy, vector, STEPS, ENVS, A3COptions(normalize_advantages=normalised), A3C)
    others(trajectory, 0.02)
    np.testing.assert_allclose(traces.gradient, others.gradient, rtol=1e-4, atol=1e-6 * np.abs(others.gradient).max())


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_ratios_are_one_for_the_policy_that_acted(env):
    policy, vector = policy_for(env)
    trajectory, log_prob = acted(env, policy, vector)
    figures = WrittenTraces(policy, vector, STEPS, ENVS, ImpalaOptions(), log_prob_weights)(Trace(trajectory, log_prob))
    assert figures["ratio_max"] == pytest.approx(1.0, abs=1e-4)
    assert figures["effective_samples"] == pytest.approx(1.0, abs=1e-6)
    hot, hot_log_prob = acted(env, policy, vector, temperature=2.0)
    figures = WrittenTraces(policy, vector, STEPS, ENVS, ImpalaOptions(), log_prob_weights)(Trace(hot, hot_log_prob))
    assert figures["effective_samples"] < 0.999, "who acted at another temperature acted on another policy"


def test_the_log_probability_of_a_mixture_with_uniform_choices():
    policy, vector = policy_for("CartPole-v1")
    logits = np.array([[0.3, -0.8], [2.0, 1.0]], np.float32)
    knobs = np.zeros(8)
    knobs[TEMPERATURE], knobs[EPSILON] = 0.5, 0.2
    out = np.zeros(2, np.float32)
    policy.head.log_prob(logits, vector, np.array([[1], [0]]), knobs, out)
    p = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(out), 0.8 * p[[0, 1], [1, 0]] + 0.1, rtol=1e-5)


def test_the_log_probability_of_a_mixture_with_uniform_actions_in_a_box():
    """The density of 0.8 N(mean, exp(-1.5)) + 0.2 uniform in [-1, 1], at 0.9 with mean 0.1: that of the normal alone is -5.85."""
    policy = Policy(spec_of(make_env("Pendulum-v1")), "auto", NetworkOptions(hidden=(8,), initial_log_std=-1.5))
    knobs, out = np.zeros(8), np.zeros(1, np.float32)
    knobs[TEMPERATURE], mean, action = 1.0, np.array([[0.1]], np.float32), np.array([[0.9]], np.float32)
    for epsilon, expected in ((0.0, -5.85), (0.2, -2.28), (1.0, np.log(0.5))):
        knobs[EPSILON] = epsilon
        policy.head.log_prob(mean, policy.initial(0), action, knobs, out)
        assert out[0] == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("bound", [3.0, -6.0])
def test_the_divergence_of_a_natural_step_is_that_of_the_distributions_that_act(bound):
    """A deviation outside of its limits acts as the nearest one, before the step and after it."""
    import torch

    policy, _ = policy_for("Pendulum-v1")
    output = torch.tensor([[0.0], [0.0]])
    moved, outside = output + 0.3 * np.exp(np.clip(bound, -5, 2)), torch.tensor([bound])
    found = policy.head.divergence(moved, outside, output, torch.zeros(1)).item()
    acting = torch.distributions.Normal(moved, np.exp(np.clip(bound, -5, 2)))
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(output, 1.0), acting).mean().item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bound", [2.1, -5.1])
def test_a_natural_step_leads_a_deviation_back_and_keeps_its_divergence(bound):
    policy, _ = policy_for("Pendulum-v1")
    updater = NpgUpdater(task(NpgOptions(max_kl=0.01, t_max=STEPS, normalize_advantages=False), policy), policy)
    vector = updater.state()["vector"]
    vector[-1] = bound
    for turn in range(20):
        before = vector.copy()
        trajectory, log_prob = acted("Pendulum-v1", policy, before, turn)
        sign = 1.0 if bound > 0 else -1.0  # small draws are the better ones above, large ones below
        drawn = np.square(trajectory.action[..., 0] / np.exp(np.clip(bound, -5, 2)))
        trajectory.reward[:] = -sign * drawn
        trajectory.ended[:] = TERMINATED
        updater.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
        (figures,) = updater.update(0, 0)
        assert figures["kl"] <= 0.02
        if -5 <= vector[-1] <= 2:
            return
    pytest.fail(f"still at {vector[-1]}")


def test_clipped_weights():
    advantage = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], np.float32)
    ratio = np.array([1.5, 1.1, 0.5, 1.5, 0.9, 0.5], np.float32)
    weights = log_prob_weights(advantage, np.log(ratio), 0.2, 1.0)
    np.testing.assert_allclose(weights, [0.0, -1.1, -0.5, 1.5, 0.9, 0.0], rtol=1e-6)


def plain_appo(trajectory: Trajectory, value: Any, following: Any, logs: tuple[Any, Any, Any], options: ImpalaOptions) -> Any:
    """d (policy loss) / d log pi [T, E] of a later epoch, step by step; logs: by who acted, by the first epoch's policy, by the newest."""
    steps, envs = trajectory.reward.shape
    acted_log, first, now = logs
    weight = np.zeros((steps, envs))
    for e in range(envs):
        excess = 0.0
        for t in reversed(range(steps)):
            until = np.exp(first[t, e] - acted_log[t, e])
            since = np.exp(now[t, e] - first[t, e])
            ahead = 0.0 if trajectory.ended[t, e] == TERMINATED else following[t, e]
            excess = 0.0 if trajectory.ended[t, e] else excess
            error = trajectory.reward[t, e] + options.gamma * ahead - value[t, e]
            advantage = min(options.rho_bar, until) * (error + options.gamma * options.gae_lambda * excess)
            excess = min(options.rho_bar, until) * error + options.gamma * options.gae_lambda * min(options.c_bar, until) * excess
            clipped = min(max(since, 1 - options.clip_range), 1 + options.clip_range)
            weight[t, e] = -since * advantage / (steps * envs) if since * advantage <= clipped * advantage else 0.0
    return weight


@pytest.mark.parametrize("kind", [WrittenTraces, AutogradTraces])
@pytest.mark.parametrize("on_policy", [True, False])
def test_a_later_epoch_counts_each_ratio_once(kind, on_policy):
    """Against the plain loop: gradients by the policy's own parameters. On policy this is PPO's weight, r A."""
    import torch

    policy, vector = policy_for("CartPole-v1")
    trajectory, log_prob = acted("CartPole-v1", policy, vector)
    generator = np.random.default_rng(3)
    start = vector.copy() if on_policy else vector + generator.normal(0, 0.2, vector.size).astype(np.float32)
    options = AppoOptions(value_weight=0.0)
    traces, trace = kind(policy, start, STEPS, ENVS, options, log_prob_weights), Trace(trajectory, log_prob)
    traces(trace)
    moved = start + generator.normal(0, 0.1, vector.size).astype(np.float32)
    logs = [log_prob]
    for parameters in (start.copy(), moved):
        module, extra = policy.module(parameters, gradient := np.zeros_like(parameters))
        output, value, following = feed_forward(module, trajectory)
        logs.append(policy.head.log_prob_and_entropy(output, extra, torch.from_numpy(trajectory.action.reshape(STEPS * ENVS, -1)))[0])
    arrays = [log_prob, *(one.detach().numpy().reshape(STEPS, ENVS) for one in logs[1:])]
    weight = plain_appo(trajectory, value.detach().numpy().reshape(STEPS, ENVS), following, tuple(arrays), options)
    (torch.from_numpy(weight.reshape(-1).astype(np.float32)) * logs[2]).sum().backward()
    start[:] = moved
    traces(trace)
    np.testing.assert_allclose(traces.gradient, gradient, rtol=1e-3, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


def task(options: Any, policy: Policy, seed: int = 0) -> Any:
    places = {"workers": 1, "envs_per_worker": ENVS, "head": "auto"}
    return SimpleNamespace(options=options, target_steps=1000, seed=seed, network=policy.options, spec=policy.spec, **places)


def test_one_update_of_several_traces_is_the_mean_of_their_gradients():
    policy, _ = policy_for("CartPole-v1")
    plain = {"max_gradient_norm": 0.0, "normalize_returns": False}
    options = ImpalaOptions(t_max=STEPS, optimizer="sgd", learning_rate=0.1, anneal="constant", **plain)
    together, singles = ImpalaUpdater(task(options, policy), policy), []
    start = policy.initial(0)
    for seed in (0, 10):
        trajectory, log_prob = acted("CartPole-v1", policy, start, seed)
        together.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
        alone = ImpalaUpdater(task(options, policy), policy)
        alone.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
        assert len(alone.update(0, 0)) == 1
        singles.append(alone.state()["vector"].copy())
    together.update(0, 0)
    np.testing.assert_allclose(together.state()["vector"], np.mean(singles, axis=0), atol=1e-6)
    assert together.update(1, 0) == []


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_natural_step_keeps_its_divergence_and_improves(env):
    policy, _ = policy_for(env)
    updater = NpgUpdater(task(NpgOptions(max_kl=0.005, damping=1e-3), policy), policy)
    before = updater.state()["vector"].copy()
    for seed in (0, 10, 20, 30):
        updater.take(0, *acted(env, policy, before.copy(), seed), np.zeros(ENVS, np.uint8))
    (figures,) = updater.update(0, 0)
    assert 0.0 < figures["kl"] <= 2 * 0.005
    assert figures["improvement"] > 0.0
    assert figures["improvement"] < 3 * figures["expected_improvement"]
    assert not np.array_equal(updater.state()["vector"], before)


def test_a_largest_ratio_is_that_of_all_traces():
    policy, _ = policy_for("CartPole-v1")
    together, found = ImpalaUpdater(task(ImpalaOptions(t_max=STEPS), policy), policy), []
    for temperature in (1.0, 0.5):
        trajectory, log_prob = acted("CartPole-v1", policy, policy.initial(0), temperature=temperature)
        together.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
        traces = WrittenTraces(policy, policy.initial(0), STEPS, ENVS, ImpalaOptions(), log_prob_weights)
        found.append(traces(Trace(trajectory, log_prob))["ratio_max"])
    (figures,) = together.update(0, 0)
    assert figures["ratio_max"] == max(found) > min(found)


@pytest.mark.parametrize("seed", [2**48 + 1, 2**70])
def test_seeds_may_be_large(seed):
    policy, _ = policy_for("CartPole-v1")
    updater = NpgUpdater(task(NpgOptions(), policy, seed), policy)
    updater.take(0, *acted("CartPole-v1", policy, policy.initial(0)), np.zeros(ENVS, np.uint8))
    assert len(updater.update(0, 0)) == 1
    pendulum = Policy(spec_of(make_env("Pendulum-v1")), "auto", NetworkOptions(hidden=(8,)))
    options = Td3Options(t_max=STEPS, batch=16, warm_up=0, replay=100)
    replay = Td3Updater(task(options, pendulum, seed), pendulum)
    replay.take(0, *acted("Pendulum-v1", pendulum, pendulum.initial(0)), np.zeros(ENVS, np.uint8))
    assert len(replay.update(0, 2)) == 2


def test_what_a_learner_draws_depends_on_seed_purpose_and_count():
    first = draws(3, 0x4E9, 7).integers(0, 2**63, 4)
    np.testing.assert_array_equal(first, np.random.Generator(np.random.Philox(key=[3 * 2**16 + 0x4E9, 7])).integers(0, 2**63, 4))
    for other in ((4, 0x4E9, 7), (3, 0x4B6, 7), (3, 0x4E9, 8)):
        assert (draws(*other).integers(0, 2**63, 4) != first).all()


def own_network(spec: Any, outputs: int) -> Any:
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = torch.nn.Sequential(torch.nn.Linear(spec.observation_size, 16), torch.nn.Tanh())
            self.policy, self.value = torch.nn.Linear(16, outputs), torch.nn.Linear(16, 1)

        def forward(self, x: Any) -> Any:
            features = self.trunk(x)
            return self.policy(features), self.value(features).squeeze(-1)

    return Net()


@pytest.mark.parametrize("network", ["separate", "shared", "own"])
def test_the_policy_stays_within_its_divergence_when_values_are_fitted(network):
    """KL between the versions, and not only after the policy's own step; with every kind of trunk."""
    import torch

    from asyncrl.heads.categorical import kl_categorical

    spec = spec_of(make_env("CartPole-v1"))
    trunk = "separate" if network == "own" else network
    policy = Policy(spec, "auto", NetworkOptions(hidden=(64, 64), trunk=trunk), own_network if network == "own" else None)
    updater = NpgUpdater(task(NpgOptions(max_kl=0.005), policy), policy)
    for turn in range(3):
        before, seen = updater.state()["vector"].copy(), []
        for seed in range(4):
            trajectory, log_prob = acted("CartPole-v1", policy, before.copy(), 100 * turn + 10 * seed)
            updater.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
            seen.append(trajectory.observation[:-1].reshape(-1, 4))
        (figures,) = updater.update(0, 0)
        after, states = updater.state()["vector"].copy(), torch.from_numpy(np.concatenate(seen))
        with torch.no_grad():
            (new, values), (old, old_values) = (policy.module(vector, None)[0](states) for vector in (after, before))
        assert kl_categorical(new, old).item() == pytest.approx(figures["kl"], abs=1e-6)
        assert 0.0 < figures["kl"] <= 2 * 0.005
        assert (values - old_values).abs().mean() > 1e-3, "the values were fitted"


def test_an_update_without_units_changes_nothing():
    policy, _ = policy_for("CartPole-v1")
    updater = NpgUpdater(task(NpgOptions(), policy), policy)
    assert updater.update(0, 0) == []


def test_a_gradient_that_is_not_finite_is_left_out():
    policy, vector = policy_for("CartPole-v1")
    updater = ImpalaUpdater(task(ImpalaOptions(t_max=STEPS), policy), policy)
    trajectory, log_prob = acted("CartPole-v1", policy, vector)
    trajectory.reward[0, 0] = np.nan
    before = updater.state()["vector"].copy()
    updater.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
    (figures,) = updater.update(0, 0)
    assert figures["skipped"] == 1.0
    assert np.array_equal(updater.state()["vector"], before)
