"""What SAVO is compared with under the same learner (heads wolpertinger, cross-entropy, joint): updates, acting, and whole runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_devices import Apart, Distant, copied
from test_items import SMALL as SHOP
from test_items import Shop
from test_off_policy import batch as plain_batch
from test_savo import HIDDEN, VECTOR, A, B, S, items, mlp, nearest, on_items, put, taken
from test_savo import batch as savo_batch
from test_stream_runs import learned, stream

import asyncrl
from asyncrl.algos.cross_entropy import CrossEntropy
from asyncrl.algos.joint import Joint
from asyncrl.algos.savo import Savo
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.algos.wolpertinger import Wolpertinger
from asyncrl.errors import UserError
from asyncrl.heads.cross_entropy import CrossEntropyOptions
from asyncrl.heads.joint import JointOptions
from asyncrl.heads.keyed_numbers import KEYS, normal_at
from asyncrl.heads.networks.towers import noise
from asyncrl.heads.rounds import EPSILON
from asyncrl.heads.savo import SavoOptions
from asyncrl.heads.tower import TowerPolicy
from asyncrl.heads.wolpertinger import WolpertingerOptions

KINDS = {
    "wolpertinger": (Wolpertinger, WolpertingerOptions(candidates=4, spread=0.3)),
    "cross-entropy": (CrossEntropy, CrossEntropyOptions(iterations=3, samples=10, elites=3)),
    "joint": (Joint, JointOptions(n_actors=3)),
}


def learner_of(name, space=None, **options):
    kind, chosen = KINDS[name]
    rates = {"policy_learning_rate": 3e-3, "critic_learning_rate": 3e-3, **options}
    return kind(S, A, Td3Options(tau=0.05, **rates), 0, HIDDEN, chosen=chosen, items=space)


def batch_for(name, seed, space):
    """Transitions as the head stores them."""
    generator, drawn = np.random.default_rng(seed), plain_batch(seed)
    actors = {"joint": 3, "wolpertinger": 1}.get(name, 0)
    extras = {"proposals": generator.uniform(-1, 1, (B, actors, A)).astype(np.float32)} if actors else {}
    if space is None:
        return replace(drawn, extras={} if name == "wolpertinger" else extras)
    if name == "wolpertinger":
        distances = ((space.features[None] - extras["proposals"]) ** 2).sum(-1)
        extras["items"] = distances.argsort(1, kind="stable")[:, :4].astype(np.float32)
    drawn.action[:] = space.features[generator.integers(0, len(space.features), B)]
    return replace(drawn, extras=extras)


class Reference:
    """The equations of the learners' modules, with torch's modules and Adam."""

    def __init__(self, name, learner, space):
        self.name, self.o, self.c, self.rows, self.count = name, learner.options, learner.chosen, space and space.features, 0
        outputs = A * (self.c.n_actors if name == "joint" else 1)
        self.pi, self.target_pi = (None, None) if name == "cross-entropy" else (mlp(S, outputs), mlp(S, outputs))
        self.critics, self.target_critics = ([mlp(S + A, 1) for _ in range(2)] for _ in range(2))
        self.own = {"joint": [mlp(S + 3 * A, 1) for _ in range(2)], "wolpertinger": [mlp(S + A, 1)]}.get(name, [])
        if self.pi is not None:
            put([self.pi], learner.policy.vector), put([self.target_pi], learner.policy.vector)
        put(self.critics, learner.critics.vector), put(self.target_critics, learner.critics.vector)
        if name == "joint":
            put(self.own, learner.joint.vector)
        elif self.rows is not None and self.own:
            put(self.own, learner.points.vector)
        groups = {"critics": self.critics, "own": self.own, "pi": [self.pi] if self.pi is not None else []}
        self.parts = {key: [p for one in networks for p in one.parameters()] for key, networks in groups.items()}
        self.adams = {key: torch.optim.Adam(parts, 3e-3) for key, parts in self.parts.items() if parts}

    def step(self, key, loss):
        for p, slope in zip(self.parts[key], torch.autograd.grad(loss, self.parts[key])):
            p.grad = slope
        torch.nn.utils.clip_grad_norm_(self.parts[key], 1.0)
        self.adams[key].step()
        return loss.item()

    def q(self, network, s, a):
        return network(torch.cat([s, a], 1))[:, 0]

    def least(self, s, a):
        return torch.minimum(*(self.q(one, s, a) for one in self.target_critics))

    def item(self, x):
        return x if self.rows is None else torch.tensor(self.rows[nearest(self.rows, x)])

    def candidates(self, s):
        """In the target."""
        if self.name == "cross-entropy":
            found = torch.stack([self.sought(s, n) for n in range(len(s))], 1)
            if self.rows is None:
                return list(found)
            values = torch.stack([self.q(self.target_critics[0], s, one) for one in found])
            best = torch.stack([found[int(values[:, n].argmax())][n] for n in range(len(s))])
            return [self.item(best)]
        x = torch.tanh(self.target_pi(s))
        if self.name == "joint":
            return [self.item(one) for one in x.split(A, 1)]
        if self.rows is None:
            normal = noise(0, self.count, 1, (3, B, A))
            return [x, *((x + 0.3 * one).clamp(-1, 1) for one in normal)]
        order = ((self.rows[None] - x.numpy()[:, None]) ** 2).sum(-1).argsort(1, kind="stable")
        return [torch.tensor(self.rows[order[:, k]]) for k in range(4)]

    def sought(self, s, n):
        """The last samples [N, A] of one state."""
        normal = noise(0, self.count, 1, (3, 10, B, A))[:, :, n]
        mean, deviation = torch.zeros(A), torch.ones(A)
        for i in range(3):
            x = (mean + deviation * normal[i]).clamp(-1, 1)
            values = self.q(self.target_critics[0], s[n].expand(10, -1), x)
            elite = x[values.argsort(descending=True)[:3]]
            mean, deviation = elite.mean(0), elite.std(0, correction=0).clamp(min=0.05)
        return x

    def update(self, drawn):
        self.count += 1
        s, a, r, d, s2 = (torch.tensor(x) for x in (drawn.observation, drawn.action, drawn.reward, drawn.discount, drawn.next_observation))
        with torch.no_grad():
            candidates = self.candidates(s2)
            values = torch.stack([self.q(self.target_critics[0], s2, one) for one in candidates])
            a2 = torch.stack([candidates[int(values[:, n].argmax())][n] for n in range(len(s2))])
            y = r + d * self.least(s2, a2)
        losses = {"critic_loss": self.step("critics", sum(F.mse_loss(self.q(one, s, a), y) for one in self.critics))}
        if self.name == "joint":
            with torch.no_grad():
                wanted = self.least(s, a)
            together = torch.tensor(drawn.extras["proposals"]).flatten(1)
            losses["joint_loss"] = self.step("own", sum(F.mse_loss(self.q(one, s, together), wanted) for one in self.own))
        elif self.own and self.rows is not None:
            with torch.no_grad():
                found = torch.tensor(self.rows[drawn.extras["items"].astype(int)])
                wanted = torch.stack([self.least(s, found[:, k]) for k in range(4)]).amax(0)
            point = torch.tensor(drawn.extras["proposals"])[:, 0]
            losses["point_loss"] = self.step("own", F.mse_loss(self.q(self.own[0], s, point), wanted))
        if self.count % 2 == 0:
            if self.pi is not None:
                judge = self.own[0] if self.name == "joint" or self.rows is not None else self.critics[0]
                losses["policy_loss"] = self.step("pi", -self.q(judge, s, torch.tanh(self.pi(s))).mean())
            pairs = [*zip(self.target_critics, self.critics), *([(self.target_pi, self.pi)] if self.pi is not None else [])]
            for target, network in pairs:
                for theirs, ours in zip(target.parameters(), network.parameters()):
                    theirs.data += 0.05 * (ours.data - theirs.data)
        return losses


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_updates_equal_those_of_the_reference(name, discrete):
    space = items()[1] if discrete else None
    learner = learner_of(name, space)
    reference = Reference(name, learner, space)
    start = {key: array.copy() for key, array in learner.state.items()}
    for seed in range(8):
        drawn = batch_for(name, seed, space)
        figures, expected = learner.update(drawn), reference.update(drawn)
        assert {key: figures[key] for key in expected} == pytest.approx(expected, rel=1e-3, abs=1e-4)
    found = {"critics": taken(reference.critics), "critics_target": taken(reference.target_critics)}
    if reference.pi is not None:
        found |= {"policy": taken([reference.pi]), "policy_target": taken([reference.target_pi])}
    if name == "joint" or (name == "wolpertinger" and discrete):
        found["joint" if name == "joint" else "points"] = taken(reference.own)
    for key, array in found.items():
        way = np.abs(array - start[key])
        assert np.abs(learner.state[key] - array).mean() <= 2e-3 * way.mean(), key
        assert (way > 0).mean() > 0.8


def test_wolpertinger_whose_candidates_are_one_is_td3_to_the_bit():
    theirs = Td3(S, A, Td3Options(tau=0.05, target_noise=0.0, max_gradient_norm=1.0), 0, HIDDEN)
    ours = Wolpertinger(S, A, Td3Options(tau=0.05), 0, HIDDEN, chosen=WolpertingerOptions(candidates=1))
    for seed in range(6):
        figures, expected = ours.update(plain_batch(seed)), theirs.update(plain_batch(seed))
        assert {name: figures[name] for name in expected} == expected


# Acting.


def acting(name, discrete, steps=8, seed=0):
    spec, space = items() if discrete else (VECTOR, None)
    learner = learner_of(name, space, policy_learning_rate=1e-2, critic_learning_rate=1e-2)
    for number in range(4):
        learner.update(batch_for(name, number, space))
    policy = TowerPolicy(spec, name, HIDDEN, learner.chosen)
    vector = np.concatenate([learner.policy.vector, learner.critics.vector[: policy.critic_size]])
    rounds = policy.round_arrays(steps, 2)
    generator = np.random.default_rng(seed)
    rounds.raw[:] = generator.standard_normal(rounds.raw.shape)
    policy.head.draw(generator, rounds)
    return policy, learner, vector, rounds


def act(policy, vector, rounds):
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    assert all(kernel(*arguments, t) for t in range(len(rounds.action)))


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_done_is_what_the_definition_says(name, discrete):
    policy, learner, vector, rounds = acting(name, discrete)
    rounds.extra_noise[:] = 0.3 * np.random.default_rng(1).standard_normal(rounds.extra_noise.shape)
    act(policy, vector, rounds)
    rows = policy.head.items.features if discrete else None
    for t in range(len(rounds.action)):
        for e in range(2):
            s = torch.tensor(rounds.observation[t, e : e + 1])
            extra, key = rounds.extra_noise[t, e], int(rounds.noise[0, t, e, 0] * KEYS)
            with torch.no_grad():
                if name == "cross-entropy":
                    candidates = [noisy(sought_by(learner, s, key), extra)]
                elif name == "joint":
                    slices = learner.policy.run(s)[0].tanh().numpy().reshape(3, A)
                    candidates = [noisy(one, extra[i * A : (i + 1) * A]) for i, one in enumerate(slices)]
                    np.testing.assert_allclose(rounds.action[t, e, A : 4 * A].reshape(3, A), candidates, atol=2e-5)
                else:
                    own = noisy(learner.policy.run(s)[0].tanh().numpy()[0], extra)
                    spread = [np.array([normal_at(key, i * A + c) for c in range(A)]) for i in range(3)]
                    candidates = [own, *(np.clip(own + 0.3 * one, -1, 1).astype(np.float32) for one in spread)]
                if discrete and name == "wolpertinger":
                    order = ((rows - own) ** 2).sum(1).argsort(kind="stable")[:4]
                    np.testing.assert_array_equal(rounds.action[t, e, 2 * A : 2 * A + 4], order)
                    candidates = list(rows[order])
                elif discrete:
                    candidates = [rows[nearest(rows, one)[0]] for one in candidates]
                values = [float(learner.critics.run(torch.cat([s, torch.tensor(one)[None]], 1))[0]) for one in candidates]
            expected = candidates[int(np.argmax(values))]
            np.testing.assert_allclose(rounds.action[t, e, :A], expected, atol=3e-5)
            if discrete:
                assert policy.head.environment_action(rounds, t, e) == nearest(rows, expected)[0]


def noisy(x, extra):
    return np.clip(x + extra, -1, 1).astype(np.float32)


def sought_by(learner, s, key):
    mean, deviation = np.zeros(A), np.ones(A)
    for i in range(3):
        normal = np.array([[normal_at(key, (i * 10 + n) * A + c) for c in range(A)] for n in range(10)])
        x = np.clip(mean + deviation * normal, -1, 1).astype(np.float32)
        values = learner.critics.run(torch.cat([s.expand(10, -1), torch.tensor(x)], 1))[0][:, 0].numpy()
        elite = x[values.argsort()[::-1][:3]]
        mean, deviation = elite.mean(0), np.maximum(elite.std(0), 0.05)
    return x[values.argmax()]


def test_normal_numbers_of_a_key_are_normal():
    numbers = np.array([normal_at(123, i) for i in range(20_000)])
    assert abs(numbers.mean()) < 0.03 and abs(numbers.std() - 1) < 0.02 and abs((np.abs(numbers) > 1.96).mean() - 0.05) < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
    assert normal_at(124, 0) != normal_at(123, 0)


@pytest.mark.parametrize("name", KINDS)
def test_a_uniform_action_is_uniform(name):
    for discrete in (False, True):
        policy, _, vector, rounds = acting(name, discrete, steps=1500)
        rounds.knobs[EPSILON] = 1.0
        policy.head.draw(np.random.default_rng(0), rounds)
        act(policy, vector, rounds)
        if discrete:
            counts = np.bincount(rounds.action[..., -1].astype(int).reshape(-1), minlength=40)
            assert ((counts - 75.0) ** 2 / 75.0).sum() < 70  # chi-square with 39 degrees of freedom: 1 in 600
        else:
            np.testing.assert_allclose(rounds.action[..., :A].reshape(-1, A).var(0), 1 / 3, atol=0.03)


# Whole runs.


@pytest.mark.slow
@pytest.mark.parametrize("head", KINDS)
def test_whole_runs_have_the_same_bits_twice_and_are_evaluated(tmp_path, head):
    settings = {**SHOP, "head": head, "steps": 300, "evaluation_episodes": 2}
    del settings["summary"], settings["summary_units"]
    one, two = (stream(tmp_path, "td3", **settings) for _ in range(2))
    assert learned(one) == learned(two)
    assert one.summary["evaluation_return"] is not None


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        ("cross-entropy", {"elites": 31}, "elites = 31 cannot be used .allowed: up to samples = 30"),
        ("cross-entropy", {"iterations": 0}, "iterations = 0"),
        ("wolpertinger", {"candidates": 0}, "candidates = 0"),
        ("wolpertinger", {"n_actors": 3}, "n_actors cannot be used with head 'wolpertinger'"),
        ("joint", {"n_actors": 0}, "n_actors = 0"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, head, options, message):
    with pytest.raises(UserError, match=message):
        asyncrl.train("td3", Shop, head=head, steps=300, runs=str(tmp_path), **options)
    assert not list(tmp_path.iterdir())


# On a device.


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("name", [*KINDS, "savo", "fresh", "exact"])
def test_on_a_device_everything_stays_there(name, discrete):
    space = items()[1] if discrete else None

    def made(place):
        if name in KINDS:
            kind, chosen = KINDS[name]
        else:
            options = {"fresh": {"surrogate_points": "fresh", "pooling": "max"}, "exact": {"surrogates": "exact", "told": "input"}}
            kind, chosen = Savo, SavoOptions(summary=4, summary_units=5, **options.get(name, {}))
        return kind(S, A, Td3Options(tau=0.05, target_noise=0.1), 0, HIDDEN, place, chosen=chosen, items=space)

    def drawn(seed):
        if name in KINDS:
            return batch_for(name, seed, space)
        plain = savo_batch(seed, 3)
        return plain if space is None else on_items(plain, space.features, apart=bool(seed))

    with Apart() as apart:
        there = made(Distant(apart))
        for seed in range(2):
            there.update(drawn(seed))
        there.restore(copied(there.state))
        there.published(np.zeros(there.published_size, np.float32))
    here = made(None)
    for seed in range(2):
        here.update(drawn(seed))
    for key, array in here.state.items():
        np.testing.assert_allclose(there.state[key], array, atol=2e-4, err_msg=key)
