"""Proposals among the items of a Discrete space: their features, the nearest ones, acting, whole runs, and what is refused."""

from __future__ import annotations

import re

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from running import Jitter, figures, resume
from test_savo import VECTOR, A, B, K, S, batch, items, nearest, on_items, savo
from test_stream_runs import killer, learned, learner_part, stream

import asyncrl
from asyncrl.envs.spec import EnvSpec, spec_of
from asyncrl.errors import UserError
from asyncrl.heads.networks import nearest as in_torch
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.proposing import items as of_proposals
from asyncrl.heads.proposing import picking
from asyncrl.heads.proposing.items import Items
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.heads.rounds import EPSILON
from asyncrl.heads.savo import SavoHead, SavoOptions
from asyncrl.heads.tower import TowerPolicy
from asyncrl.replays.records import Record, fields_of
from asyncrl.shared.sealed import SealedArray


def spec_with(count, features=None):
    return EnvSpec((S,), "float32", "discrete", (count,), (), (), (), (0,), action_features=features)


# Features.


def test_features_within_the_box_are_taken_as_they_are_and_others_are_scaled(tmp_path):
    rows = np.array([[0.0, 10.0, 7.0], [1.0, 30.0, 7.0], [0.5, 20.0, 7.0]])
    np.save(tmp_path / "rows.npy", rows)
    for given in (str(tmp_path / "rows.npy"), tuple(map(tuple, rows)), rows):
        made = Items("savo", spec_with(3), ProposingOptions(catalogue=given))
        np.testing.assert_allclose(made.features, [[-1, -1, 0], [1, 1, 0], [0, 0, 0]])
        np.testing.assert_allclose(made.half_squares, [1.0, 1.0, 0.0])
        assert made.features.dtype == np.float32 and not made.features.flags.writeable
    within = np.array([[0.25, -1.0], [0.5, 0.75]])
    np.testing.assert_array_equal(Items("savo", spec_with(2), ProposingOptions(catalogue=within)).features, within)


def test_an_environments_own_features_stay_where_they_are():
    env = gymnasium.make("asyncrl/RecSim-v0", n_items=200)
    spec = spec_of(env)
    made = Items("savo", spec, ProposingOptions())
    assert np.shares_memory(made.features, env.unwrapped.action_features)
    own = np.eye(200, 3)
    np.testing.assert_array_equal(Items("savo", spec, ProposingOptions(catalogue=own)).features, own)  # what the user gives holds
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "head 'savo' needs features of the 3 actions .give --catalogue FILE.npy, numbers .3, F., or an environment"),
        ({"catalogue": np.eye(4)}, "features of 4 actions cannot be used .allowed: 3, one row for each action"),
        ({"catalogue": [[0.0], [np.nan], [1.0]]}, "features of actions cannot be used: it contains numbers that are not finite"),
        ({"catalogue": "absent.npy"}, "catalogue 'absent.npy' cannot be read: No such file"),
    ],
)
def test_features_that_cannot_be_used_are_told(options, message):
    with pytest.raises(UserError, match=message):
        Items("savo", spec_with(3), ProposingOptions(**options))


def test_how_many_features_there_are_is_told_without_reading_them(monkeypatch):
    spec = spec_with(3, SealedArray(np.eye(3)))
    monkeypatch.setattr(of_proposals.hashlib, "blake2b", lambda *_, **__: pytest.fail("it reads them"))
    assert of_proposals.features_of(spec, ProposingOptions()) == 3


# The nearest items.


@pytest.mark.parametrize("queries", [1, 2, 3, 4, 7])
def test_the_nearest_items_are_those_of_the_least_distance(queries, monkeypatch):
    monkeypatch.setattr(in_torch, "AT_ONCE", 300)  # so that the items are looked at in several parts
    generator = np.random.default_rng(queries)
    rows = generator.uniform(-1, 1, (501, 5)).astype(np.float32)
    points = generator.uniform(-1, 1, (queries, 5)).astype(np.float32)
    half, expected = 0.5 * (rows**2).sum(1), nearest(rows, points)
    found = np.full(queries, -1)
    picking.nearest(rows, half, points, found)
    np.testing.assert_array_equal(found, expected)
    search = in_torch.NearestItems(rows, half)
    np.testing.assert_array_equal(search.nearest(torch.tensor(points)), expected)
    order = ((rows[None] - points[:, None]) ** 2).sum(-1).argsort(1, kind="stable")
    np.testing.assert_array_equal(search.several(torch.tensor(points), 4), order[:, :4])
    assert search.nearest(torch.tensor(points).view(queries, 1, 5)).shape == (queries, 1)


