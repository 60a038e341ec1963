"""PPO beside plain loops: generalised advantages, the clipped loss, shuffled minibatches, Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_traces import ENVS, STEPS, acted, policy_for, task

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.appo import SHUFFLES, AppoOptions, AppoUpdater, PpoOptions
from asyncrl.algos.impala import ImpalaUpdater, log_prob_weights
from asyncrl.experiment.defaults import settled
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.policy import Policy
from asyncrl.learners.minibatches import AutogradMinibatches, Samples, WrittenMinibatches, value_slopes
from asyncrl.learners.traces import AutogradTraces, Trace, WrittenTraces
from asyncrl.learners.updater import draws
from asyncrl.learners.vtrace import vtrace
from asyncrl.trajectory import TERMINATED, TRUNCATED, Trajectory

FRESH = np.zeros(ENVS, np.uint8)


def plain_gae(reward: Any, value: Any, following: Any, ended: Any, gamma: float, lam: float) -> Any:
    """Advantages [T, E] of generalised advantage estimation, in float64, by their definition as a sum of errors."""
    advantage = np.zeros(reward.shape)
    for t, e in np.ndindex(*reward.shape):
        factor = 1.0
        for later in range(t, len(reward)):
            ahead = 0.0 if ended[later, e] == TERMINATED else following[later, e]
            advantage[t, e] += factor * (reward[later, e] + gamma * ahead - value[later, e])
            factor *= gamma * lam
            if ended[later, e]:
                break
    return advantage


def test_on_policy_the_targets_of_vtrace_are_those_of_generalised_advantages():
    generator = np.random.default_rng(0)
    reward, value, following = (generator.standard_normal((50, 3)).astype(np.float32) for _ in range(3))
    ended = generator.choice([0, 0, 0, 0, TERMINATED, TRUNCATED], (50, 3)).astype(np.uint8)
    target, advantage, level = np.zeros_like(reward), np.zeros_like(reward), np.zeros_like(reward)
    vtrace(reward, value, following, ended, level, 0.99, 0.95, 1.0, 1.0, target, advantage)
    expected = plain_gae(reward, value, following, ended, 0.99, 0.95)
    np.testing.assert_allclose(advantage, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(target, expected + value, rtol=1e-5, atol=1e-5)


class PlainPpo:
    """Schulman and others 2017, algorithm 1, in torch: its own network object over a vector of its own, its own loss, torch's Adam."""

    def __init__(self, policy: Policy, options: PpoOptions, seed: int):
        import torch

        self.vector, self._gradient = policy.initial(seed), np.zeros(policy.size, np.float32)
        self._module, self._log_std = policy.module(self.vector, self._gradient)
        parameters = [*self._module.parameters(), *([self._log_std] if self._log_std.numel() else [])]
        self._parameters, self._options, self._seed = parameters, options, seed
        self._adam = torch.optim.Adam(parameters, lr=options.learning_rate, eps=options.optimizer_epsilon)
        self.discrete = policy.spec.action_kind == "discrete"

    def _log_prob(self, observation: Any, action: Any) -> tuple[Any, Any, Any]:
        import torch

        output, value = self._module(observation)
        if self.discrete:
            one = torch.distributions.Categorical(logits=output)
            return one.log_prob(action[:, 0]), one.entropy(), value
        normal = torch.distributions.Normal(output, self._log_std.exp())
        return normal.log_prob(action).sum(1), normal.entropy().sum(1), value

    def update(self, version: int, units: list[tuple[Trajectory, Any]]) -> None:
        import torch

        o, rows = self._options, []
        for trajectory, log_prob in units:
            with torch.no_grad():
                seen, final = torch.from_numpy(trajectory.observation), torch.from_numpy(trajectory.final_observation)
                values, cut = self._module(seen)[1].numpy(), self._module(final)[1].numpy()
            following = np.where(trajectory.ended == TRUNCATED, cut, values[1:])
            advantage = plain_gae(trajectory.reward, values[:-1], following, trajectory.ended, o.gamma, o.gae_lambda)
            count = trajectory.reward.size
            parts = (log_prob, values[:-1], advantage + values[:-1], advantage)
            flat = (torch.from_numpy(part.astype(np.float32).reshape(count)) for part in parts)
            rows.append((seen[:-1].flatten(0, 1), torch.from_numpy(trajectory.action.reshape(count, -1)), *flat))
        batch = [torch.cat(column) for column in zip(*rows)]
        generator = draws(self._seed, SHUFFLES, version)
        for _ in range(o.epochs):
            order = torch.from_numpy(generator.permutation(len(batch[0])))
            for part in order.split(o.minibatch):
                self._descend(*(column[part] for column in batch))

    def _descend(self, observation: Any, action: Any, old: Any, old_value: Any, target: Any, advantage: Any) -> None:
        import torch

        o = self._options
        log_prob, entropy, value = self._log_prob(observation, action)
        advantage = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-8)
        ratio = (log_prob - old).exp()
        policy_loss = -torch.min(ratio * advantage, ratio.clamp(1 - o.clip_range, 1 + o.clip_range) * advantage).mean()
        errors = (target - value).square()
        if o.value_clip:
            held = old_value + (value - old_value).clamp(-o.value_clip, o.value_clip)
            errors = torch.max(errors, (target - held).square())
        self._gradient[:] = 0.0
        (policy_loss - o.entropy_weight * entropy.mean() + o.value_weight * errors.mean()).backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, o.max_gradient_norm)
        self._adam.step()


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("more", [{}, {"value_clip": 0.05, "entropy_weight": 0.01}])
def test_two_batches_are_learned_as_a_plain_loop_does(env, more):
    """72 samples in minibatches of 16: the last one has 8. Rates are larger than usual, so that ratios leave their limits."""
    rates = {"learning_rate": 1e-2, "value_learning_rate": 1e-2, "anneal": "constant", "clip_range": 0.05}
    options = PpoOptions(t_max=STEPS, minibatch=16, epochs=4, normalize_returns=False, **rates, **more)
    policy, _ = policy_for(env)
    updater, plain = AppoUpdater(task(options, policy, seed=5), policy), PlainPpo(policy, options, 5)
    start = plain.vector.copy()
    for version in (0, 1):
        units = [acted(env, policy, plain.vector.copy(), seed) for seed in (2 * version, 2 * version + 10)]
        for actor, (trajectory, log_prob) in enumerate(units):
            trajectory.ended[3, 1], trajectory.ended[7, 2] = TERMINATED, TRUNCATED
            updater.take(actor, trajectory, log_prob, FRESH)
        figures = updater.update(version, 0)
        plain.update(version, units)
        assert len(figures) == 4 * 5
        np.testing.assert_allclose(updater.state()["vector"], plain.vector, rtol=0, atol=1e-5)
    assert figures[-1]["clip_fraction"] > 0.05
    assert np.abs(plain.vector - start).max() > 0.02


