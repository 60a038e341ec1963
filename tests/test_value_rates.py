"""A learning rate of its own for what v(s) alone depends on: which numbers these are, and that updates use it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.a3c import A3COptions
from asyncrl.envs.spec import EnvSpec
from asyncrl.heads.choice import ACTOR_CRITIC_LAYERS
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.learners.hyperparameters import ActorLearnerOptions, GradientOptions
from asyncrl.learners.rules import optimizer_of
from asyncrl.session.folder import read_experiment
from asyncrl.shared.optimizers import Adam, PartRates, Rmsprop, Sgd

BOX = EnvSpec((5,), "float32", "box", (), (2,), (-1.0,) * 2, (1.0,) * 2, ())
IMAGE = EnvSpec((1, 20, 20), "uint8", "discrete", (3,), (), (), (), (0,))


class Interleaved(torch.nn.Module):
    """A user's network: a shared layer between layers of the value and of the policy, and one that nothing uses."""

    def __init__(self, outputs):
        super().__init__()
        self.value = torch.nn.Linear(6, 1)
        self.shared = torch.nn.Linear(5, 6)
        self.policy = torch.nn.Linear(6, outputs)
        self.idle = torch.nn.Linear(3, 2)
        self.value_scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, observation):
        features = torch.tanh(self.shared(observation))
        return self.policy(features), self.value_scale * self.value(features).squeeze(-1)


def interleaved(spec, outputs):
    return Interleaved(outputs)


POLICIES = {
    **{
        f"{head}-{trunk}": lambda head=head, trunk=trunk: Policy(
            BOX, head, NetworkOptions(hidden=None if head == "linear" else (7, 4), trunk=trunk, rank=2)
        )
        for head in ("auto", "itt", *ACTOR_CRITIC_LAYERS)
        for trunk in ("separate", "shared")
    },
    "recurrent": lambda: Policy(BOX, "auto", NetworkOptions(hidden=(8,), recurrent=6)),
    "image": lambda: Policy(IMAGE, "auto", NetworkOptions()),
    "own": lambda: Policy(BOX, "auto", NetworkOptions(), interleaved),
}


def slopes(policy):
    """Derivatives by the whole vector of a random sum of the policy's outputs, and of one of values: [2, size]."""
    generator = np.random.default_rng(0)
    vector = (policy.initial(0) + 0.1 * generator.standard_normal(policy.size)).astype(np.float32)
    dense, found = policy.dense(vector), []
    policy.expand(vector, dense)
    observation = generator.integers(0, 255, (9, *policy.spec.observation_shape)).astype(policy.spec.observation_dtype)
    for which in (0, 1):
        gradient, whole = np.zeros_like(dense), np.zeros(policy.size, np.float32)
        module, _ = policy.module(dense, gradient)
        inputs = torch.from_numpy(observation)
        results = module.recur(inputs, torch.ones(2, 9, policy.memory_size)) if policy.memory_size else module(inputs / 255)
        (results[which] * torch.from_numpy(generator.standard_normal(results[which].shape)).float()).sum().backward()
        if dense is vector:
            whole[:] = gradient
        else:
            policy.pull_back(vector, gradient, whole)
        found.append(whole)
    return np.array(found)


def alone(policy):
    marked = np.zeros(policy.size, bool)
    for part in policy.value_alone():
        assert not marked[part].any() and part.stop > part.start
        marked[part] = True
    return marked


@pytest.mark.parametrize("name", POLICIES)
def test_they_are_all_that_the_value_needs_and_the_policy_does_not(name):
    policy = POLICIES[name]()
    of_policy, of_value = slopes(policy) != 0.0
    marked = alone(policy)
    assert marked.any()
    assert not (marked & of_policy).any()
    assert not (of_value & ~of_policy & ~marked).any()
    assert of_value[marked].mean() > 0.25  # units of relu may be off