def test_of_equally_near_items_the_first_is_taken(monkeypatch):
    monkeypatch.setattr(in_torch, "AT_ONCE", 4)
    rows, points = np.zeros((12, 2), np.float32), np.zeros((2, 2), np.float32)
    found = np.full(2, -1)
    picking.nearest(rows, np.zeros(12, np.float32), points, found)
    assert found.tolist() == [0, 0]
    assert in_torch.NearestItems(rows, np.zeros(12, np.float32)).nearest(torch.tensor(points)).tolist() == [0, 0]


def test_an_index_finds_most_of_the_nearest_items():
    """Where it looks through all cells it is exact; of 40,000 items it looks through 64 cells of 800."""
    pytest.importorskip("faiss")
    generator = np.random.default_rng(0)
    for count, share in ((501, 1.0), (40_000, 0.9)):
        rows, points = (generator.uniform(-1, 1, (n, 8)).astype(np.float32) for n in (count, 300))
        half = 0.5 * (rows**2).sum(1)
        exact, indexed = (in_torch.items_of(search, rows, half) for search in ("exact", "faiss"))
        asked = torch.tensor(points).view(3, 100, 8)
        assert indexed.nearest(asked).shape == (3, 100)
        assert (indexed.nearest(asked) == exact.nearest(asked)).float().mean() >= share
        assert (indexed.several(asked, 3)[..., 1] == exact.several(asked, 3)[..., 1]).float().mean() >= share - 0.05
    assert in_torch.IndexedItems(rows[:40], half[:40]).several(asked, 40).shape == (3, 100, 40)


