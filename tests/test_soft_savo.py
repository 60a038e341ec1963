"""SAC+SAVO: head savo of sac against a reference that is written in plain loops, against sac, and acting."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_devices import Apart, Distant, copied
from test_off_policy import require_left_out
from test_savo import HIDDEN, SMALL, VECTOR, A, B, K, S, Told, act, mlp, put, taken
from test_savo import batch as proposed_batch
from torch import nn

from asyncrl.algos.sac import Sac, SacOptions
from asyncrl.algos.soft_savo import SoftSavo
from asyncrl.heads.networks.towers import noise
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import ALONE, EPSILON, TEMPERATURE
from asyncrl.heads.savo import SavoOptions
from asyncrl.heads.tower import TowerPolicy

VARIANTS = [
    *({"n_actors": actors} for actors in (1, 2, 3, K)),
    {"surrogate_points": "fresh"},
    {"surrogate_values": "online"},
    {"target_choice": "online"},
    {"pooling": "max"},
    {"told": "input"},
    {"surrogates": "exact"},
    {"surrogates": "none", "told": "nothing"},
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def soft(seed=0, chosen=None, **options):
    chosen = SavoOptions(**{"n_actors": K, **SMALL, **(chosen or {})})
    return SoftSavo(S, A, SacOptions(tau=0.05, **options), seed, HIDDEN, chosen=chosen)


def batch(seed=0, actors=K):
    """Transitions whose executed action was drawn: it is none of the proposals."""
    return proposed_batch(seed, actors, apart=True)


class Reference:
    """The update of the learner's module, one actor and one row at a time where it speaks of them."""

    def __init__(self, learner):
        self.o, self.c, self.seed, self.count = learner.options, learner.chosen, learner.seed, 0
        actors = self.c.n_actors
        self.actors = [mlp(S, 2 * A), *(Told(S, 2 * A, self.c) for _ in range(actors - 1))]
        self.critics, self.targets = ([mlp(S + A, 1) for _ in range(2)] for _ in range(2))
        self.surrogates = [Told(S + A, 1, self.c) for _ in range(actors - 1 if self.c.surrogates == "fitted" else 0)]
        put(self.actors, learner.policy.vector)
        for networks in (self.critics, self.targets):
            put(networks, learner.critics.vector)
        if self.surrogates:
            put(self.surrogates, learner.surrogates.vector, together=True)
        self.log_alpha = torch.tensor(learner.temperature[0], requires_grad=True)
        rate = self.o.critic_learning_rate
        rates = ((self.actors, self.o.policy_learning_rate), (self.critics, rate), (self.surrogates, rate))
        numbers = [([p for network in networks for p in network.parameters()], rate) for networks, rate in rates]
        self.adams = [torch.optim.Adam(parameters, rate) for parameters, rate in numbers if parameters]
        self.alpha_adam = torch.optim.Adam([self.log_alpha], self.o.temperature_learning_rate)

    def descend(self, loss, which):
        parameters = self.adams[which].param_groups[0]["params"]
        for p, slope in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.grad = slope
        if self.o.max_gradient_norm:
            nn.utils.clip_grad_norm_(parameters, self.o.max_gradient_norm)
        self.adams[which].step()

    def cascade(self, s):
        """(mean before tanh, log deviation) of each actor."""
        said, told = [], []
        for i, actor in enumerate(self.actors):
            said.append((actor(s, s, told) if i else actor(s)).chunk(2, 1))
            told.append(torch.tanh(said[-1][0]).detach())
        return said, told

    def draw(self, mean, log_std, normal):
        u = mean + log_std.exp() * normal
        log_prob = torch.distributions.Normal(mean, log_std.exp()).log_prob(u) - torch.log1p(-(torch.tanh(u) ** 2))
        return torch.tanh(u), log_prob.sum(1)

    def normal(self, stream, *shape):
        return noise(self.seed, self.count, stream, shape)

    def q(self, critic, s, a):
        return critic(torch.cat([s, a], 1))[:, 0]

    def least(self, critics, s, a):
        return torch.minimum(*(self.q(critic, s, a) for critic in critics))

    def winners(self, critic, s, told):
        return torch.stack([self.q(critic, s, m) for m in told]).argmax(0).tolist()

    def of_winner(self, critic, s, stream):
        """(what the winner draws, its log pi)"""
        said, told = self.cascade(s)
        winners = self.winners(critic, s, told)
        mean, log_std = (torch.stack([said[winner][part][n] for n, winner in enumerate(winners)]) for part in (0, 1))
        return self.draw(mean, log_std, self.normal(stream, B, A))

    def update(self, drawn):
        self.count += 1
        s, a, r, d, s2 = (torch.tensor(x) for x in (drawn.observation, drawn.action, drawn.reward, drawn.discount, drawn.next_observation))
        alpha = self.log_alpha.exp().item()
        with torch.no_grad():
            a2, log_prob = self.of_winner(self.critics[0] if self.c.target_choice == "online" else self.targets[0], s2, 0)
            y = r + d * (self.least(self.targets, s2, a2) - alpha * log_prob)
        losses = {"critic_loss": sum(F.mse_loss(self.q(critic, s, a), y) for critic in self.critics), "temperature": torch.tensor(alpha)}
        self.descend(losses["critic_loss"], 1)
        if self.surrogates:
            losses["surrogate_loss"] = self.surrogate_loss(s, a, list(torch.tensor(drawn.extras["proposals"]).unbind(1)))
            self.descend(losses["surrogate_loss"], 2)
        losses["policy_loss"], log_prob = self.actor_loss(s, alpha)
        losses["entropy"] = -log_prob.mean()
        self.descend(losses["policy_loss"], 0)
        self.alpha_adam.zero_grad()
        (-self.log_alpha * (log_prob.detach().mean().double() - A)).backward()
        self.alpha_adam.step()
        for target, critic in zip(self.targets, self.critics):
            for theirs, ours in zip(target.parameters(), critic.parameters()):
                theirs.data += self.o.tau * (ours.data - theirs.data)
        return {name: loss.item() for name, loss in losses.items()}

    def surrogate_loss(self, s, a, stored):
        with torch.no_grad():
            if self.c.surrogate_points == "fresh":
                stored, a = self.cascade(s)[1], self.of_winner(self.critics[0], s, 2)[0]
            critics = self.critics if self.c.surrogate_values == "online" else self.targets
            values = [self.least(critics, s, m) for m in stored]
            executed = self.least(critics, s, a)
        squares = []
        for i, surrogate in enumerate(self.surrogates, start=1):
            tau = torch.stack(values[:i]).amax(0)
            for point, value in ((stored[i], values[i]), (a, executed)):
                psi = surrogate(s, torch.cat([s, point], 1), stored[:i])[:, 0]
                squares.append((psi - torch.maximum(tau, value)) ** 2)
        return torch.stack(squares).mean()

    def actor_loss(self, s, alpha):
        """(the loss, log pi [B] of the winners)"""
        said, told = self.cascade(s)
        loss, log_probs, normal = 0.0, [], self.normal(1, len(said), B, A)
        for i, (mean, log_std) in enumerate(said):
            action, log_prob = self.draw(mean, log_std, normal[i])
            value = self.least(self.critics, s, action)
            if i and self.c.surrogates == "fitted":
                value = self.surrogates[i - 1](s, torch.cat([s, action], 1), told[:i])[:, 0]
            elif i and self.c.surrogates == "exact":
                best = torch.stack([self.least(self.critics, s, m) for m in told[:i]]).amax(0).detach()
                value = torch.maximum(value, best)
            loss = loss + (alpha * log_prob - value).mean()
            log_probs.append(log_prob)
        winners = self.winners(self.critics[0], s, told)
        return loss, torch.stack([log_probs[winner][n] for n, winner in enumerate(winners)])


