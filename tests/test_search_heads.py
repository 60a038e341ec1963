"""Deterministic policies: the network, the action made of its outputs, starts, virtual batches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.heads.networks.compact import LAYERS
from asyncrl.heads.networks.wide import WideNetwork
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.search_policy import SearchPolicy

SPACES = {
    "discrete from 5": spaces.Discrete(4, start=5),
    "multidiscrete from": spaces.MultiDiscrete([3, 2, 4], start=[7, -2, 0]),
    "box": spaces.Box(-2.0, 3.0, (2,), np.float32),
    "matrix": spaces.Box(-1.0, 3.0, (2, 2), np.float32),
    "float64 bounds": spaces.Box(np.array([-0.1, 0.7]), np.array([0.1, 0.9]), dtype=np.float64),
    "half infinite": spaces.Box(np.array([-np.inf, -1.0, 0.0], np.float32), np.array([np.inf, np.inf, 1.0], np.float32)),
}


def spec_of(space):
    return EnvSpec((5,), "float32", *_action(SPACES[space] if isinstance(space, str) else space))


def normaliser(seed=0):
    rows = np.random.default_rng(seed).standard_normal((3, 5)).astype(np.float32)
    rows[1], rows[2] = np.abs(rows[1]) + 0.5, 1.0
    return rows


def lively(policy, seed=0):
    return (policy.initial(seed) + 0.3 * np.random.default_rng(seed).standard_normal(policy.size)).astype(np.float32)


def player_of(policy, vector=None):
    player = policy.player()
    player.set(lively(policy) if vector is None else vector)
    return player


def dense_layers(policy, vector):
    """[(weight [in, out], bias [out])] in float64."""
    dense = np.zeros(policy.network.dense_size)
    policy.network.expand(vector.astype(np.float64), dense)
    at, layers = 0, []
    for layer in policy.network.layers:
        size = layer.inputs * layer.outputs
        layers.append((dense[at : at + size].reshape(layer.inputs, layer.outputs), dense[at + size : at + size + layer.outputs]))
        at += size + layer.outputs
    return layers


def by_numpy(policy, vector, x, activation=np.tanh):
    *hidden, (weight, bias) = dense_layers(policy, vector)
    for w, b in hidden:
        x = activation(x @ w + b)
    return x @ weight + bias


# The network.


@pytest.mark.parametrize("head", LAYERS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_scores_are_the_networks(head, activation):
    policy = SearchPolicy(spec_of("discrete from 5"), head, NetworkOptions(activation=activation))
    vector, generator = lively(policy), np.random.default_rng(1)
    player, rows = player_of(policy, vector), normaliser()
    for on in (0.0, 1.0):
        rows[2] = on
        player.normaliser[:] = rows
        for scale in (1.0, 100.0):
            raw = scale * generator.standard_normal(5)
            action = player.act(raw)
            seen = np.clip((raw - rows[0]) * rows[1], -10, 10) if on else raw
            function = np.tanh if activation == "tanh" else lambda y: np.maximum(y, 0)
            scores = by_numpy(policy, vector, seen, function)
            np.testing.assert_allclose(player.scores, scores, rtol=2e-4, atol=2e-4 * np.abs(scores).max())
            assert action == 5 + int(player.scores.argmax()) and type(action) is np.int64


def test_sizes_without_and_with_biases():
    spec = spec_of("box")
    assert SearchPolicy(spec, "linear", NetworkOptions()).size == 10
    assert SearchPolicy(spec, "linear", NetworkOptions(hidden=())).size == 10
    assert SearchPolicy(spec, "mlp", NetworkOptions()).size == 5 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    assert SearchPolicy(spec, "circulant", NetworkOptions(hidden=(7,))).size == 7 + 7 + 7
    assert SearchPolicy(spec, "low-displacement", NetworkOptions(hidden=(7,), rank=3)).size == 6 * 7 + 7 + 6 * 7
    assert SearchPolicy(spec, "linear", NetworkOptions(), action_bins=3).size == 30


def test_a_new_vector_replaces_the_old_one():
    policy = SearchPolicy(spec_of("box"), "toeplitz", NetworkOptions())
    observation = np.arange(5, dtype=np.float32)
    player = player_of(policy, lively(policy, 0))
    first = player.act(observation).copy()
    player.set(lively(policy, 1))
    assert not np.array_equal(first, player.act(observation))
    player.set(lively(policy, 0))
    np.testing.assert_array_equal(first, player.act(observation))


def test_wide_layers_act_alike_by_fft_and_dense(monkeypatch):
    for space in ("box", "discrete from 5"):
        policy = SearchPolicy(spec_of(space), "toeplitz", NetworkOptions(hidden=(1024, 1024)))
        vector, raw = policy.initial(0), np.linspace(-1, 1, 5)
        vector += (0.01 * np.random.default_rng(0).standard_normal(vector.size)).astype(np.float32)  # biases too
        assert WideNetwork.pays(policy.network)
        by_fft = player_of(policy, vector)
        with monkeypatch.context() as patch:
            patch.setattr(WideNetwork, "pays", staticmethod(lambda network: False))
            by_dense = player_of(policy, vector)
        by_fft.normaliser[:] = by_dense.normaliser[:] = normaliser()
        assert by_fft.act(np.full(5, np.nan)) is None
        np.testing.assert_allclose(by_fft.act(raw), by_dense.act(raw), rtol=1e-4)
        np.testing.assert_allclose(by_fft.scores, by_dense.scores, rtol=1e-3, atol=1e-7)
        assert np.abs(by_fft.scores).max() > 1e-4


# Actions.


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("space", SPACES)
def test_actions_are_the_modes_of_the_stochastic_heads(space, squash):
    options = NetworkOptions(squash=squash)
    policy, stochastic = SearchPolicy(spec_of(space), "linear", options), Policy(spec_of(space), "auto", options)
    player, generator = player_of(policy), np.random.default_rng(2)
    rounds = stochastic.round_arrays(1, 1)
    rounds.knobs[:] = 0.0
    for scale in (0.3, 3.0, 1e6):
        action = player.act((scale * generator.standard_normal(5)).astype(np.float32))
        rounds.policy_output[0] = player.scores
        stochastic.head.choose(rounds, stochastic.initial(0), 0)
        expected = stochastic.head.environment_action(rounds, 0, 0)
        np.testing.assert_array_equal(action, expected)
        assert SPACES[space].contains(action)


@pytest.mark.parametrize("space", ["discrete from 5", "multidiscrete from"])
def test_of_equal_scores_the_first_is_taken(space):
    policy = SearchPolicy(spec_of(space), "linear", NetworkOptions())
    action = player_of(policy, np.zeros(policy.size, np.float32)).act(np.ones(5, np.float32))
    np.testing.assert_array_equal(action, policy.spec.action_start if space.startswith("multi") else 5)


def test_bins_are_evenly_spaced_values():
    policy = SearchPolicy(spec_of("box"), "linear", NetworkOptions(), action_bins=5)
    weight = np.zeros((5, 2, 5), np.float32)
    player = policy.player()
    for first, second in ((0, 4), (3, 1), (2, 2)):
        weight[:] = 0.0
        weight[1, 0, first] = weight[1, 1, second] = 1.0
        player.set(weight.reshape(-1))
        action = player.act(np.eye(5)[1])
        np.testing.assert_allclose(action, [-2.0 + 1.25 * first, -2.0 + 1.25 * second])
        assert SPACES["box"].contains(action)
    player.set(np.zeros(policy.size, np.float32))
    np.testing.assert_array_equal(player.act(np.ones(5)), [-2.0, -2.0])
    ends = SearchPolicy(spec_of("float64 bounds"), "linear", NetworkOptions(), action_bins=2)
    for sign in (-1, 1):
        action = player_of(ends, np.tile(np.array([0, sign], np.float32), 10)).act(np.ones(5))
        assert SPACES["float64 bounds"].contains(action)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_observations_of_any_dtype(dtype):
    policy = SearchPolicy(spec_of("box"), "linear", NetworkOptions())
    player, raw = player_of(policy), np.array([0, 1, 1, 0, 1])
    expected = player.act(raw.astype(np.float32)).copy()
    np.testing.assert_array_equal(player.act(raw.astype(dtype)), expected)


@pytest.mark.parametrize("space", ["discrete from 5", "multidiscrete from", "box"])
def test_useless_observations_make_no_action(space):
    player = player_of(SearchPolicy(spec_of(space), "linear", NetworkOptions()))
    for number in (np.nan, np.inf, -np.inf, 1e300):
        raw = np.ones(5)
        raw[3] = number
        player.normaliser[:] = 0.0
        assert player.act(raw) is None
        player.normaliser[:] = normaliser()
        assert player.act(raw) is None
    assert player.act(np.ones(4)) is None and player.act(np.ones(6)) is None
    assert player.act(np.ones(5)) is not None


@pytest.mark.parametrize(
    ("space", "head"), [("multidiscrete from", "toeplitz"), ("matrix", "toeplitz"), ("matrix", "linear"), ("matrix", "mlp")]
)
def test_an_action_is_the_environments_to_keep(space, head):
    """Many pay for the difference to the last action, and keep just the array that they were given."""
    player = player_of(SearchPolicy(spec_of(space), head, NetworkOptions(hidden=(300,) if head == "mlp" else None)))
    first = player.act(np.ones(5))
    before = first.copy()
    second = player.act(np.full(5, -3.0))
    np.testing.assert_array_equal(first, before)
    assert not np.array_equal(second, first) and not np.shares_memory(first, second)


# Starts.


def test_starts():
    spec = spec_of("box")
    assert not SearchPolicy(spec, "linear", NetworkOptions()).initial(3).any()
    policy = SearchPolicy(spec, "mlp", NetworkOptions())
    for k, (weight, bias) in enumerate(dense_layers(policy, policy.initial(3))):
        np.testing.assert_allclose(np.linalg.norm(weight, axis=0), 0.01 if k == 2 else 1.0, rtol=1e-5)
        assert not bias.any()


@pytest.mark.parametrize("head", [head for head in LAYERS if head != "linear"])
def test_starts_depend_on_the_seed_alone_and_begin_with_small_actions(head):
    policy = SearchPolicy(spec_of("box"), head, NetworkOptions())
    np.testing.assert_array_equal(policy.initial(1), policy.initial(1))
    assert policy.initial(1).dtype == np.float32 and not np.array_equal(policy.initial(1), policy.initial(2))
    player = player_of(policy, policy.initial(1))
    player.act(np.ones(5))
    assert 0 < np.abs(player.scores).max() < 0.2


# Virtual batch normalisation.


@pytest.mark.parametrize("head", ["mlp", "toeplitz"])
def test_hidden_units_are_normalised_by_the_reference_batch(head):
    policy = SearchPolicy(spec_of("box"), head, NetworkOptions(hidden=(8, 6), virtual_batch=50))
    vector, rows = lively(policy), normaliser()
    raw = 7 + 3 * np.random.default_rng(4).standard_normal((50, 5))
    player = policy.player()
    player.normaliser[:] = rows
    player.reference(raw)
    player.set(vector)
    player.set(vector)  # twice is once
    features = np.clip((raw - rows[0]) * rows[1], -10, 10)
    one = np.clip((np.ones(5) - rows[0]) * rows[1], -10, 10)
    *hidden, (weight, bias) = dense_layers(policy, vector)
    for w, b in hidden:
        mean, deviation = (features @ w).mean(0), np.sqrt((features @ w).var(0) + 1e-5)
        features, one = (np.tanh((x @ w - mean) / deviation + b) for x in (features, one))
    player.act(np.ones(5))
    np.testing.assert_allclose(player.scores, one @ weight + bias, rtol=1e-4, atol=1e-5)


def test_a_virtual_batch_needs_its_observations():
    policy = SearchPolicy(spec_of("box"), "mlp", NetworkOptions(virtual_batch=10))
    player = policy.player()
    with pytest.raises(RuntimeError, match="reference"):
        player.set(policy.initial(0))
    with pytest.raises(UserError, match="finite"):
        player.reference(np.full((3, 5), np.nan))
    with pytest.raises(UserError, match="at least one"):
        player.reference(np.zeros((0, 5)))
    with pytest.raises(UserError, match="virtual_batch = 10 cannot be used: head 'linear' has no hidden layers"):
        SearchPolicy(spec_of("box"), "linear", NetworkOptions(virtual_batch=10))


# Bad input.


def test_what_is_refused():
    box, none = spec_of("box"), NetworkOptions()
    image = EnvSpec((3, 36, 40), "uint8", "discrete", (4,), (), (), (), (0,))
    with pytest.raises(UserError, match="unknown head 'toeplits'; did you mean 'toeplitz'"):
        SearchPolicy(box, "toeplits", none)
    with pytest.raises(UserError, match=r"head 'linear' needs observations that are one flat vector.*images"):
        SearchPolicy(image, "linear", none)
    with pytest.raises(UserError, match="recurrent = 4"):
        SearchPolicy(box, "mlp", NetworkOptions(recurrent=4))
    with pytest.raises(UserError, match="'linear' has no hidden layers"):
        SearchPolicy(box, "linear", NetworkOptions(hidden=(64, 64)))
    with pytest.raises(UserError, match=r"action_bins = 5 .* Box actions.*discrete"):
        SearchPolicy(spec_of("discrete from 5"), "linear", none, 5)
    with pytest.raises(UserError, match=r"action_bins = 1 .*from 2"):
        SearchPolicy(box, "linear", none, 1)
    with pytest.raises(UserError, match="no finite bounds"):
        SearchPolicy(spec_of("half infinite"), "linear", none, 3)


def test_every_head_has_a_line():
    assert {"linear", "mlp", "toeplitz", "hankel", "circulant", "vandermonde", "cauchy", "low-displacement"} == set(LAYERS)
    assert all(line and len(line) < 80 for line in LAYERS.values())