def test_an_index_without_its_package_or_without_items(monkeypatch):
    monkeypatch.setattr("asyncrl.heads.proposing.items.find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("search = faiss needs the package faiss-cpu (pip install 'asyncrl[faiss]')")):
        Items("savo", items()[0], ProposingOptions(search="faiss"))
    with pytest.raises(UserError, match="search = faiss cannot be used with Box actions"):
        SavoHead(VECTOR, NetworkOptions(head_options=SavoOptions(search="faiss")))


# Acting.


def acting(chosen=None, seed=0, steps=6, envs=2):
    spec, space = items()
    learner = savo(seed, chosen, space, policy_learning_rate=1e-2, critic_learning_rate=1e-2)
    for number in range(4):
        learner.update(on_items(batch(number, learner.chosen.n_actors), space.features, False))
    policy = TowerPolicy(spec, "savo", (24, 20), learner.chosen)
    vector = np.concatenate([learner.policy.vector, learner.critics.vector[: policy.critic_size]])
    assert vector.size == policy.size
    rounds = policy.round_arrays(steps, envs)
    rounds.raw[:] = np.random.default_rng(seed).standard_normal(rounds.raw.shape)
    return policy, learner, vector, rounds


def act(policy, vector, rounds):
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    assert all(kernel(*arguments, t) for t in range(len(rounds.action)))


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("chosen", [{}, {"told": "input"}, {"told": "nothing"}, {"n_actors": 1}], ids=str)
def test_actors_are_told_noise_and_the_critic_picks_among_items(chosen, noisy):
    policy, learner, vector, rounds = acting(chosen)
    actors, features = learner.chosen.n_actors, policy.head.items.features
    rounds.extra_noise[:] = 0.4 * noisy * np.random.default_rng(1).standard_normal(rounds.extra_noise.shape)
    act(policy, vector, rounds)
    for t in range(len(rounds.action)):
        s = torch.tensor(rounds.observation[t])
        for e in range(len(s)):
            extra, here, told = rounds.extra_noise[t, e].reshape(actors + 1, A), s[e : e + 1], []
            with torch.no_grad():
                for i in range(actors):
                    one = one_of(learner.policy, here, told, i)
                    told.append(torch.tensor(np.clip(one + extra[i], -1, 1).astype(np.float32)))
                found = [int(nearest(features, one)[0]) for one in told]
                values = [float(learner.critics.run(torch.cat([here, torch.tensor(features[n])[None]], 1))[0]) for n in found]
            action, at = rounds.action[t, e], A * (1 + actors)
            np.testing.assert_allclose(action[A:at].reshape(actors, A), torch.cat(told), atol=2e-5)
            assert action[at:].tolist() == [*found, found[int(np.argmax(values))]]
            np.testing.assert_array_equal(action[:A], features[int(action[-1])])
            assert policy.head.environment_action(rounds, t, e) == int(action[-1])
    if not noisy:  # the greedy action is that of the learner
        np.testing.assert_allclose(rounds.action[0][:, :A], learner.greedy(torch.tensor(rounds.observation[0])), atol=1e-6)


def one_of(actors, s, told, i):
    """The i-th actor's proposal [1, A], told what is given instead of what those before it propose."""
    from asyncrl.heads.networks.towers import forward

    if i == 0:
        return forward(actors.first, s).tanh().numpy()
    return actors.cells[i - 1].run(s, s[None, None], torch.stack(told), actors._shares[i - 1])[0, 0].tanh().numpy()


def test_a_uniform_action_is_any_item_and_proposals_are_uniform_then():
    policy, _, vector, rounds = acting(steps=3000, envs=1)
    rounds.knobs[EPSILON] = 1.0
    policy.head.draw(np.random.default_rng(0), rounds)
    act(policy, vector, rounds)
    counts = np.bincount(rounds.action[:, 0, -1].astype(int), minlength=40)
    assert (counts > 0).all() and ((counts - 75.0) ** 2 / 75.0).sum() < 70  # chi-square with 39 degrees of freedom: 1 in 600
    proposals = rounds.action[:, 0, A : A * (1 + K)]
    np.testing.assert_allclose(proposals.var(0), 1 / 3, atol=0.03)
    found = nearest(policy.head.items.features, proposals.reshape(-1, K, A))
    np.testing.assert_array_equal(rounds.action[:, 0, A * (1 + K) : -1], found)


# Whole runs.


class Shop(gymnasium.Env):
    """One step an episode: a reward that falls with the distance between the item's features and what the observation asks for."""

    count = 60
    action_features = np.random.default_rng(7).uniform(-1, 1, (60, 2))

    def __init__(self, render_mode=None):
        self.observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(self.count, start=5)

    def _asked(self):
        self._wanted = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self._wanted

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._asked(), {}

    def step(self, action):
        assert 5 <= action < 65
        reward = 1.0 - float(np.linalg.norm(self.action_features[action - 5] - self._wanted[:2]))
        return self._asked(), reward, True, False, {}


def jittery_shop():
    return Jitter(Shop(), 0.002, 0.05)


SMALL = {"head": "savo", "summary": 4, "summary_units": 8, "explore": "ou:0.2+epsilon:0.1", "env": Shop}


def run_of(folder, beside=None, **settings):
    return stream(folder, "td3", beside, **{**SMALL, **settings})


@pytest.mark.slow
def test_it_learns_which_of_many_items_is_asked_for(tmp_path):
    run = run_of(tmp_path, steps=2000, warm_up=500, workers=1, hidden=(48, 48), batch=64, gamma=0.0)
    score = asyncrl.evaluate(run.folder, episodes=200, env=Shop)["return_mean"]
    best = np.linalg.norm(Shop.action_features[:, None] - np.random.default_rng(0).uniform(-1, 1, (1, 400, 2)), axis=-1).min(0).mean()
    assert score > 1.0 - best - 0.12  # uniform items: -0.04; the best: 0.86


@pytest.mark.slow  # who is waited for is td3's seam
@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_the_same_bits_however_actors_are_timed(tmp_path, mode):
    one, two = (run_of(tmp_path, mode=mode, steps=300, env=env) for env in (Shop, jittery_shop))
    assert learned(one) == learned(two)


@pytest.mark.slow
def test_a_resumed_run_continues_with_the_same_bits(tmp_path):
    whole, half = run_of(tmp_path, steps=600), run_of(tmp_path, steps=300)
    second = resume(half.folder, steps=600, env=Shop)
    ours, theirs = learned(second), learned(whole)
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert figures(second) == figures(whole)


@pytest.mark.slow
@pytest.mark.stress
def test_a_run_survives_the_death_of_everybody_and_keeps_whole_transitions(tmp_path):
    run = run_of(tmp_path, killer([[0, 1, 2]]), env=jittery_shop, mode="async", steps=1500, max_failures=100)
    assert run.error is None and run.summary["status"] == "completed" and run.summary["restarts"] == 3
    fields = fields_of(((3,), np.float32), 2, {"proposals": ((3, 2), np.float32), "items": ((3,), np.float32)})
    rows = Record(fields).views(np.ascontiguousarray(learner_part(run)["replay/rows"]))
    features = Shop.action_features.astype(np.float32)
    np.testing.assert_array_equal(rows["items"], nearest(features, rows["proposals"]))
    executed = nearest(features, rows["action"])
    np.testing.assert_array_equal(features[executed], rows["action"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "auto"}, "td3 needs Box actions.*; where their features are known also td3 --head savo, wolpertinger, cross-entropy"),
        ({"explore_on": "both"}, "explore_on = both cannot be used with Discrete actions"),
        ({"env": "CartPole-v1"}, "head 'savo' needs features of the 2 actions"),
        ({"catalogue": np.eye(3)}, "features of 3 actions cannot be used .allowed: 60"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, settings, message):
    settings = {**SMALL, **settings}
    if settings["head"] == "auto":
        settings = {"env": Shop}
    with pytest.raises(UserError, match=message):
        asyncrl.train("td3", steps=300, runs=str(tmp_path), **settings)
    assert not list(tmp_path.iterdir())


def test_batches_of_the_reference_hold_what_a_head_stores():
    drawn = on_items(batch(), items()[1].features, False)
    assert drawn.extras["items"].shape == (B, K)