@pytest.mark.parametrize("chosen", VARIANTS, ids=str)
def test_updates_equal_those_of_the_reference(chosen):
    rates = {"policy_learning_rate": 3e-3, "critic_learning_rate": 3e-3, "temperature_learning_rate": 1e-2}
    learner = soft(chosen=chosen, **rates)
    if learner.surrogates is not None:
        learner.surrogates.vector[:] *= 2  # so that it matters what they are told
    reference, start = Reference(learner), {name: array.copy() for name, array in learner.state.items()}
    firsts = []
    for seed in range(10):
        drawn = batch(seed, learner.chosen.n_actors)
        figures, expected = learner.update(drawn), reference.update(drawn)
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=3e-3, abs=1e-4)
        firsts.append(figures["first_chosen"])
    assert learner.chosen.n_actors == 1 or 0 < np.mean(firsts) < 1
    expected = {"policy": taken(reference.actors), "critics": taken(reference.critics), "critics_target": taken(reference.targets)}
    assert ("surrogates" in start) == bool(reference.surrogates)
    if reference.surrogates:
        expected["surrogates"] = taken(reference.surrogates, together=True)
    for name, array in expected.items():  # in the mean: Adam makes much of single tiny slopes
        way = np.abs(array - start[name])
        assert np.abs(learner.state[name] - array).mean() <= 2e-3 * way.mean(), name
    assert learner.temperature[0] == pytest.approx(reference.log_alpha.item(), abs=1e-5) != 0


