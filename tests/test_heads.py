"""Heads of actor-learners in detail; `test_head_contract.py` has what every head of the registry must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.heads import HEADS as ALL_HEADS
from asyncrl.heads.implicit.head import ImplicitHead
from asyncrl.heads.networks.kernels import layer_sizes
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, LossRows

HEADS = {
    name: head
    for name, head in ALL_HEADS.items()
    if head.roles & {Role.ACTOR_CRITIC, Role.ACTION_VALUES} and not issubclass(head, ImplicitHead)  # which store places of a set
}
INFINITE = spaces.Box(np.array([-np.inf, -1.0, 0.0], np.float32), np.array([np.inf, np.inf, 1.0], np.float32))
ODD = spaces.Box(np.array([-0.1, 0.2, -3e3], np.float32), np.array([0.3, 0.7, 1e-3], np.float32))
SPACES = {
    "discrete": spaces.Discrete(3),
    "discrete from 5": spaces.Discrete(4, start=5),
    "multidiscrete": spaces.MultiDiscrete([3, 2, 4]),
    "multidiscrete from": spaces.MultiDiscrete([3, 2], start=[7, -2]),
    "multibinary": spaces.MultiBinary(3),
    "box": spaces.Box(-2.0, 2.0, (2,), np.float32),
    "matrix": spaces.Box(-1.0, 3.0, (2, 2), np.float32),
    "odd bounds": ODD,
    "float64 bounds": spaces.Box(np.array([-0.1, 0.7]), np.array([0.1, 0.9]), dtype=np.float64),
    "infinite": INFINITE,
    "huge": spaces.Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (2,), np.float32),
}
BOXES = [name for name, space in SPACES.items() if isinstance(space, spaces.Box)]
CHOICES = [name for name in SPACES if name not in BOXES]
FITTING = {"categorical": CHOICES, "gaussian": BOXES, "action-values": ["discrete", "discrete from 5"]}
CASES = [(head, space, squash) for head in HEADS for space in FITTING[head] for squash in ([False, True] if space in BOXES else [False])]
cases = pytest.mark.parametrize(("head", "space", "squash"), CASES)
DISTRIBUTIONS = [case for case in CASES if case[0] != "action-values"]
distributions = pytest.mark.parametrize(("head", "space", "squash"), DISTRIBUTIONS)


def spec_of(space):
    return EnvSpec((4,), "float32", *_action(space))


def policy_of(space, head="auto", squash=False, **options):
    return Policy(spec_of(SPACES[space] if isinstance(space, str) else space), head, NetworkOptions(hidden=(8,), squash=squash, **options))


def lively(policy, seed=0):
    """Parameters with which the outputs differ from each other."""
    vector = policy.initial(seed)
    return vector + np.float32(0.3) * np.random.default_rng(seed).standard_normal(vector.size).astype(np.float32)


def drawn(policy, rows, policy_output, vector=None, epsilon=0.0, temperature=1.0, seed=0):
    """rounds after `rows` environments have drawn one action each from the same output."""
    rounds = policy.round_arrays(1, rows)
    rounds.knobs[EPSILON], rounds.knobs[TEMPERATURE] = epsilon, temperature
    rounds.policy_output[:] = policy_output
    policy.head.draw(np.random.default_rng(seed), rounds)
    policy.head.choose(rounds, policy.initial(0) if vector is None else vector, 0)
    return rounds


def counts_fit(counts, probabilities):
    """Chi-square with a bound that is passed all but once in ten thousand times (k < 12), for the fixed seed."""
    expected = np.asarray(probabilities) * counts.sum()
    assert (((counts - expected) ** 2) / expected).sum() < 40.0


# Fit.


def test_every_head_is_tested_here():
    assert set(FITTING) == set(HEADS)
    for name, head in HEADS.items():
        assert head.name == name and head.description and len(head.description) < 80


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("head", HEADS)
def test_a_head_takes_only_its_spaces(head, space):
    if space in FITTING[head]:
        policy = policy_of(space, head)
        assert policy.head.components == spec_of(SPACES[space]).action_size
    else:
        with pytest.raises(UserError, match=r"needs .* actions.*use '"):
            policy_of(space, head)


def test_auto_and_unknown_names():
    assert policy_of("box").head.name == "gaussian" and policy_of("multidiscrete").head.name == "categorical"
    with pytest.raises(UserError, match="unknown head 'gausian'; did you mean 'gaussian'"):
        policy_of("box", "gausian")


# Drawing.


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_frequencies_are_the_softmax_of_every_component(temperature):
    policy, rows = policy_of("multidiscrete"), 40_000
    logits = np.array([0.5, -1.0, 2.0, 0.0, 1.0, 3.0, 3.0, -2.0, 1.0], np.float32)
    action = drawn(policy, rows, logits, temperature=temperature).action[0]
    for c, part in enumerate((logits[:3], logits[3:5], logits[5:])):
        probabilities = torch.softmax(torch.tensor(part / temperature, dtype=torch.float64), 0).numpy()
        counts_fit(np.bincount(action[:, c], minlength=len(part)), probabilities)
    joint = np.bincount(action[:, 0] * 2 + action[:, 1], minlength=6)  # components are independent
    outer = np.outer(torch.softmax(torch.tensor(logits[:3] / temperature), 0), torch.softmax(torch.tensor(logits[3:5] / temperature), 0))
    counts_fit(joint, outer.reshape(-1))


def test_large_logits_do_not_overflow():
    action = drawn(policy_of("discrete"), 1000, np.array([1000.0, -1000.0, 1000.0], np.float32)).action[0, :, 0]
    assert set(action) == {0, 2} and 400 < (action == 0).sum() < 600


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_gaussians_moments_and_quantiles(temperature):
    policy, rows = policy_of("box"), 40_000
    vector = policy.initial(0)
    vector[-2:] = [-1.0, 0.5]
    mean = np.array([0.3, -0.7], np.float32)
    action = drawn(policy, rows, mean, vector, temperature=temperature).action[0]
    deviation = temperature * np.exp([-1.0, 0.5])
    for c in range(2):
        z = torch.tensor((action[:, c] - mean[c]) / deviation[c])
        tenths = (torch.distributions.Normal(0.0, 1.0).cdf(z).numpy() * 10).astype(int).clip(0, 9)
        counts_fit(np.bincount(tenths, minlength=10), np.full(10, 0.1))
    assert abs(np.corrcoef(action.T)[0, 1]) < 0.02


@cases
def test_temperature_zero_is_greedy(head, space, squash):
    policy = policy_of(space, head, squash)
    output = np.random.default_rng(1).standard_normal(policy.head.policy_outputs).astype(np.float32)
    action = drawn(policy, 20, output, temperature=0.0).action[0]
    if head != "gaussian":
        parts = np.split(output, np.cumsum(policy.spec.action_sizes)[:-1])
        expected = [int(part.argmax()) for part in parts]
    else:
        expected = output
    np.testing.assert_array_equal(action, np.broadcast_to(expected, action.shape))


@pytest.mark.parametrize(("head", "space"), [(head, space) for head in FITTING for space in FITTING[head] if space in CHOICES])
def test_epsilon_one_is_uniform_over_choices(head, space):
    policy = policy_of(space, head)
    output = np.linspace(0, 30, policy.head.policy_outputs).astype(np.float32)
    action = drawn(policy, 20_000, output, epsilon=1.0).action[0]
    for c, size in enumerate(policy.spec.action_sizes):
        counts_fit(np.bincount(action[:, c], minlength=size), np.full(size, 1 / size))


@pytest.mark.parametrize("squash", [False, True])
def test_epsilon_one_is_uniform_within_bounds(squash):
    policy = policy_of("odd bounds", squash=squash)
    rounds = drawn(policy, 20_000, np.float32(5.0), epsilon=1.0)
    low, high = np.array(policy.spec.action_low), np.array(policy.spec.action_high)
    tenths = ((rounds.bounded[0] - low) / (high - low) * 10).astype(int).clip(0, 9)
    for c in range(3):
        counts_fit(np.bincount(tenths[:, c], minlength=10), np.full(10, 0.1))
    assert np.isfinite(rounds.action).all()


@pytest.mark.parametrize(("head", "space"), [("categorical", "multidiscrete"), ("gaussian", "box"), ("action-values", "discrete")])
def test_epsilon_takes_that_share_of_whole_actions(head, space):
    policy = policy_of(space, head)
    certain = np.where(np.arange(policy.head.policy_outputs) % 3 == 0, 200.0, -200.0).astype(np.float32)
    vector = policy.initial(0)
    if space == "box":
        vector[-2:] = -5.0
    greedy = drawn(policy, 1, certain, vector, temperature=0.0).action[0, 0]
    action = drawn(policy, 20_000, certain, vector, epsilon=0.25).action[0]
    apart = np.abs(action - greedy) > (0.1 if space == "box" else 0)
    chance = 1.0 if space == "box" else 1 - 1 / np.prod(policy.spec.action_sizes)  # that a uniform action differs from the greedy one
    assert abs(apart.any(1).mean() - 0.25 * chance) < 0.015


# What environments are given.


@cases
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 1.0, 30.0, 1e6]))
@settings(max_examples=20, deadline=None)
def test_the_environment_gets_a_member_of_its_action_space(head, space, squash, seed, scale):
    policy = policy_of(space, head, squash)
    generator = np.random.default_rng(seed)
    output = (scale * generator.standard_normal((8, policy.head.policy_outputs))).astype(np.float32)
    for epsilon in (0.0, 0.5):
        rounds = drawn(policy, 8, output, epsilon=epsilon, seed=seed)
        for e in range(8):
            action = policy.head.environment_action(rounds, 0, e)
            assert SPACES[space].contains(action), (action, SPACES[space])


@given(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2).filter(lambda pair: pair[0] < pair[1]), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_ends_of_the_range_are_within_the_bounds_to_the_last_bit(pair, squash, double):
    dtype = np.float64 if double else np.float32
    low, high = (dtype(bound) + dtype(0.1) for bound in pair)
    assume(high - low > 1e-6 * max(abs(low), abs(high)))
    space = spaces.Box(np.array([low]), np.array([high]), dtype=dtype)
    policy = policy_of(space, squash=squash)
    for mean in (-50.0, 50.0):
        action = policy.head.environment_action(drawn(policy, 1, np.float32(mean), temperature=0.0), 0, 0)
        assert space.contains(action)
        assert action[0] == pytest.approx(low if mean < 0 else high, rel=1e-6, abs=1e-6 * float(high - low))


@pytest.mark.parametrize("squash", [False, True])
def test_bounded_components_are_scaled_from_minus_one_to_one(squash):
    policy = policy_of("box", squash=squash)
    mean = np.array([0.5, -3.0], np.float32)
    action = policy.head.environment_action(drawn(policy, 1, mean, temperature=0.0), 0, 0)
    np.testing.assert_allclose(action, 2 * (np.tanh(mean) if squash else np.clip(mean, -1, 1)), rtol=1e-6)


@pytest.mark.parametrize("space", ["discrete from 5", "multidiscrete from"])
def test_the_first_choice_is_the_spaces_start(space):
    policy = policy_of(space)
    rounds = drawn(policy, 1, np.zeros(policy.head.policy_outputs, np.float32))
    rounds.action[:] = 0
    action = policy.head.environment_action(rounds, 0, 0)
    np.testing.assert_array_equal(action, SPACES[space].start)


@cases
def test_the_given_action_is_the_environments_own(head, space, squash):
    policy = policy_of(space, head, squash)
    rounds = drawn(policy, 1, np.zeros(policy.head.policy_outputs, np.float32))
    action = policy.head.environment_action(rounds, 0, 0)
    before = np.array(action)
    rounds.action[:], rounds.bounded[:] = 1, 17.0
    np.testing.assert_array_equal(action, before)


# Learning.


def rows_of(policy, rows, seed=0):
    generator = np.random.default_rng(seed)
    outputs = policy.head.policy_outputs
    if policy.spec.action_kind == "box":
        action = generator.standard_normal((rows, policy.head.components)).astype(np.float32)
    else:
        action = generator.integers(0, policy.spec.action_sizes, (rows, policy.head.components))
    output, weight = generator.standard_normal((rows, outputs)).astype(np.float32), generator.standard_normal(rows).astype(np.float32)
    return LossRows(output, np.full((rows, outputs), np.nan, np.float32), action, weight)


def torchs(policy, output, extra, action):
    """(log pi(a), entropy) by torch.distributions."""
    if policy.spec.action_kind == "box":
        normal = torch.distributions.Independent(torch.distributions.Normal(output, extra.exp().expand_as(output)), 1)
        return normal.log_prob(action), normal.entropy()
    log_prob, entropy, start = 0, 0, 0
    for c, size in enumerate(policy.spec.action_sizes):
        part = torch.distributions.Categorical(logits=output[:, start : start + size])
        log_prob, entropy, start = log_prob + part.log_prob(action[:, c]), entropy + part.entropy(), start + size
    return log_prob, entropy


@distributions
def test_log_prob_and_entropy_are_those_of_torch(head, space, squash):
    policy = policy_of(space, head, squash, initial_log_std=-0.3)
    rows, extra = rows_of(policy, 9), torch.tensor(policy.head.initial(np.random.default_rng(0)))
    numbers = torch.tensor(rows.policy_output), extra, torch.tensor(rows.action)
    log_prob, entropy = policy.head.log_prob_and_entropy(*numbers)
    expected = torchs(policy, *numbers)
    assert log_prob.shape == entropy.shape == (9,)
    torch.testing.assert_close(log_prob, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, expected[1], rtol=1e-5, atol=1e-5)
    if head == "categorical":
        assert (entropy >= 0).all()


@distributions
def test_output_gradient_is_autograd(head, space, squash):
    policy = policy_of(space, head, squash, initial_log_std=-0.3)
    rows, vector = rows_of(policy, 9), policy.initial(0)
    gradient = np.full(policy.size, np.nan, np.float32)
    extra = torch.tensor(policy.head.initial(np.random.default_rng(0))).double().requires_grad_()
    weighted, entropies = policy.head.output_gradient(rows, vector, 0.7, gradient)
    output = torch.tensor(rows.policy_output).double().requires_grad_()
    log_prob, entropy = torchs(policy, output, extra, torch.tensor(rows.action))
    part = (torch.tensor(rows.log_prob_weight) * log_prob).sum()
    (part + 0.7 * entropy.sum()).backward()
    np.testing.assert_allclose(rows.d_policy, output.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert weighted == pytest.approx(part.item(), rel=1e-4) and entropies == pytest.approx(entropy.sum().item(), rel=1e-5)
    size = policy.head.extra_size
    assert np.isnan(gradient[: policy.size - size]).all()  # the network's part is not the head's to write
    if size:
        np.testing.assert_allclose(gradient[-size:], extra.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_the_entropy_is_never_negative_where_a_choice_is_certain():
    policy = policy_of("discrete")
    rows = rows_of(policy, 3)
    rows.policy_output[:] = [[90.0, -90.0, 0.0], [5.0, 5.0, 5.0], [-50.0, -50.0, 50.0]]
    rows.action[:] = 0
    entropies = policy.head.output_gradient(rows, policy.initial(0), 0.1, np.zeros(policy.size, np.float32))[1]
    assert entropies == pytest.approx(np.log(3), abs=1e-4) and np.isfinite(rows.d_policy).all()


# Acting with the compiled network and with torch on the same memory.


@cases
@pytest.mark.parametrize("trunk", ["shared", "separate"])
def test_light_acting_is_torch_acting(head, space, squash, trunk):
    policy = policy_of(space, head, squash, trunk=trunk)
    vector, rounds, envs = lively(policy), policy.round_arrays(4, 3), 3
    rounds.raw[:] = np.random.default_rng(3).standard_normal(rounds.raw.shape)
    rounds.knobs[EPSILON] = 0.2
    policy.head.draw(np.random.default_rng(4), rounds)
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    module, _ = policy.module(vector, None)
    for t in range(4):
        assert kernel(*arguments, t)
        action, bounded, output = rounds.action[t].copy(), rounds.bounded[t].copy(), rounds.policy_output.copy()
        with torch.no_grad():
            rounds.policy_output[:] = module(torch.from_numpy(rounds.raw[t]))[0].numpy()
        rounds.action[t], rounds.bounded[t] = 0, 0
        policy.head.choose(rounds, vector, t)
        np.testing.assert_allclose(output, rounds.policy_output, rtol=1e-5, atol=1e-6)
        if head != "gaussian":
            np.testing.assert_array_equal(action, rounds.action[t])
        else:
            np.testing.assert_allclose(action, rounds.action[t], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(bounded, rounds.bounded[t], rtol=1e-4, atol=1e-5 * 3e3)
    assert envs == len(action)


# The start.


@pytest.mark.parametrize("trunk", ["shared", "separate"])
@pytest.mark.parametrize("hidden", [(), (64, 64), (3, 20)])
def test_the_start_is_orthogonal_with_the_fields_gains(trunk, hidden):
    policy = Policy(spec_of(SPACES["multidiscrete"]), "auto", NetworkOptions(hidden=hidden, trunk=trunk))
    vector, position = policy.initial(5), 0
    for name, inputs, outputs in layer_sizes(policy.plan):
        weight = vector[position : position + inputs * outputs].reshape(inputs, outputs)
        bias = vector[position + inputs * outputs : position + inputs * outputs + outputs]
        position += inputs * outputs + outputs
        gain = {"policy.out": 0.01, "value.out": 1.0}.get(name, 2**0.5)
        small = weight @ weight.T if inputs <= outputs else weight.T @ weight
        np.testing.assert_allclose(small, gain**2 * np.eye(len(small)), atol=1e-5 * gain**2 + 1e-9)
        assert (bias == 0).all()
    assert position == vector.size == policy.size


def test_the_start_of_torchs_networks_is_orthogonal():
    policy = policy_of("discrete", recurrent=6)
    module, _ = policy.module(policy.initial(1), None)
    for name, gain in (("policy_out", 0.01), ("value_out", 1.0), ("trunk.layers.0", 2**0.5), ("cell.weight_hh", 1.0)):
        weight = next(one.detach().numpy() for key, one in module.named_parameters() if key.startswith(name) and one.dim() == 2)
        small = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        np.testing.assert_allclose(small, gain**2 * np.eye(len(small)), atol=1e-5 * gain**2)


@pytest.mark.parametrize("recurrent", [0, 6])
def test_the_same_seed_is_the_same_vector(recurrent):
    policy, again = (policy_of("box", recurrent=recurrent, initial_log_std=-0.7) for _ in range(2))
    np.testing.assert_array_equal(policy.initial(3), again.initial(3))
    assert not np.array_equal(policy.initial(3), policy.initial(4))
    assert policy.initial(3).dtype == np.float32 and policy.initial(3).size == policy.size
    np.testing.assert_array_equal(policy.initial(3)[-2:], np.float32([-0.7, -0.7]))


# Networks of the user's own.


class Own(torch.nn.Module):
    def __init__(self, outputs, wrong=False):
        super().__init__()
        self.body, self.policy, self.value = torch.nn.Linear(4, 5), torch.nn.Linear(5, outputs), torch.nn.Linear(5, 1)
        self.wrong = wrong

    def forward(self, observation):
        features = torch.relu(self.body(observation))
        return self.policy(features), self.value(features) if self.wrong else self.value(features).squeeze(-1)


def test_a_network_of_ones_own_starts_by_the_seed():
    policy = Policy(spec_of(SPACES["box"]), "auto", NetworkOptions(), lambda spec, outputs: Own(outputs))
    assert not policy.light and policy.size == 4 * 5 + 5 + 5 * 2 + 2 + 5 + 1 + 2
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(policy.initial(3), policy.initial(3))
    assert not np.array_equal(policy.initial(3), policy.initial(4))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (lambda spec, outputs: Own(outputs, wrong=True), r"must return \(policy_output\[N, 2\], value\[N\]\).*\(2, 1\)"),
        (lambda spec, outputs: Own(outputs + 1), r"\(2, 3\)"),
        (lambda spec, outputs: 3, "must return a torch.nn.Module, not int"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network, text):
    with pytest.raises(UserError, match=text):
        Policy(spec_of(SPACES["box"]), "auto", NetworkOptions(), network)


def test_a_network_of_ones_own_is_not_recurrent():
    with pytest.raises(UserError, match="recurrent 4 needs the built-in network"):
        Policy(spec_of(SPACES["box"]), "auto", NetworkOptions(recurrent=4), lambda spec, outputs: Own(outputs))


def test_choices_ruled_out_by_minus_infinity_are_never_drawn_and_give_numbers():
    policy = policy_of("multidiscrete")
    logits = np.array([0, -np.inf, 1, -np.inf, 0, 2, -np.inf, -np.inf, 2], np.float32)
    action = drawn(policy, 2000, logits).action[0]
    assert set(action[:, 0]) == {0, 2} and set(action[:, 1]) == {1} and set(action[:, 2]) == {0, 3}
    output = torch.tensor(np.tile(logits, (2000, 1))).requires_grad_()
    log_prob, entropy = policy.head.log_prob_and_entropy(output, None, torch.from_numpy(action))
    (log_prob.sum() + entropy.sum()).backward()
    possible = torch.distributions.Categorical(logits=torch.tensor([0.0, 1.0])).entropy() + np.log(2)
    assert torch.isfinite(log_prob).all() and torch.isfinite(output.grad).all()
    torch.testing.assert_close(entropy, possible.expand(2000).float())
