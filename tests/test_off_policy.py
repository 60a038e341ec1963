"""DDPG, TD3 and SAC against references written out in torch; acting against the learner's network; continuation to the bit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate
from torch import nn

from asyncrl.actors.rollout import Actor
from asyncrl.actors.spelling import parse_exploration
from asyncrl.algos.ddpg import Ddpg, DdpgOptions
from asyncrl.algos.sac import Sac, SacOptions, squashed
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.envs import GymnasiumStepping
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.choice import REPLAY_ROLES, with_role
from asyncrl.heads.networks.kernels import policy_forward, workspace_size
from asyncrl.heads.networks.towers import noise
from asyncrl.heads.tower import TowerPolicy
from asyncrl.replays.records import Batch

S, A, B, HIDDEN = 3, 2, 16, (24, 20)
SMALL = {"tau": 0.05}
LEARNERS = {
    "ddpg": lambda seed=0, **more: Ddpg(S, A, DdpgOptions(**SMALL, **more), seed, HIDDEN),
    "td3": lambda seed=0, **more: Td3(S, A, Td3Options(**SMALL, **more), seed, HIDDEN),
    "sac": lambda seed=0, **more: Sac(S, A, SacOptions(**SMALL, **more), seed, HIDDEN),
}
VECTOR = EnvSpec((S,), "float32", "box", (), (A,), (-1.0, 0.0), (3.0, 0.5), ())


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch(seed=0, size=B, observations=S, actions=A):
    generator = np.random.default_rng(seed)
    observation, following = generator.standard_normal((2, size, observations)).astype(np.float32)
    action = generator.uniform(-1, 1, (size, actions)).astype(np.float32)
    reward, discount = generator.standard_normal(size).astype(np.float32), np.full(size, 0.95, np.float32)
    discount[::4] = 0.0
    ones, numbers = np.ones(size, np.float32), np.zeros(size, np.int64)
    return Batch(observation, action, reward, discount, following, numbers, numbers, ones, numbers)


def torch_network(vector, shapes):
    """The same MLP as nn.Linear layers, from a learner's vector."""
    layers, position = [], 0
    for inputs, outputs in shapes:
        linear = nn.Linear(inputs, outputs)
        weight = vector[position : position + inputs * outputs].reshape(inputs, outputs)
        position += inputs * outputs
        linear.weight.data, linear.bias.data = torch.tensor(weight.T.copy()), torch.tensor(vector[position : position + outputs].copy())
        position += outputs
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def flattened(*networks):
    parts = [part for net in networks for layer in net if isinstance(layer, nn.Linear) for part in (layer.weight.T.reshape(-1), layer.bias)]
    return torch.cat(parts).detach().numpy()