def test_the_error_of_a_clipped_value_has_no_slope_where_it_is_the_larger():
    value, old = np.array([0.0, 1.0, 1.0, -1.0, 0.1], np.float32), np.zeros(5, np.float32)
    target = np.array([2.0, 2.0, -2.0, -2.0, 2.0], np.float32)
    slope = np.zeros(5, np.float32)
    error = value_slopes(value, old, target, 0.5, 0.5, slope)
    assert error == pytest.approx((4.0 + 1.5**2 + 9.0 + 1.5**2 + 1.9**2) / 5)
    np.testing.assert_allclose(slope, np.array([-2.0, 0.0, 3.0, 0.0, -1.9]) / 5, rtol=1e-6)
    assert value_slopes(value, old, target, 0.0, 0.5, slope) == pytest.approx(np.mean((value - target) ** 2))
    np.testing.assert_allclose(slope, (value - target) / 5, rtol=1e-6)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("head", ["auto", "toeplitz"])
def test_the_written_gradient_of_a_minibatch_equals_that_of_torch(env, head):
    network = policy_for(env)[0]
    policy = Policy(network.spec, head, network.options)
    vector = policy.initial(0) + np.random.default_rng(1).normal(0, 0.3, policy.size).astype(np.float32)
    trajectory, log_prob = acted(env, policy, vector)
    options = AppoOptions(entropy_weight=0.02, value_clip=0.1, normalize_advantages=True, minibatch=20)
    found = []
    for traces, minibatches in ((WrittenTraces, WrittenMinibatches), (AutogradTraces, AutogradMinibatches)):
        own = vector.copy()
        judge = traces(policy, own, STEPS, ENVS, options, log_prob_weights).judge
        gradient = minibatches(policy, own, 20, options, log_prob_weights)
        samples = Samples.of([Trace(trajectory, log_prob)], judge)
        own += np.random.default_rng(2).normal(0, 0.1, policy.size).astype(np.float32)
        figures = gradient(samples.at(np.arange(3, 23)), now := np.zeros(20, np.float32))
        found.append((gradient.gradient, now, np.array([figures[name] for name in ("value_loss", "entropy", "policy_loss")])))
    for written, by_torch in zip(*found):
        np.testing.assert_allclose(written, by_torch, rtol=2e-3, atol=2e-6)
    assert np.abs(found[0][0]).max() > 1e-4