class Drawing(torch.nn.Module):
    """A user's network that normalises over the batch, and draws."""

    def __init__(self, outputs):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.5))
        self.policy, self.value = torch.nn.Linear(6, outputs), torch.nn.Linear(6, 1)

    def forward(self, observation):
        features = self.body(observation)
        return self.policy(features), self.value(features).squeeze(-1)


def test_the_trial_serves_every_network_and_leaves_the_generators_alone():
    policy = Policy(BOX, "auto", NetworkOptions(), lambda spec, outputs: Drawing(outputs))
    before = torch.get_rng_state()
    assert policy.value_alone() == [slice(policy.size - 2 - 7, policy.size - 2)]  # but for the head's own two numbers it is the last layer
    assert torch.equal(torch.get_rng_state(), before)


def test_action_values_have_none():
    discrete = EnvSpec((5,), "float32", "discrete", (3,), (), (), (), (0,))
    assert Policy(discrete, "auto", NetworkOptions(), role=Role.ACTION_VALUES).value_alone() == []


@pytest.mark.parametrize("rule", [Sgd(0.9), Rmsprop(0.9, 1e-4), Adam(epsilon=1e-4)], ids=repr)
def test_parts_are_updated_as_by_the_rule_alone_at_their_rates(rule):
    parts = ((slice(0, 5), 1.0), (slice(5, 5), 3.0), (slice(5, 12), 10.0), (slice(12, 20), 0.5))
    generator = np.random.default_rng(3)
    start = generator.standard_normal(20).astype(np.float32)
    pieces, whole = (start.copy(), np.zeros((3, 20), np.float32)), (start.copy(), np.zeros((3, 20), np.float32))
    both = PartRates(rule, parts)
    assert both.statistics == rule.statistics
    for count in range(1, 6):
        gradient = generator.standard_normal(20).astype(np.float32)
        for shard in (slice(0, 8), slice(8, None)):
            both.step(whole, gradient, shard, 0.7, 0.01, count)
        for part, factor in parts:
            rule.step(pieces, gradient, part, 0.7, 0.01 * factor, count)
    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_array_equal(whole[1], pieces[1])
    assert (whole[0] != start).all()


@pytest.mark.parametrize("algo", [name for name, entry in ALGORITHMS.items() if issubclass(entry.options_type, GradientOptions)])
def test_one_update_moves_the_value_at_its_own_rate(algo):
    """Plain descent on a gradient of ones moves every number by its learning rate."""
    learns_values = hasattr(ALGORITHMS[algo].options_type(), "value_weight")
    rates = {"value_learning_rate": 0.5} if learns_values else {}
    options = ALGORITHMS[algo].options_type(optimizer="sgd", learning_rate=0.125, **rates)
    policy = POLICIES["auto-separate"]()
    vector = np.zeros(policy.size, np.float32)
    optimizer_of(options, policy).step((vector, np.zeros((1, policy.size), np.float32)), np.ones_like(vector), slice(None), 1.0, 0.125, 1)
    np.testing.assert_array_equal(vector, np.where(alone(policy) & learns_values, np.float32(-0.5), np.float32(-0.125)))


@pytest.mark.parametrize("algo", ["a2c", "impala"])
def test_a_run_that_is_older_than_the_rate_goes_on_with_one(algo, tmp_path):
    settings = {"workers": 1, "steps": 400, "quiet": True, "evaluation_episodes": 0, "learning_rate": 2e-3}
    run = asyncrl.train(algo, "CartPole-v1", runs=str(tmp_path), **settings)
    path = run.folder / "experiment.json"
    data = json.loads(path.read_text())
    assert data["settings"]["options"].pop("value_learning_rate") == 1e-2
    path.write_text(json.dumps(data))
    assert read_experiment(run.folder).options.value_learning_rate == 2e-3


def test_one_rate_is_the_rule_itself():
    """So nothing is added to the hot path where there is nothing to tell apart."""
    policy = POLICIES["auto-separate"]()
    assert isinstance(optimizer_of(A3COptions(learning_rate=1e-3, value_learning_rate=1e-3), policy), Rmsprop)
    assert isinstance(optimizer_of(ActorLearnerOptions(), policy), Rmsprop)