class Reference:
    """Straightforward torch, from the same start."""

    def __init__(self, learner):
        self.o, self.learner, self.count = learner.options, learner, 0
        self.policy, self.policy_target = (torch_network(learner.policy.vector, learner.policy.shapes) for _ in range(2))
        halves = np.split(learner.critics.vector, len(learner.critics.layers))
        self.critics, self.critic_targets = ([torch_network(half, learner.critics.shapes) for half in halves] for _ in range(2))
        self.policy_adam = torch.optim.Adam(self.policy.parameters(), self.o.policy_learning_rate)
        self.critic_adam = torch.optim.Adam([p for net in self.critics for p in net.parameters()], self.o.critic_learning_rate)
        self.log_alpha = torch.zeros((), requires_grad=True, dtype=torch.float64)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], 3e-4)

    def normal(self, stream):
        return noise(self.learner.seed, self.count, stream, (B, A))

    def tensors(self, b):
        return [torch.tensor(array) for array in (b.observation, b.action, b.reward, b.discount, b.next_observation)]

    def smallest(self, critics, s, a):
        return torch.stack([net(torch.cat([s, a], 1)).squeeze(1) for net in critics]).min(0).values

    def regress(self, s, a, y):
        loss = sum(F.mse_loss(net(torch.cat([s, a], 1)).squeeze(1), y) for net in self.critics)
        self.descend(loss, self.critic_adam)

    def descend(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()

    def follow(self, targets, nets):
        for target, net in zip(targets, nets):
            for theirs, ours in zip(target.parameters(), net.parameters()):
                theirs.data += self.o.tau * (ours.data - theirs.data)

    def td3(self, b):
        self.count += 1
        s, a, r, d, s2 = self.tensors(b)
        with torch.no_grad():
            smoothing = (self.o.target_noise * self.normal(0)).clamp(-self.o.target_noise_clip, self.o.target_noise_clip)
            a2 = (torch.tanh(self.policy_target(s2)) + smoothing).clamp(-1, 1)
            y = r + d * self.smallest(self.critic_targets, s2, a2)
        self.regress(s, a, y)
        if self.count % self.o.policy_delay == 0:
            self.descend(-self.critics[0](torch.cat([s, torch.tanh(self.policy(s))], 1)).mean(), self.policy_adam)
            self.follow([self.policy_target, *self.critic_targets], [self.policy, *self.critics])

    ddpg = td3

    def sample(self, s, stream):
        mean, log_std = self.policy(s).chunk(2, 1)
        u = mean + log_std.exp() * self.normal(stream)
        log_prob = torch.distributions.Normal(mean, log_std.exp()).log_prob(u) - torch.log1p(-(torch.tanh(u) ** 2))
        return torch.tanh(u), log_prob.sum(1)

    def sac(self, b):
        self.count += 1
        s, a, r, d, s2 = self.tensors(b)
        alpha = self.log_alpha.exp().item()
        with torch.no_grad():
            a2, log_prob = self.sample(s2, 0)
            y = r + d * (self.smallest(self.critic_targets, s2, a2) - alpha * log_prob)
        self.regress(s, a, y)
        fresh, log_prob = self.sample(s, 1)
        self.descend((alpha * log_prob - self.smallest(self.critics, s, fresh)).mean(), self.policy_adam)
        self.descend(-self.log_alpha * (log_prob.detach().mean().double() - A), self.alpha_adam)
        self.follow(self.critic_targets, self.critics)


@pytest.mark.parametrize("name", LEARNERS)
def test_updates_equal_those_of_the_reference(name):
    learner = LEARNERS[name](policy_learning_rate=1e-2, critic_learning_rate=1e-2)
    reference = Reference(learner)
    start = learner.policy.vector.copy()
    for seed in range(20):
        learner.update(batch(seed))
        getattr(reference, name)(batch(seed))
    np.testing.assert_allclose(learner.policy.vector, flattened(reference.policy), atol=2e-4)
    np.testing.assert_allclose(learner.critics.vector, flattened(*reference.critics), atol=2e-4)
    np.testing.assert_allclose(learner.critics.target, flattened(*reference.critic_targets), atol=1e-4)
    if name == "sac":
        assert learner.temperature[0] == pytest.approx(reference.log_alpha.item(), abs=1e-5)
        assert learner.temperature[0] != 0
    else:
        np.testing.assert_allclose(learner.policy.target, flattened(reference.policy_target), atol=1e-4)
    assert np.abs(learner.policy.vector - start).max() > 0.02


@pytest.mark.parametrize("name", LEARNERS)
def test_termination_bootstraps_nothing_and_truncation_does(name):
    learner = LEARNERS[name]()
    b = batch()
    y = learner.target(*map(torch.tensor, (b.reward, b.discount, b.next_observation)))[:, 0].numpy()
    ends = b.discount == 0
    np.testing.assert_array_equal(y[ends], b.reward[ends])
    assert (np.abs(y - b.reward)[~ends] > 1e-4).all()


def test_target_smoothing_is_clipped_and_stays_within_the_actions():
    learner = LEARNERS["td3"](target_noise=100.0, target_noise_clip=0.3)
    learner.policy.target *= 2.5  # so that some actions are near their bounds
    b = batch(size=512)
    seen = {}
    run = learner.critics.run_targets
    learner.critics.run_targets = lambda x: seen.update(x=x.clone()) or run(x)
    learner.target(*map(torch.tensor, (b.reward, b.discount, b.next_observation)))
    smoothed = seen["x"][:, S:].numpy()
    clean = np.tanh(learner.policy.run_targets(torch.tensor(b.next_observation))[0].numpy())
    moved = smoothed - clean
    assert np.abs(moved).max() <= 0.3 + 1e-6
    inside = np.abs(clean) < 0.7
    assert np.median(np.abs(moved[inside])) == pytest.approx(0.3, abs=1e-6)  # noise this large is nearly always clipped
    assert 0.4 < (moved[inside] > 0).mean() < 0.6
    assert (np.abs(smoothed) == 1).mean() > 0.05
    assert np.abs(smoothed).max() == 1


def test_noise_is_that_of_its_update_and_stream_alone():
    first = noise(7, 5, 0, (400, 5))
    torch.testing.assert_close(first, noise(7, 5, 0, (400, 5)), rtol=0, atol=0)
    for other in (noise(7, 5, 1, (400, 5)), noise(7, 6, 0, (400, 5)), noise(8, 5, 0, (400, 5))):
        assert abs(float((first * other).mean())) < 0.1
    assert (float(first.mean()), float(first.std())) == pytest.approx((0, 1), abs=0.1)


def test_policy_and_targets_are_delayed():
    learner = LEARNERS["td3"](policy_delay=3)
    for count in range(1, 10):
        before = {name: array.copy() for name, array in learner.state.items()}
        figures = learner.update(batch(count))
        changed = {name for name, array in learner.state.items() if (array != before[name]).any()}
        always = {"critics", "critics_statistics", "counts"}
        assert changed == (set(learner.state) if count % 3 == 0 else always)
        assert ("policy_loss" in figures) == (count % 3 == 0)
    assert learner.counts.tolist() == [9, 3]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_copied_state_goes_on_to_the_bit(name):
    learner, other = LEARNERS[name](), LEARNERS[name]()
    for seed in range(5):
        learner.update(batch(seed))
    for key, array in learner.state.items():
        other.state[key][...] = array
    for seed in range(5, 10):
        assert learner.update(batch(seed)) == other.update(batch(seed))
        np.testing.assert_array_equal(learner.errors, other.errors)
    for key, array in learner.state.items():
        np.testing.assert_array_equal(other.state[key], array)
    assert not np.array_equal(LEARNERS[name](seed=1).policy.vector, LEARNERS[name]().policy.vector)


@pytest.mark.parametrize("name", LEARNERS)
def test_errors_and_weights_of_prioritised_draws(name):
    learner, plain, b = LEARNERS[name](priority_alpha=0.6), LEARNERS[name](), batch()
    s, a = torch.tensor(b.observation), torch.tensor(b.action)
    values = torch.cat(learner.critics.run(torch.cat([s, a], 1)), 1).detach()
    learner.counts[0] += 1  # the noise of the update that follows
    y = learner.target(*map(torch.tensor, (b.reward, b.discount, b.next_observation)))
    learner.counts[0] -= 1
    learner.update(b)
    np.testing.assert_allclose(learner.errors, (values - y).abs().mean(1).numpy(), atol=1e-6)
    plain.update(b)
    np.testing.assert_array_equal(plain.critics.vector, learner.critics.vector)  # all weights are 1
    weighted, ignoring = LEARNERS[name](priority_alpha=0.6), LEARNERS[name]()
    nothing = replace(b, weight=np.zeros(B, np.float32))
    start = weighted.critics.vector.copy()
    weighted.update(nothing)
    np.testing.assert_array_equal(weighted.critics.vector, start)
    ignoring.update(nothing)
    np.testing.assert_array_equal(ignoring.critics.vector, plain.critics.vector)


@pytest.mark.parametrize("name", LEARNERS)
def test_gradients_are_limited(name):
    learner = LEARNERS[name](max_gradient_norm=1e-3)
    figures = learner.update(batch())
    assert figures["critic_gradient_norm"] > 1e-3
    # Adam's first mean is 0.1 times the (clipped) gradient.
    assert 10 * np.linalg.norm(learner.critics.statistics[0]) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("reward", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", LEARNERS)
def test_a_gradient_that_is_not_finite_is_left_out_and_told(name, reward):
    require_left_out(LEARNERS[name](), reward)


def require_left_out(learner, reward):
    """A batch with this reward moves no critic, and everything stays finite. (Of 1e30 the gradient's square is not: Adam keeps it.)"""
    assert learner.update(batch(0))["skipped"] == 0
    before = {key: np.array(array) for key, array in learner.state.items()}
    bad = batch(1)
    bad.reward[3] = reward
    assert learner.update(bad)["skipped"] == 1
    for key in ("critics", "critics_statistics"):
        np.testing.assert_array_equal(learner.state[key], before[key])
    assert all(np.isfinite(array).all() for array in learner.state.values())
    assert learner.update(batch(2))["skipped"] == 0
    assert not np.array_equal(learner.state["critics"], before["critics"])


def test_a_temperature_outlives_a_policy_that_does_not():
    learner = LEARNERS["sac"]()
    learner.policy.vector[:] = np.nan
    assert learner.update(batch())["skipped"] == 1
    assert np.isfinite(learner.temperature).all()


@pytest.mark.parametrize("name", LEARNERS)
def test_the_best_action_is_found_where_nothing_follows(name):
    """Reward -(a - s)^2 and no future: the policy must become the state itself."""
    make, options = {"ddpg": (Ddpg, DdpgOptions), "td3": (Td3, Td3Options), "sac": (Sac, SacOptions)}[name]
    rates = {"policy_learning_rate": 3e-3, "critic_learning_rate": 3e-3}
    extra = {"temperature": 0.01, "tune_temperature": False} if name == "sac" else {}
    learner = make(1, 1, options(**rates, **extra), 0, (32, 32))
    policy = TowerPolicy(
        replace(VECTOR, observation_shape=(1,), action_shape=(1,), action_low=(-1.0,), action_high=(1.0,)), head_of(name), (32, 32)
    )
    generator = np.random.default_rng(0)
    for _ in range(500):
        b = batch(size=64, observations=1, actions=1)
        b.observation[:], b.action[:] = generator.uniform(-0.8, 0.8, (64, 1)), generator.uniform(-1, 1, (64, 1))
        b.reward[:], b.discount[:] = -((b.action - b.observation) ** 2)[:, 0], 0.0
        learner.update(b)
    vector = np.zeros(learner.published_size, np.float32)
    learner.published(vector)
    states = np.linspace(-0.7, 0.7, 15, dtype=np.float32)[:, None]
    assert np.abs(greedy_action(policy, vector, states) - states).max() < 0.15


def test_the_squashed_density_integrates_to_one_and_never_overflows():
    mean, log_std = torch.tensor([[0.4]], dtype=torch.float64), torch.tensor([[-0.3]], dtype=torch.float64)

    def density(action):
        normal = (np.arctanh(action) - mean) / log_std.exp()
        return squashed(mean, log_std, normal)[1].exp().item()

    assert integrate.quad(density, -1, 1)[0] == pytest.approx(1, abs=1e-6)
    far = torch.tensor([[50.0, -50.0]])
    action, log_prob = squashed(far, torch.zeros(1, 2), torch.zeros(1, 2))
    assert action.tolist() == [[1.0, -1.0]]
    # log(1 - tanh(u)^2) tends to 2 log 2 - 2 |u|
    assert log_prob.item() == pytest.approx(2 * (-0.5 * np.log(2 * np.pi) - 2 * np.log(2) + 100), rel=1e-6)


def test_the_temperature_rises_while_the_entropy_is_short_and_falls_while_it_is_not():
    for target, direction in ((5.0, 1), (-30.0, -1)):
        learner = LEARNERS["sac"](target_entropy=target)
        temperatures = [learner.update(batch(seed))["temperature"] for seed in range(5)]
        assert (np.sign(np.diff(temperatures)) == direction).all()
    fixed = LEARNERS["sac"](tune_temperature=False, temperature=0.2)
    assert [fixed.update(batch(seed))["temperature"] for seed in range(3)] == pytest.approx([0.2] * 3)
    assert LEARNERS["sac"]().target_entropy == -A


# Acting.


def greedy_action(policy, vector, observation):
    """The action [E, C] in [-1, 1] at observation[E, D], without noise, by the compiled network: tanh of the mean."""
    output = np.zeros((len(observation), policy.head.policy_outputs), np.float32)
    work = np.zeros(workspace_size(policy.plan, len(observation)), np.float32)
    policy_forward(policy.plan, vector, observation, work, output)
    return np.tanh(output[:, : policy.head.components])


def head_of(name):
    return "squashed" if name == "sac" else "deterministic"


@pytest.mark.parametrize("name", LEARNERS)
def test_acting_equals_the_learners_network(name):
    learner = LEARNERS[name](seed=3)
    policy = TowerPolicy(VECTOR, head_of(name), HIDDEN)
    assert policy.size == learner.published_size
    vector = np.zeros(policy.size, np.float32)
    learner.published(vector)
    observation = 3 * np.random.default_rng(0).standard_normal((9, S)).astype(np.float32)
    with torch.no_grad():
        expected = torch.tanh(torch_network(vector, learner.policy.shapes)(torch.tensor(observation))[:, :A]).numpy()
    np.testing.assert_allclose(greedy_action(policy, vector, observation), expected, atol=1e-6)


def play(head, exploration, steps=50, temperature=None, scale=1.0):
    """(policy, parameters, trajectory, round arrays) on Pendulum, whose action lies in [-2, 2]."""
    environments = [gymnasium.make("Pendulum-v1") for _ in range(2)]
    policy = TowerPolicy(EnvSpec((3,), "float32", "box", (), (1,), (-2.0,), (2.0,), ()), head, (8,))
    vector = (scale * np.random.default_rng(1).standard_normal(policy.size)).astype(np.float32)
    settings = parse_exploration(exploration, 1, 0)[0]
    actor = Actor(GymnasiumStepping(environments, policy.spec), policy, vector, steps, settings, np.random.default_rng(2))
    actor.reset([1, 2])
    return policy, vector, actor.collect(0, 0), actor.rounds


def greedy(policy, vector, trajectory):
    seen = trajectory.observation[:-1]
    return greedy_action(policy, vector, seen.reshape(-1, 3)).reshape(*seen.shape[:2], 1)


def test_without_noise_the_deterministic_action_is_taken():
    policy, vector, trajectory, rounds = play("deterministic", "")
    np.testing.assert_allclose(trajectory.action, greedy(policy, vector, trajectory), atol=1e-6)
    np.testing.assert_allclose(rounds.bounded, 2 * trajectory.action, atol=1e-6)
    assert np.ptp(trajectory.action) > 0.1


@pytest.mark.parametrize("scale", [0.05, 0.5])
def test_an_actors_noise_has_its_own_scale_and_what_was_taken_is_stored(scale):
    policy, vector, trajectory, rounds = play("deterministic", f"gaussian:{scale}", 400)
    assert rounds.extra_noise.std() == pytest.approx(scale, rel=0.1)
    expected = greedy(policy, vector, trajectory) + rounds.extra_noise
    assert (np.abs(expected) > 1).any()
    np.testing.assert_allclose(trajectory.action, expected.clip(-1, 1), atol=1e-6)
    np.testing.assert_allclose(rounds.bounded, 2 * trajectory.action, atol=1e-6)


def test_warm_up_is_uniform():
    _, _, trajectory, rounds = play("squashed", "epsilon:1", 1000)
    assert (trajectory.action.min(), trajectory.action.max()) == pytest.approx((-1, 1), abs=0.01)
    assert trajectory.action.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    np.testing.assert_allclose(rounds.bounded, 2 * trajectory.action, atol=1e-6)


def test_the_squashed_head_draws_from_the_learners_distribution():
    policy, vector, trajectory, _ = play("squashed", "", 600, scale=0.3)
    seen = torch.tensor(trajectory.observation[:-1].reshape(-1, 3))
    output = torch_network(vector, [(3, 8), (8, 2)])(seen).detach().numpy()
    normal = (np.arctanh(trajectory.action.astype(float).reshape(-1)) - output[:, 0]) / np.exp(output[:, 1])
    assert (normal.mean(), normal.std()) == pytest.approx((0, 1), abs=0.08)
    _, vector, still, _ = play("squashed", "temperature:0.000000001", 50, scale=0.3)
    np.testing.assert_allclose(still.action, greedy(policy, vector, still), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "head", "text"),
    [
        (
            replace(VECTOR, action_kind="discrete", action_sizes=(3,), action_low=(), action_high=()),
            "deterministic",
            "needs Box actions, .* discrete",
        ),
        (replace(VECTOR, action_high=(np.inf, 1.0)), "squashed", "finite bounds"),
        (replace(VECTOR, observation_shape=(1, 84, 84), observation_dtype="uint8"), "squashed", "vectors"),
        (VECTOR, "squasht", "did you mean 'squashed'"),
    ],
)
def test_what_does_not_fit_is_refused(spec, head, text):
    with pytest.raises(UserError, match=text):
        TowerPolicy(spec, head)
    rivals = {"wolpertinger", "cross-entropy", "joint", "greedy"}
    assert set(with_role(*REPLAY_ROLES)) == {"deterministic", "squashed", "savo", *rivals}


def test_options_can_be_read_without_torch():
    code = "import sys, asyncrl.algos.ddpg, asyncrl.algos.td3, asyncrl.algos.sac, asyncrl.algos.npg; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
