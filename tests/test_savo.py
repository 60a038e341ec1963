"""SAVO against a reference that is written in plain loops from its specification; acting, its theory, and its options."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_off_policy import batch as plain_batch
from test_off_policy import require_left_out
from torch import nn

from asyncrl.algos.savo import Savo
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.networks.towers import noise
from asyncrl.heads.proposing.items import Items
from asyncrl.heads.rounds import ALONE, EPSILON, TEMPERATURE
from asyncrl.heads.savo import SavoOptions
from asyncrl.heads.tower import TowerPolicy
from asyncrl.shared.sealed import SealedArray

S, A, B, K, HIDDEN = 3, 2, 16, 4, (24, 20)
SMALL = {"summary": 5, "summary_units": 6}
VECTOR = EnvSpec((S,), "float32", "box", (), (A,), (-1.0, 0.0), (3.0, 0.5), ())
VARIANTS = [
    {},
    {"pooling": "max"},
    {"summariser": "lstm"},
    {"summariser": "transformer"},
    {"summariser": "transformer", "told": "input"},
    {"surrogate_points": "fresh"},
    {"surrogate_values": "online"},
    {"target_choice": "online"},
    {"explore_on": "both"},
    {"told": "input"},
    {"told": "nothing"},
    {"surrogates": "exact"},
    {"surrogates": "none", "told": "nothing"},
    {"n_actors": 2},
    {"n_actors": 1},
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def savo(seed=0, chosen=None, items=None, **options):
    chosen = SavoOptions(**{"n_actors": K, **SMALL, **(chosen or {})})
    return Savo(S, A, Td3Options(tau=0.05, **options), seed, HIDDEN, chosen=chosen, items=items)


def items(count=40, seed=3):
    """Of a space of so many choices; their features lie anywhere in the box."""
    features = np.random.default_rng(seed).uniform(-1, 1, (count, A)).astype(np.float32)
    spec = EnvSpec((S,), "float32", "discrete", (count,), (), (), (), (0,), action_features=SealedArray(features))
    return spec, Items("savo", spec, SavoOptions())


def nearest(rows, x):
    """The numbers of the items nearest to points, by their distances."""
    return ((rows[None] - np.asarray(x)[..., None, :]) ** 2).sum(-1).argmin(-1)


def batch(seed=0, actors=K, apart=False):
    """Transitions whose executed action is one of the proposals, or `apart` from them."""
    generator, drawn = np.random.default_rng(seed), plain_batch(seed)
    proposals = generator.uniform(-1, 1, (B, actors, A)).astype(np.float32)
    if not apart:
        drawn.action[:] = proposals[np.arange(B), generator.integers(0, actors, B)]
    return replace(drawn, extras={"proposals": proposals})


def on_items(drawn, rows, apart):
    """The same transitions with the items that the proposals land on, one of which was executed, or another one."""
    found = nearest(rows, drawn.extras["proposals"])
    executed = (found.sum(1) + 1) % len(rows) if apart else found[np.arange(B), np.arange(B) % found.shape[1]]
    drawn.action[:] = rows[executed]
    return replace(drawn, extras={**drawn.extras, "items": found.astype(np.float32)})


# The reference: modules and loops, one transition's list at a time where the specification speaks of lists.


class Summary(nn.Module):
    def __init__(self, width, size, pooling):
        super().__init__()
        self.element = nn.Sequential(nn.Linear(S + A, width), nn.ReLU(), nn.Linear(width, width))
        self.whole = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))
        self.pooling = pooling

    def forward(self, s, given):
        elements = torch.stack([self.element(torch.cat([s, a], 1)) for a in given])
        return self.whole(elements.mean(0) if self.pooling == "mean" else elements.max(0).values)

    def linears(self):
        return [self.element[0], self.element[2], self.whole[0], self.whole[2]]


class ByLstm(nn.Module):
    """torch's own LSTM between the layers of the others."""

    def __init__(self, width, size):
        super().__init__()
        self.element = nn.Sequential(nn.Linear(S + A, width), nn.ReLU(), nn.Linear(width, width))
        self.lstm = nn.LSTM(width, width, num_layers=2, bidirectional=True)
        self.whole = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))

    def forward(self, s, given):
        said, _ = self.lstm(torch.stack([self.element(torch.cat([s, a], 1)) for a in given]))
        return self.whole(torch.stack(said.chunk(2, -1)).mean((0, 1)))

    def linears(self):
        names = [f"{part}_l{layer}{way}" for layer in range(2) for way in ("", "_reverse") for part in ("ih", "hh")]
        gates = [SimpleNamespace(weight=getattr(self.lstm, f"weight_{n}"), bias=getattr(self.lstm, f"bias_{n}")) for n in names]
        return [self.element[0], self.element[2], *gates, self.whole[0], self.whole[2]]