@pytest.mark.parametrize("options", [{}, {"priority_alpha": 0.6}, {"max_gradient_norm": 0.0}])
def test_one_actor_is_sac_to_the_bit(options):
    plain = SacOptions(tau=0.05, **{"max_gradient_norm": 1.0, **options})
    ours, theirs = soft(chosen={"n_actors": 1}, **options), Sac(S, A, plain, 0, HIDDEN)
    for seed in range(6):
        figures, expected = ours.update(batch(seed, 1)), theirs.update(batch(seed, 1))
        assert {name: figures[name] for name in expected} == expected
    assert ours.state.keys() == theirs.state.keys()
    for name, array in theirs.state.items():
        np.testing.assert_array_equal(ours.state[name], array)


@pytest.mark.parametrize("surrogates", ["fitted", "exact", "none"])
def test_an_actor_is_moved_by_its_own_sample_alone(surrogates):
    """However much is made of one actor's part of the loss, no other actor's slope changes."""
    learner, s = soft(chosen={"surrogates": surrogates}), torch.tensor(batch().observation)
    first = learner.policy.size - (K - 1) * learner.policy.cells[0].sizes.size
    ends = [0, first, *(first + (c + 1) * learner.policy.cells[0].sizes.size for c in range(K - 1))]
    outputs = learner.policy.run_outputs(s)
    actions, log_probs = learner.drawn(outputs, 1)
    parts = (learner.alpha * log_probs[..., 0] - learner._ascended(s, actions, actions.detach())).mean(1)
    for i in range(K):
        learner.policy.numbers.clear()
        parts[i].backward(inputs=learner.policy.parameters, retain_graph=True)
        assert [np.abs(learner.policy.gradient[at:end]).max() > 0 for at, end in pairwise(ends)] == [c == i for c in range(K)]


def test_a_copied_state_goes_on_to_the_bit():
    learner, other = soft(), soft(seed=5)
    for seed in range(4):
        learner.update(batch(seed))
    other.seed = learner.seed
    other.restore({name: array.copy() for name, array in learner.state.items()})
    for seed in range(4, 8):
        assert learner.update(batch(seed)) == other.update(batch(seed))
    for name, array in learner.state.items():
        np.testing.assert_array_equal(other.state[name], array)
    assert {"surrogates_statistics", "temperature"} <= learner.state.keys()
    assert not {"surrogates_target", "policy_target"} & learner.state.keys()


@pytest.mark.parametrize("reward", [np.nan, np.inf, 1e30])
def test_a_gradient_that_is_not_finite_is_left_out_and_told(reward):
    learner = soft()
    update = learner.update
    learner.update = lambda drawn: update(replace(drawn, extras=batch().extras))
    require_left_out(learner, reward)


def test_weights_of_prioritised_draws_weigh_surrogates_too():
    learner, drawn = soft(priority_alpha=0.6), batch()
    start = learner.surrogates.vector.copy()
    learner.update(replace(drawn, weight=np.zeros(B, np.float32)))
    np.testing.assert_array_equal(learner.surrogates.vector, start)
    learner.update(drawn)
    assert (learner.surrogates.vector != start).any()


@pytest.mark.parametrize("chosen", [{}, {"surrogate_points": "fresh", "pooling": "max"}, {"surrogates": "exact", "told": "input"}], ids=str)
def test_on_a_device_everything_stays_there(chosen):
    def made(place):
        return SoftSavo(S, A, SacOptions(tau=0.05), 0, HIDDEN, place, chosen=SavoOptions(**SMALL, **chosen))

    here = made(None)
    with Apart() as apart:
        there = made(Distant(apart))
        for seed in range(2):
            there.update(batch(seed, 3))
        there.restore(copied(there.state))
        there.published(np.zeros(there.published_size, np.float32))
    for seed in range(2):
        here.update(batch(seed, 3))
    for key, array in here.state.items():
        np.testing.assert_allclose(there.state[key], array, atol=2e-4, err_msg=key)


# Acting.


def acting(chosen=None, seed=0, steps=6, envs=2, epsilon=0.0, temperature=1.0):
    """(policy, learner, vector, round arrays with random observations and numbers) of a learner that has made some updates."""
    learner = soft(seed, chosen, policy_learning_rate=1e-2, critic_learning_rate=1e-2)
    for number in range(4):
        learner.update(batch(number, learner.chosen.n_actors))
    policy = TowerPolicy(VECTOR, "savo", HIDDEN, learner.chosen, Role.SOFT_REPLAY)
    vector = np.concatenate([learner.policy.vector, learner.critics.vector[: policy.critic_size]])
    assert vector.size == policy.size
    return policy, learner, vector, drawn_for(policy, seed, steps, envs, epsilon, temperature)


