"""Greedy-AC and Greedy-TD3 against a reference in plain torch; the entropy bonus; what is found; acting; options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_devices import Apart, Distant, copied
from test_off_policy import batch, flattened, require_left_out, torch_network
from torch import nn
from torch.distributions import Normal

from asyncrl.algos.greedy import Greedy, log_density
from asyncrl.algos.td3 import Td3Options
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.greedy import LOG_STD, GreedyHead, GreedyOptions
from asyncrl.heads.networks.towers import noise
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.rounds import EPSILON, TEMPERATURE
from asyncrl.heads.tower import TowerPolicy

S, A, B, HIDDEN = 3, 3, 16, (24, 20)
SMALL = {"samples": 12, "greedy_share": 0.25, "entropy_scale": 0.3}
BEHAVIOURS = ("policy", "noise")
VECTOR = EnvSpec((S,), "float32", "box", (), (A,), (-1.0, 0.0, -3.0), (3.0, 0.5, 3.0), ())
both = pytest.mark.parametrize("behaviour", BEHAVIOURS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def greedy(behaviour="policy", actions=A, seed=0, chosen=None, **options):
    chosen = GreedyOptions(behaviour, **{**SMALL, **(chosen or {})})
    return Greedy(S, actions, Td3Options(tau=0.05, **options), seed, HIDDEN, chosen=chosen)


def drawn(seed=0, actions=A):
    return batch(seed, B, S, actions)


class Reference:
    """The specification in torch's own modules, distributions and Adam, state by state where it speaks of one."""

    def __init__(self, learner):
        self.o, self.c, self.seed, self.count = learner.options, learner.chosen, learner.seed, 0
        self.policy, self.policy_target, self.proposal = (torch_network(learner.policy.vector, learner.policy.shapes) for _ in range(3))
        halves = np.split(learner.critics.vector, 2)
        self.critics, self.critic_targets = ([torch_network(half, learner.critics.shapes) for half in halves] for _ in range(2))
        critics = [p for critic in self.critics for p in critic.parameters()]
        self.critic_adam = torch.optim.Adam(critics, self.o.critic_learning_rate)
        self.policy_adam, self.proposal_adam = (
            torch.optim.Adam(net.parameters(), self.o.policy_learning_rate) for net in (self.policy, self.proposal)
        )

    def normal(self, network, s):
        outputs = network(s)
        actions = outputs.shape[1] // 2
        return Normal(torch.tanh(outputs[:, :actions]), outputs[:, actions:].clamp(-np.log(1000), np.log(1000)).exp())

    def q(self, critic, s, a):
        return critic(torch.cat([s, a], 1))[:, 0]

    def descend(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        parameters = [p for group in adam.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()

    def update(self, b):
        self.count += 1
        s, a, r, d, s2 = (torch.tensor(x) for x in (b.observation, b.action, b.reward, b.discount, b.next_observation))
        with torch.no_grad():
            if self.c.behaviour == "policy":
                policy = self.normal(self.policy, s2)
                a2 = policy.mean
                if self.c.target_action == "drawn":
                    a2 = (a2 + policy.stddev * noise(self.seed, self.count, 3, (1, *a2.shape))[0]).clamp(-1, 1)
            else:
                a2 = self.normal(self.policy_target, s2).mean
                a2 = (a2 + (0.2 * noise(self.seed, self.count, 0, tuple(a2.shape))).clamp(-0.5, 0.5)).clamp(-1, 1)
            y = r + d * torch.minimum(*(self.q(critic, s2, a2) for critic in self.critic_targets))
        self.descend(sum(F.mse_loss(self.q(critic, s, a), y) for critic in self.critics), self.critic_adam)
        if self.count % self.o.policy_delay == 0:
            self.improve(s, a.shape[1])

    def improve(self, s, actions):
        proposal = self.normal(self.proposal, s)
        mean, std = proposal.mean.detach(), proposal.stddev.detach()
        samples = (mean + std * noise(self.seed, self.count, 1, (self.c.samples, len(s), actions))).clamp(-1, 1)
        values = torch.stack([self.q(self.critics[0], s, a) for a in samples]).detach().numpy()
        highest = [sorted(range(len(samples)), key=lambda k: -values[k, n])[:3] for n in range(len(s))]
        best = torch.stack([samples[places, n] for n, places in enumerate(highest)], 1)
        assert best.shape == (3, len(s), actions)
        fresh = mean + std * noise(self.seed, self.count, 2, (1, len(s), actions))[0]
        log_prob = proposal.log_prob(fresh).sum(1)
        bonus = self.c.entropy_scale * (log_prob.detach() * log_prob).mean()
        self.losses = [-self.normal(self.policy, s).log_prob(best).sum(2).mean(), -proposal.log_prob(best).sum(2).mean() + bonus]
        self.descend(self.losses[0], self.policy_adam)
        self.descend(self.losses[1], self.proposal_adam)
        for target, network in zip([*self.critic_targets, self.policy_target], [*self.critics, self.policy]):
            for theirs, ours in zip(target.parameters(), network.parameters()):
                theirs.data += self.o.tau * (ours.data - theirs.data)


@pytest.mark.parametrize(("behaviour", "target_action"), [("policy", "mean"), ("policy", "drawn"), ("noise", "mean")])
@pytest.mark.parametrize("actions", [1, 3])
def test_updates_equal_those_of_the_reference(behaviour, target_action, actions):
    learner = greedy(behaviour, actions, chosen={"target_action": target_action}, policy_learning_rate=3e-3, critic_learning_rate=3e-3)
    reference, start = Reference(learner), learner.policy.vector.copy()
    np.testing.assert_array_equal(learner.proposal.vector, start)
    for seed in range(12):
        figures = learner.update(drawn(seed, actions))
        reference.update(drawn(seed, actions))
        if seed % 2:
            losses = [loss.item() for loss in reference.losses]
            assert [figures["policy_loss"], figures["proposal_loss"]] == pytest.approx(losses, rel=1e-3, abs=1e-4)
    ours = (learner.policy.vector, learner.proposal.vector, learner.critics.vector, learner.critics.target)
    networks = ([reference.policy], [reference.proposal], reference.critics, reference.critic_targets)
    for vector, theirs in zip(ours, networks):
        np.testing.assert_allclose(vector, flattened(*theirs), atol=3e-4)
    assert np.abs(learner.policy.vector - start).max() > 5e-3
    assert np.abs(learner.policy.vector - learner.proposal.vector).max() > 1e-3  # the entropy counts for one of them


def test_the_bonus_has_the_gradient_of_the_entropy():
    learner, states = greedy(), 100_000
    outputs = torch.tensor([0.3, -0.8, 1.0, 0.5, -1.0, 0.2])

    def entropy(one):
        return Normal(torch.tanh(one[:A]), one[A:].exp()).entropy().sum().item()

    steps = 1e-2 * torch.eye(2 * A)
    expected = [(entropy(outputs + step) - entropy(outputs - step)) / 2e-2 for step in steps]
    rows = outputs.expand(states, -1).clone().requires_grad_()
    learner.entropy(rows).backward()
    np.testing.assert_allclose(rows.grad.sum(0).numpy(), expected, atol=0.05)
    assert expected == pytest.approx([0.0] * A + [1.0] * A, abs=1e-3)


def test_the_more_entropy_counts_the_broader_proposals_are():
    broad = []
    for scale in (0.0, 0.1, 1.0):
        learner = greedy(chosen={"entropy_scale": scale}, policy_learning_rate=3e-3)
        figures = [learner.update(drawn(seed)) for seed in range(60)]
        broad.append(figures[-1]["proposal_std"])
    assert broad[0] < 0.9 * broad[1] < 0.8 * broad[2]


def test_the_density_is_the_normal_one_also_far_away():
    outputs = torch.tensor([[0.5, -20.0, 0.0, 9.0], [3.0, 1.0, -9.0, 0.5]])
    actions = torch.tensor([[[0.4, -1.0], [0.9, 1.0]]])
    expected = Normal(outputs[:, :2].tanh(), outputs[:, 2:].clamp(*LOG_STD).exp()).log_prob(actions).sum(2)
    torch.testing.assert_close(log_density(outputs, actions), expected)


@both
def test_a_copied_state_goes_on_to_the_bit(behaviour):
    learner, other = greedy(behaviour), greedy(behaviour, seed=5)
    for seed in range(5):
        learner.update(drawn(seed))
    other.seed = learner.seed
    other.restore({name: array.copy() for name, array in learner.state.items()})
    for seed in range(5, 9):
        assert learner.update(drawn(seed)) == other.update(drawn(seed))
    for name, array in learner.state.items():
        np.testing.assert_array_equal(other.state[name], array)
    assert {"proposal", "proposal_statistics"} < learner.state.keys() and "proposal_target" not in learner.state


@both
def test_on_a_device_everything_stays_there(behaviour):
    with Apart() as apart:
        learner = Greedy(S, A, Td3Options(tau=0.05), 0, HIDDEN, Distant(apart), GreedyOptions(behaviour, **SMALL))
        for seed in range(2):
            learner.update(drawn(seed))
        learner.restore(copied(learner.state))
        learner.published(np.zeros(learner.published_size, np.float32))
    here = greedy(behaviour)
    for seed in range(2):
        here.update(drawn(seed))
    for name, array in here.state.items():
        np.testing.assert_allclose(learner.state[name], array, atol=1e-4)


@both
@pytest.mark.parametrize("reward", [np.nan, 1e30])
def test_a_gradient_that_is_not_finite_is_left_out_and_told(behaviour, reward):
    require_left_out(greedy(behaviour, actions=2), reward)


def test_the_best_action_is_found_where_nothing_follows():
    """Reward -(a - s)^2 and no future: the policy's mean must become the state itself, and its deviation small."""
    learner = Greedy(1, 1, Td3Options(policy_learning_rate=1e-3, critic_learning_rate=3e-3), 3, (32, 32))
    generator = np.random.default_rng(0)
    for _ in range(300):
        b = batch(size=64, observations=1, actions=1)
        b.observation[:], b.action[:] = generator.uniform(-0.8, 0.8, (64, 1)), generator.uniform(-1, 1, (64, 1))
        b.reward[:], b.discount[:] = -((b.action - b.observation) ** 2)[:, 0], 0.0
        figures = learner.update(b)
    states = torch.linspace(-0.7, 0.7, 15)[:, None]
    assert (learner.greedy(states) - states).abs().max() < 0.15
    assert 0 < figures["policy_std"] < 0.1


# Acting.


def acted(behaviour, steps=300, envs=2, **knobs):
    """(round arrays after acting, the mean [T, E, C], the deviation [T, E, C]) of a learner that has made some updates."""
    learner = greedy(behaviour, policy_learning_rate=1e-2)
    for seed in range(10):
        learner.update(drawn(seed))
    policy = TowerPolicy(VECTOR, "greedy", HIDDEN, learner.chosen)
    vector = np.zeros(policy.size, np.float32)
    learner.published(vector)
    rounds = policy.round_arrays(steps, envs)
    generator = np.random.default_rng(1)
    rounds.raw[:] = generator.standard_normal(rounds.raw.shape)
    rounds.extra_noise[:] = 0.3 * generator.standard_normal(rounds.extra_noise.shape)
    rounds.knobs[EPSILON], rounds.knobs[TEMPERATURE] = knobs.get("epsilon", 0.0), knobs.get("temperature", 1.0)
    policy.head.draw(generator, rounds)
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    assert all(kernel(*arguments, t) for t in range(steps))
    with torch.no_grad():
        outputs = learner.policy.run(torch.tensor(rounds.raw[:-1].reshape(-1, S)))[0].numpy().reshape(steps, envs, 2 * A)
    return rounds, np.tanh(outputs[..., :A]), np.exp(outputs[..., A:])


@both
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_acting_is_that_of_the_behaviour(behaviour, temperature):
    rounds, mean, std = acted(behaviour, temperature=temperature)
    own = temperature * std * rounds.noise[0, ..., :A] if behaviour == "policy" else 0.0
    expected = np.clip(mean + own + rounds.extra_noise, -1, 1)
    np.testing.assert_allclose(rounds.action, expected, atol=2e-5)
    assert (np.abs(expected) == 1).any() and np.ptp(std) > 0.05
    low, high = np.array([VECTOR.action_low, VECTOR.action_high])
    np.testing.assert_allclose(rounds.bounded, low + 0.5 * (rounds.action + 1) * (high - low), atol=1e-5)


@both
def test_the_warm_up_is_uniform(behaviour):
    rounds, _, _ = acted(behaviour, steps=2000, epsilon=1.0)
    numbers = rounds.action.reshape(-1, A)
    np.testing.assert_allclose(numbers.mean(0), 0.0, atol=0.05)
    np.testing.assert_allclose(numbers.var(0), 1 / 3, atol=0.02)


# Options.


@pytest.mark.parametrize(("share", "samples", "count"), [(0.1, 30, 3), (0.29, 100, 29), (1.0, 7, 7), (0.5, 3, 1)])
def test_the_share_is_rounded_down_exactly(share, samples, count):
    assert GreedyOptions(samples=samples, greedy_share=share).chosen == count


def test_a_share_of_none_is_refused():
    with pytest.raises(UserError, match=r"greedy_share = 0.01 leaves none of samples = 30 \(allowed: from 1/30; or more samples\)"):
        GreedyHead(VECTOR, NetworkOptions(head_options=GreedyOptions(greedy_share=0.01)))


def test_a_policy_that_draws_its_actions_needs_no_noise():
    assert [GreedyOptions(behaviour).explore("gaussian:0.1") for behaviour in BEHAVIOURS] == ["", "gaussian:0.1"]
    assert [greedy(behaviour).options.target_noise for behaviour in BEHAVIOURS] == [0.0, 0.2]
    assert [greedy(behaviour, target_noise=0.1).options.target_noise for behaviour in BEHAVIOURS] == [0.1, 0.1]