class ByTransformer(nn.Module):
    """torch's own attention; factors of the normalisation are told from 1."""

    def __init__(self, width, size):
        super().__init__()
        d = S + A
        self.attention = nn.ModuleList(nn.MultiheadAttention(d, 1) for _ in range(2))
        self.up, self.down = nn.ModuleList(nn.Linear(d, width) for _ in range(2)), nn.ModuleList(nn.Linear(width, d) for _ in range(2))
        self.norms = nn.ParameterList(nn.Parameter(torch.zeros(d)) for _ in range(8))
        self.whole = nn.Sequential(nn.Linear(d, width), nn.ReLU(), nn.Linear(width, size))

    def forward(self, s, given):
        x = torch.stack([torch.cat([s, a], 1) for a in given])
        for layer in range(2):
            x = self.normal(x + self.attention[layer](x, x, x)[0], 4 * layer)
            x = self.normal(x + self.down[layer](torch.relu(self.up[layer](x))), 4 * layer + 2)
        return self.whole(x.mean(0))

    def normal(self, x, at):
        return F.layer_norm(x, (S + A,), 1 + self.norms[at], self.norms[at + 1])

    def linears(self):
        found = []
        for layer, attention in enumerate(self.attention):
            norms = []
            for bias in self.norms[4 * layer : 4 * layer + 4]:
                weight = torch.zeros(S + A, 0)
                weight.grad = torch.zeros(S + A, 0)
                norms.append(SimpleNamespace(weight=weight, bias=bias))
            asking = SimpleNamespace(weight=attention.in_proj_weight, bias=attention.in_proj_bias)
            found += [asking, attention.out_proj, *norms[:2], self.up[layer], self.down[layer], *norms[2:]]
        return [*found, self.whole[0], self.whole[2]]


def summary(chosen):
    if chosen.summariser == "deepset":
        return Summary(chosen.summary_units, chosen.summary, chosen.pooling)
    return {"lstm": ByLstm, "transformer": ByTransformer}[chosen.summariser](chosen.summary_units, chosen.summary)


class Told(nn.Module):
    """An MLP whose hidden layers are modulated by the summary of a list, or whose input has it, or which is not told."""

    def __init__(self, inputs, outputs, chosen):
        super().__init__()
        self.told = chosen.told
        inputs += chosen.summary if self.told == "input" else 0
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise([inputs, *HIDDEN, outputs]))
        if self.told == "modulation":
            self.film = nn.Linear(chosen.summary, 2 * sum(HIDDEN))
        if self.told != "nothing":
            self.summary = summary(chosen)

    def forward(self, s, x, given):
        if self.told != "modulation":
            x = torch.cat([x, self.summary(s, given)], 1) if self.told == "input" else x
            for layer in self.layers[:-1]:
                x = torch.relu(layer(x))
            return self.layers[-1](x)
        film, at = self.film(self.summary(s, given)), 0
        for layer, size in zip(self.layers[:-1], HIDDEN):
            gamma, beta = film[:, at : at + size], film[:, sum(HIDDEN) + at : sum(HIDDEN) + at + size]
            x = torch.relu(layer(x)) * (1 + gamma) + beta
            at += size
        return self.layers[-1](x)

    def linears(self):
        if self.told == "nothing":
            return list(self.layers)
        film = [self.film] if self.told == "modulation" else []
        return [*self.layers, *film, *self.summary.linears()]