def drawn_for(policy, seed, steps, envs, epsilon, temperature):
    rounds = policy.round_arrays(steps, envs)
    rounds.raw[:] = np.random.default_rng(seed).standard_normal(rounds.raw.shape)
    rounds.knobs[EPSILON], rounds.knobs[TEMPERATURE] = epsilon, temperature
    policy.head.draw(np.random.default_rng(seed + 1), rounds)
    rounds.extra_noise[:] = 0.1 * np.random.default_rng(seed + 2).standard_normal(rounds.extra_noise.shape)
    return rounds


@pytest.mark.parametrize("chosen", [one for one in VARIANTS if "surrogate" not in str(one)], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_the_actor_that_the_critic_picks_draws_the_action(chosen, temperature):
    policy, learner, vector, rounds = acting(chosen, temperature=temperature, steps=12)
    act(policy, vector, rounds)
    actors, picks = learner.chosen.n_actors, []
    for t in range(len(rounds.action)):
        s = torch.tensor(rounds.observation[t])
        with torch.no_grad():
            outputs = learner.policy.run_outputs(s)
            means, log_std = outputs[..., :A].tanh(), outputs[..., A:].numpy()
            values = torch.stack([learner.critics.run(torch.cat([s, one], 1))[0][:, 0] for one in means])
        best = values.argmax(0).numpy()
        picks.extend(best)
        for e, winner in enumerate(best):
            np.testing.assert_allclose(rounds.action[t, e, A:].reshape(actors, A), means[:, e], atol=2e-5)
            u = outputs[winner, e, :A].numpy() + temperature * np.exp(log_std[winner, e]) * rounds.noise[0, t, e, :A]
            expected = np.clip(np.tanh(u) + rounds.extra_noise[t, e, :A], -1, 1)
            np.testing.assert_allclose(rounds.action[t, e, :A], expected, atol=5e-5)
        if temperature == 0.0:
            greedy = np.clip(learner.greedy(s).numpy() + rounds.extra_noise[t, :, :A], -1, 1)
            np.testing.assert_allclose(rounds.action[t, :, :A], greedy, atol=2e-5)
    np.testing.assert_allclose(rounds.bounded, [[-1.0, 0.0]] + 0.5 * (rounds.action[..., :A] + 1) * [[4.0, 0.5]], atol=1e-5)
    assert actors == 1 or len(set(picks)) > 1


def test_one_actor_acts_as_sac_to_the_bit():
    policy, learner, vector, rounds = acting({"n_actors": 1}, epsilon=0.3, steps=50)
    other = TowerPolicy(VECTOR, "squashed", HIDDEN)
    expected = drawn_for(other, 0, 50, 2, 0.3, 1.0)
    act(policy, vector, rounds)
    act(other, learner.policy.vector, expected)
    np.testing.assert_array_equal(rounds.action[..., :A], expected.action)
    np.testing.assert_array_equal(rounds.bounded, expected.bounded)


def test_the_first_actor_alone_is_played_where_that_is_asked_for():
    policy, _, vector, rounds = acting(steps=40, temperature=0.0)
    rounds.extra_noise[:] = 0.0
    act(policy, vector, rounds)
    together = rounds.action.copy()
    rounds.knobs[ALONE] = 1.0
    act(policy, vector, rounds)
    np.testing.assert_array_equal(rounds.action[..., A:], together[..., A:])
    np.testing.assert_allclose(rounds.action[..., :A], together[..., A : 2 * A], atol=1e-6)
    assert (rounds.action[..., :A] != together[..., :A]).any()


def test_while_actions_are_uniform_so_are_all_proposals_and_the_first_is_done():
    policy, _, vector, rounds = acting(steps=6000, envs=1, epsilon=0.3)
    act(policy, vector, rounds)
    uniform = rounds.noise[1, :, 0, A] < 0.3
    numbers = rounds.action[uniform, 0].reshape(-1, K + 1, A)
    np.testing.assert_array_equal(numbers[:, 0], numbers[:, 1])
    assert 0.25 < uniform.mean() < 0.35 and (rounds.action[~uniform, 0, :A] != rounds.action[~uniform, 0, A : 2 * A]).all()
    apart = numbers[:, 1:].reshape(len(numbers), -1)
    assert np.abs(np.corrcoef(apart.T) - np.eye(K * A)).max() < 0.1
    np.testing.assert_allclose(apart.mean(0), 0.0, atol=0.06)
    np.testing.assert_allclose(apart.var(0), 1 / 3, atol=0.03)