def test_shuffles_depend_on_the_seed_and_the_version_alone():
    policy, vector = policy_for("CartPole-v1")
    unit, options = acted("CartPole-v1", policy, vector), PpoOptions(t_max=STEPS, minibatch=10)

    def learned(seed: int, version: int) -> Any:
        updater = AppoUpdater(task(options, policy, seed), policy)
        updater.restore({**updater.state(), "vector": vector})  # initial parameters depend on the seed as well
        updater.take(0, *unit, FRESH)
        updater.update(version, 0)
        return updater.state()["vector"]

    np.testing.assert_array_equal(learned(3, 7), learned(3, 7))
    assert (learned(3, 7) != learned(3, 8)).any()
    assert (learned(3, 7) != learned(4, 7)).any()


def test_without_minibatches_appo_is_what_it_was():
    policy, vector = policy_for("CartPole-v1")
    unit, options = acted("CartPole-v1", policy, vector), AppoOptions(t_max=STEPS)
    vectors = []
    for kind in (AppoUpdater, ImpalaUpdater):
        updater = kind(task(options, policy), policy)
        updater.take(0, *unit, FRESH)
        assert len(updater.update(0, 0)) == options.epochs
        vectors.append(updater.state()["vector"])
    np.testing.assert_array_equal(*vectors)


def test_a_minibatch_whose_gradient_is_not_finite_is_left_out():
    policy, vector = policy_for("CartPole-v1")
    updater = AppoUpdater(task(PpoOptions(t_max=STEPS, minibatch=12, epochs=1, normalize_returns=False), policy), policy)
    trajectory, log_prob = acted("CartPole-v1", policy, vector)
    trajectory.observation[5, 1] = np.inf
    updater.take(0, trajectory, log_prob, FRESH)
    figures = updater.update(0, 0)
    assert 1.0 in [one["skipped"] for one in figures]
    assert np.isfinite(updater.state()["vector"]).all()


def test_a_batch_is_2048_steps_however_many_environments_share_it():
    for workers, envs, t_max in ((1, 1, 2048), (2, 1, 1024), (16, 1, 128), (3, 2, 341), (2, 4000, 1)):
        experiment, notes = settled(Experiment("ppo", "CartPole-v1", workers=workers, envs_per_worker=envs))
        assert (experiment.options.t_max, notes) == (t_max, [])
    experiment, notes = settled(Experiment("ppo", "CartPole-v1", workers=2, steps=400))
    assert experiment.options.t_max == 200
    assert "t_max is shortened to 200" in notes[0]
    named = Experiment("ppo", "CartPole-v1", workers=2, steps=4000, options=PpoOptions(t_max=50))
    assert settled(named) == (named, [])


def test_ppo_is_appo_in_sync():
    assert ALGORITHMS["ppo"].default_mode == "sync"
    assert ALGORITHMS["ppo"].implementation is ALGORITHMS["appo"].implementation
    assert set(vars(PpoOptions())) == set(vars(AppoOptions()))