def mlp(inputs, outputs):
    sizes = [inputs, *HIDDEN, outputs]
    return nn.Sequential(*[part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())][:-1])


def linears(network):
    return network.linears() if isinstance(network, Told) else [layer for layer in network if isinstance(layer, nn.Linear)]


def put(networks, vector, together=False):
    """Numbers of a learner's vector, network after network, or `together`: layer after layer of all of them."""
    order = [(layer,) for network in networks for layer in linears(network)]
    if together:
        order = list(zip(*(linears(network) for network in networks)))
    at = 0
    for layers in order:
        for name in ("weight", "bias"):
            for layer in layers:
                part = getattr(layer, name)
                shape = (part.shape[1], part.shape[0]) if name == "weight" else part.shape
                numbers = torch.tensor(vector[at : at + part.numel()].reshape(shape))
                part.data = numbers.T.contiguous() if name == "weight" else numbers
                at += part.numel()
    assert at == len(vector)


def taken(networks, together=False, of=lambda p: p):
    """What `put` would have to be given; `of`: of each parameter something of the same shape."""
    order = [(layer,) for network in networks for layer in linears(network)]
    if together:
        order = list(zip(*(linears(network) for network in networks)))
    parts = []
    for layers in order:
        parts += [of(layer.weight).T.reshape(-1) for layer in layers] + [of(layer.bias) for layer in layers]
    return torch.cat(parts).detach().numpy()


class Reference:
    def __init__(self, learner, rows=None):
        """`rows`: features of items."""
        self.rows = rows
        self.o, self.c, self.seed, self.count = learner.options, learner.chosen, learner.seed, 0
        n = self.c.n_actors
        self.actors, self.target_actors = ([mlp(S, A), *(Told(S, A, self.c) for _ in range(n - 1))] for _ in range(2))
        self.critics, self.target_critics = ([mlp(S + A, 1) for _ in range(2)] for _ in range(2))
        self.alone = [] if rows is None else [mlp(S + A, 1)]
        self.told = [Told(S + A, 1, self.c) for _ in range(n - 1 if self.c.surrogates == "fitted" else 0)]
        self.surrogates = [*self.alone, *self.told]
        for networks in (self.actors, self.target_actors):
            put(networks, learner.policy.vector)
        for networks in (self.critics, self.target_critics):
            put(networks, learner.critics.vector)
        self.adams = {"actors": self.adam(self.actors, self.o.policy_learning_rate), "critics": self.adam(self.critics)}
        if self.surrogates:
            first = sum(p.numel() for network in self.alone for p in network.parameters())
            put(self.alone, learner.surrogates.vector[:first])
            put(self.told, learner.surrogates.vector[first:], together=True)
            self.adams["surrogates"] = self.adam(self.surrogates)
        self.networks, self.slopes = {"actors": self.actors, "critics": self.critics, "surrogates": self.surrogates}, {}

    def adam(self, networks, rate=None):
        parameters = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(parameters, rate or self.o.critic_learning_rate)

    def cascade(self, actors, s):
        proposals = [torch.tanh(actors[0](s))]
        for actor in actors[1:]:
            proposals.append(torch.tanh(actor(s, s, [a.detach() for a in proposals])))
        return proposals

    def q(self, critic, s, a):
        return critic(torch.cat([s, a], 1))[:, 0]

    def least(self, critics, s, a):
        return torch.minimum(*(self.q(critic, s, a) for critic in critics))

    def pick(self, critic, s, proposals):
        values = torch.stack([self.q(critic, s, a) for a in proposals])
        best = values.argmax(0)
        return torch.stack([proposals[int(best[n])][n] for n in range(len(s))])

    def descend(self, loss, which):
        adam = self.adams[which]
        parameters = [p for group in adam.param_groups for p in group["params"]]
        for p, slope in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.grad = slope
        self.slopes[which] = self.numbers(which, of=lambda p: p.grad)
        if self.o.max_gradient_norm:
            nn.utils.clip_grad_norm_(parameters, self.o.max_gradient_norm)
        adam.step()

    def numbers(self, which, of=lambda p: p):
        if which != "surrogates":
            return taken(self.networks[which], of=of)
        parts = [taken(networks, together, of) for networks, together in ((self.alone, False), (self.told, True)) if networks]
        return np.concatenate(parts)

    def landed(self, x):
        return x if self.rows is None else torch.tensor(self.rows[nearest(self.rows, x)])

    def update(self, drawn):
        self.count += 1
        s, a, r, d, s2 = (torch.tensor(x) for x in (drawn.observation, drawn.action, drawn.reward, drawn.discount, drawn.next_observation))
        stored = list(torch.tensor(drawn.extras["proposals"]).unbind(1))
        limit = self.o.target_noise_clip
        with torch.no_grad():
            chooser = self.critics[0] if self.c.target_choice == "online" else self.target_critics[0]
            proposed = torch.stack(self.cascade(self.target_actors, s2))
            if self.o.target_noise and self.rows is not None:
                smoothing = self.o.target_noise * noise(self.seed, self.count, 0, tuple(proposed.shape))
                proposed = (proposed + smoothing.clamp(-limit, limit)).clamp(-1, 1)
            a2 = self.pick(chooser, s2, [self.landed(one) for one in proposed])
            if self.o.target_noise and self.rows is None:
                smoothing = self.o.target_noise * noise(self.seed, self.count, 0, (B, A))
                a2 = (a2 + smoothing.clamp(-limit, limit)).clamp(-1, 1)
            y = r + d * self.least(self.target_critics, s2, a2)
        losses = {"critic_loss": sum(F.mse_loss(self.q(critic, s, a), y) for critic in self.critics)}
        self.descend(losses["critic_loss"], "critics")
        if self.surrogates:
            losses["surrogate_loss"] = self.surrogate_loss(s, a, stored)
            self.descend(losses["surrogate_loss"], "surrogates")
        if self.count % self.o.policy_delay == 0:
            losses["policy_loss"] = self.actor_loss(s)
            self.descend(losses["policy_loss"], "actors")
            for targets, networks in ((self.target_critics, self.critics), (self.target_actors, self.actors)):
                for target, network in zip(targets, networks):
                    for theirs, ours in zip(target.parameters(), network.parameters()):
                        theirs.data += self.o.tau * (ours.data - theirs.data)
        return {name: loss.item() for name, loss in losses.items()}

    def surrogate_loss(self, s, a, stored):
        with torch.no_grad():
            if self.c.surrogate_points == "fresh":
                stored = self.cascade(self.actors, s)
                a = self.pick(self.critics[0], s, [self.landed(one) for one in stored])
            critics = self.critics if self.c.surrogate_values == "online" else self.target_critics
            m = [self.least(critics, s, self.landed(b)) for b in stored]
            executed = self.least(critics, s, a)
        squares = []
        for i, surrogate in enumerate(self.surrogates, start=0 if self.alone else 1):
            tau = torch.full((B,), -torch.inf)
            for j in range(i):
                tau = torch.maximum(tau, m[j])
            for point, value in ((stored[i], m[i]), (a, executed)):
                psi = self.psi(surrogate, s, point, stored[:i])
                squares.append((psi - torch.maximum(tau, value)) ** 2)
        return torch.stack(squares).mean()

    def psi(self, surrogate, s, point, given):
        pair = torch.cat([s, point], 1)
        return (surrogate(s, pair, given) if isinstance(surrogate, Told) else surrogate(pair))[:, 0]

    def actor_loss(self, s):
        proposals = self.cascade(self.actors, s)
        first = self.alone[0] if self.alone else self.critics[0]
        value, best = torch.zeros(B), torch.full((B,), -torch.inf)
        for i, a in enumerate(proposals):
            if i and self.c.surrogates == "fitted":
                value = value + self.psi(self.told[i - 1], s, a, [x.detach() for x in proposals[:i]])
                continue
            here = self.psi(first, s, a, [])
            value = value + (torch.maximum(here, best) if self.c.surrogates == "exact" else here)
            best = torch.maximum(best, here.detach())
        return -value.mean()


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("chosen", VARIANTS, ids=str)
def test_updates_equal_those_of_the_reference(chosen, apart):
    check_updates(chosen, apart)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("chosen", [one for one in VARIANTS if "explore_on" not in one], ids=str)
def test_updates_of_items_equal_those_of_the_reference(chosen, apart):
    check_updates(chosen, apart, items()[1])


def check_updates(chosen, apart, space=None):
    rates = {"policy_learning_rate": 3e-3, "critic_learning_rate": 3e-3}
    learner = savo(chosen=chosen, items=space, target_noise=0.2 if apart else None, **rates)
    reference = Reference(learner, None if space is None else space.features)
    start = {name: array.copy() for name, array in learner.state.items()}
    for seed in range(10):
        drawn = batch(seed, learner.chosen.n_actors, apart)
        if space is not None:
            drawn = on_items(drawn, space.features, apart)
        figures, expected = learner.update(drawn), reference.update(drawn)
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-4)
        if seed == 1:  # the first of the actors
            ours = {"actors": learner.policy, "critics": learner.critics, "surrogates": learner.surrogates}
            assert (learner.surrogates is None) == ("surrogates" not in reference.slopes)
            for name, slope in reference.slopes.items():
                np.testing.assert_allclose(ours[name].gradient, slope, atol=2e-4 * np.abs(slope).max())
    expected = {"policy": taken(reference.actors), "policy_target": taken(reference.target_actors)}
    expected |= {"critics": taken(reference.critics), "critics_target": taken(reference.target_critics)}
    if reference.surrogates:
        expected["surrogates"] = reference.numbers("surrogates")
    for name, array in expected.items():  # in the mean: Adam makes much of single tiny slopes
        way = np.abs(array - start[name])
        assert np.abs(learner.state[name] - array).mean() <= 2e-3 * way.mean(), name
        # With surrogates=exact an actor can be on level ground; an LSTM that is told one proposal has no state to begin with.
        assert (way > 0).mean() > (0.5 if learner.chosen.surrogates == "exact" or learner.chosen.summariser == "lstm" else 0.8)


def test_one_actor_is_td3_without_smoothing_to_the_bit():
    ours, theirs = savo(chosen={"n_actors": 1}), Td3(S, A, Td3Options(tau=0.05, target_noise=0.0, max_gradient_norm=1.0), 0, HIDDEN)
    for seed in range(6):
        figures, expected = ours.update(batch(seed, 1)), theirs.update(batch(seed, 1))
        assert {name: figures[name] for name in expected} == expected
    assert ours.state.keys() == theirs.state.keys()
    for name, array in theirs.state.items():
        np.testing.assert_array_equal(ours.state[name], array)


def test_no_slope_flows_by_what_an_actor_is_told():
    learner = savo()
    s = torch.tensor(batch().observation)
    for i in range(1, K):
        learner.policy.numbers.clear()
        learner.policy.run(s)[i].sum().backward()
        first = learner.policy.size - (K - 1) * learner.policy.cells[0].sizes.size
        parts = [slice(0, first), *(slice(first + c * learner.policy.cells[0].sizes.size, None) for c in range(K - 1))]
        ends = [first, *(first + (c + 1) * learner.policy.cells[0].sizes.size for c in range(K - 1))]
        moved = [np.abs(learner.policy.gradient[part.start : end]).max() > 0 for part, end in zip(parts, ends)]
        assert moved == [c == i for c in range(K)]


def test_targets_of_surrogates_are_filled_up_to_the_best_proposal_before():
    learner, drawn = savo(), batch()
    s, a, b = torch.tensor(drawn.observation), torch.tensor(drawn.action), torch.tensor(drawn.extras["proposals"]).transpose(0, 1)
    with torch.no_grad():
        raised = learner._raised(s, b, a)
        m = torch.stack([torch.minimum(*learner.critics.run_targets(torch.cat([s, one], 1)))[:, 0] for one in b])
    assert raised.shape == (K, 2, B)
    torch.testing.assert_close(raised[0, 0], m[0])
    for i in range(1, K):
        tau = m[:i].amax(0)
        assert (raised[i] >= tau - 1e-6).all()
        torch.testing.assert_close(raised[i, 0], torch.maximum(tau, m[i]))
    assert (raised[1:] >= raised[:-1] - 1e-6)[:, 1].all()  # at one point they never fall from one surrogate to the next


def test_a_copied_state_goes_on_to_the_bit():
    learner, other = savo(), savo(seed=5)
    for seed in range(4):
        learner.update(batch(seed))
    other.seed = learner.seed
    other.restore({name: array.copy() for name, array in learner.state.items()})
    for seed in range(4, 8):
        assert learner.update(batch(seed)) == other.update(batch(seed))
    for name, array in learner.state.items():
        np.testing.assert_array_equal(other.state[name], array)
    assert "surrogates_statistics" in learner.state and "surrogates_target" not in learner.state


@pytest.mark.parametrize("reward", [np.nan, np.inf, 1e30])
def test_a_gradient_that_is_not_finite_is_left_out_and_told(reward):
    learner, update = savo(), None
    update = learner.update
    learner.update = lambda drawn: update(replace(drawn, extras=batch().extras))
    require_left_out(learner, reward)


def test_weights_of_prioritised_draws_weigh_surrogates_too():
    learner, drawn = savo(priority_alpha=0.6), batch()
    start = learner.surrogates.vector.copy()
    learner.update(replace(drawn, weight=np.zeros(B, np.float32)))
    np.testing.assert_array_equal(learner.surrogates.vector, start)
    learner.update(drawn)
    assert (learner.surrogates.vector != start).any()


# Acting.


def acting(chosen=None, seed=0, steps=6, envs=2):
    """(policy, learner, vector, round arrays with random observations) of a learner that has made some updates."""
    learner = savo(seed, chosen, policy_learning_rate=1e-2, critic_learning_rate=1e-2)
    for number in range(4):
        learner.update(batch(number, learner.chosen.n_actors))
    policy = TowerPolicy(VECTOR, "savo", HIDDEN, learner.chosen)
    vector = np.concatenate([learner.policy.vector, learner.critics.vector[: policy.critic_size]])
    assert vector.size == policy.size
    rounds = policy.round_arrays(steps, envs)
    rounds.raw[:] = np.random.default_rng(seed).standard_normal(rounds.raw.shape)
    return policy, learner, vector, rounds


def act(policy, vector, rounds):
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    assert all(kernel(*arguments, t) for t in range(len(rounds.action)))


@pytest.mark.parametrize("chosen", VARIANTS, ids=str)
def test_every_proposal_has_its_noise_and_the_critic_picks(chosen):
    policy, learner, vector, rounds = acting(chosen)
    actors, on = learner.chosen.n_actors, learner.chosen.explore_on
    rounds.extra_noise[:] = 0.5 * np.random.default_rng(1).standard_normal(rounds.extra_noise.shape)
    act(policy, vector, rounds)
    picks = []
    for t in range(len(rounds.action)):
        s = torch.tensor(rounds.observation[t])
        with torch.no_grad():
            proposals = [one.numpy().copy() for one in learner.policy.run(s)]
            for i in range(actors):
                if on != "chosen":
                    proposals[i] = np.clip(proposals[i] + rounds.extra_noise[t][:, i * A : (i + 1) * A], -1, 1).astype(np.float32)
            pairs = [torch.cat([s, torch.tensor(one)], 1) for one in proposals]
            values = torch.stack([learner.critics.run(pair)[0][:, 0] for pair in pairs])
        best = values.argmax(0).numpy()
        picks.extend(best)
        for e in range(len(s)):
            np.testing.assert_allclose(rounds.action[t, e, A:].reshape(actors, A), [one[e] for one in proposals], atol=2e-5)
            expected = proposals[best[e]][e]
            if on != "proposals":
                expected = np.clip(expected + rounds.extra_noise[t, e, actors * A :], -1, 1)
            np.testing.assert_allclose(rounds.action[t, e, :A], expected, atol=2e-5)
    np.testing.assert_allclose(rounds.bounded, [[-1.0, 0.0]] + 0.5 * (rounds.action[..., :A] + 1) * [[4.0, 0.5]], atol=1e-5)
    if on == "proposals":  # what is executed is one of those that are stored, to the bit
        stored = rounds.action[..., A:].reshape(*rounds.action.shape[:2], actors, A)
        assert (stored == rounds.action[..., None, :A]).all(-1).any(-1).all()
    assert actors == 1 or len(set(picks)) > 1


def test_the_first_actor_alone_is_played_where_that_is_asked_for():
    policy, _, vector, rounds = acting(steps=40)
    act(policy, vector, rounds)
    together = rounds.action.copy()
    rounds.knobs[ALONE] = 1.0
    act(policy, vector, rounds)
    np.testing.assert_array_equal(rounds.action[..., A:], together[..., A:])
    np.testing.assert_array_equal(rounds.action[..., :A], together[..., A : 2 * A])
    assert (rounds.action[..., :A] != together[..., :A]).any()


def test_while_actions_are_uniform_so_are_all_proposals_and_none_is_picked():
    policy, _, vector, rounds = acting(steps=2000, envs=1)
    rounds.knobs[EPSILON], rounds.knobs[TEMPERATURE] = 1.0, 1.0
    policy.head.draw(np.random.default_rng(0), rounds)
    act(policy, vector, rounds)
    numbers = rounds.action[:, 0].reshape(len(rounds.action), K + 1, A)
    np.testing.assert_array_equal(numbers[:, 0], numbers[:, 1])
    apart = numbers[:, 1:].reshape(len(numbers), -1)
    assert np.abs(np.corrcoef(apart.T) - np.eye(K * A)).max() < 0.1
    np.testing.assert_allclose(apart.mean(0), 0.0, atol=0.06)
    np.testing.assert_allclose(apart.var(0), 1 / 3, atol=0.03)


# The theory.


@pytest.mark.parametrize("seed", range(3))
def test_the_maximiser_never_picks_a_worse_value_than_any_proposal(seed):
    policy, learner, vector, rounds = acting(seed=seed, steps=200)
    act(policy, vector, rounds)
    for t in range(200):
        s = torch.tensor(rounds.observation[t])
        with torch.no_grad():
            all_values = [learner.critics.run(torch.cat([s, one], 1))[0][:, 0] for one in learner.policy.run(s)]
            picked = learner.critics.run(torch.cat([s, torch.tensor(rounds.action[t][:, :A])], 1))[0][:, 0]
        assert (picked >= torch.stack(all_values).amax(0) - 1e-5).all()


def local_optima(values):
    """Maximal plateaus of a grid [n] (or [n, m], 4 neighbours) all of whose neighbours are lower."""
    from scipy import ndimage

    count = 0
    for level in np.unique(values):
        plateaus, found = ndimage.label(values == level)
        for number in range(1, found + 1):
            here = plateaus == number
            around = ndimage.binary_dilation(here) & ~here
            count += bool((values[around] < level).all())
    return count


@pytest.mark.parametrize("shape", [(60,), (14, 14)])
@pytest.mark.parametrize("seed", range(10))
def test_the_number_of_local_optima_never_grows_along_the_surrogates(seed, shape):
    """max(tau_i, Q) over any proposals: the valleys that are filled hold no optimum, and filling makes none."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 40, shape).astype(float)
    counts, tau = [local_optima(values)], -np.inf
    for _ in range(5):
        tau = max(tau, values.flat[generator.integers(values.size)])
        counts.append(local_optima(np.maximum(values, tau)))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


class Table:
    """A random problem of 5 states and a line of 9 actions, whose values can be computed exactly."""

    def __init__(self, seed):
        generator = np.random.default_rng(seed)
        self.states, self.actions, self.discount = 5, 9, 0.9
        self.reward = generator.standard_normal((5, 9))
        self.move = generator.dirichlet(np.full(5, 0.3), (5, 9))
        self.others = generator.integers(0, 9, (3, 5))

    def values(self, policy):
        """(V [5], Q [5, 9]) of a policy [5]."""
        here = np.arange(5)
        v = np.linalg.solve(np.eye(5) - self.discount * self.move[here, policy], self.reward[here, policy])
        return v, self.reward + self.discount * self.move @ v

    def step(self, policy, q, others):
        """Gradient ascent moves an action to the better of its neighbours; of that and `others` the best one is taken."""
        near = np.clip(np.stack([policy, policy - 1, policy + 1]), 0, self.actions - 1)
        climbed = near[q[np.arange(5), near].argmax(0), np.arange(5)]
        candidates = np.stack([policy, climbed, *others])
        return candidates[q[np.arange(5), candidates].argmax(0), np.arange(5)]


def iterated(table, others, rounds=100):
    policy, found = np.zeros(5, int), []
    for _ in range(rounds):
        v, q = table.values(policy)
        found.append(v)
        following = table.step(policy, q, others)
        if (following == policy).all():
            return policy, q, found
        policy = following
    raise AssertionError("it has not converged")


@pytest.mark.parametrize("seed", range(20))
def test_policy_iteration_with_a_maximiser_converges_and_values_never_fall(seed):
    table = Table(seed)
    policy, q, found = iterated(table, table.others)
    assert all((after >= before - 1e-9).all() for before, after in pairwise(found))
    here, near = np.arange(5), np.clip(np.stack([policy - 1, policy + 1]), 0, 8)
    assert (q[here, policy] >= q[here, near]).all() and (q[here, policy] >= q[here, table.others]).all()
    everything = np.tile(np.arange(9)[:, None], (1, 5))
    best, best_q, _ = iterated(table, everything)
    np.testing.assert_array_equal(best, best_q.argmax(1))  # with all actions proposed it is the optimal policy


def test_the_policy_that_it_converges_to_need_not_be_the_optimal_one():
    """Theorem 4.1 of seed 002 says that it is; its proof in appendix A shows a local maximum, which is what theorem A.1 says."""
    ends = []
    for seed in range(20):
        table = Table(seed)
        _, _, found = iterated(table, table.others)
        _, _, best = iterated(table, np.tile(np.arange(9)[:, None], (1, 5)))
        _, _, alone = iterated(table, [])
        ends.append((found[-1].mean() < best[-1].mean() - 1e-9, found[-1].mean() - alone[-1].mean()))
    assert sum(worse for worse, _ in ends) > 5
    assert np.mean([gain for _, gain in ends]) > 0.5  # and it is better than gradient ascent alone
