"""Implicit heads: the source's parameter counts, sets of actions, which action is the best, and what cannot be used."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from gymnasium import spaces

from asyncrl.envs.spec import EnvSpec, _action
from asyncrl.errors import UserError
from asyncrl.heads import HEADS as REGISTRY
from asyncrl.heads.implicit.options import ImplicitOptions
from asyncrl.heads.keyed_numbers import half_bits, part_size, place_in, uniform_box
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy, round_arrays
from asyncrl.heads.rounds import EPSILON, KNOBS, PART, TEMPERATURE, LossRows
from asyncrl.heads.search_policy import SearchPolicy

PENDULUM = spaces.Box(-1.0, 1.0, (1,), np.float32)
DISCRETE = spaces.Discrete(3, start=2)


def box(components, reach=1.0):
    return spaces.Box(-reach, reach, (components,), np.float32)


def spec_of(observations, space):
    return EnvSpec((observations,), "float32", *_action(space))


def search_policy(head, space, observations=4, hidden=None, **options):
    network = NetworkOptions(hidden=hidden, head_options=REGISTRY[head].options_type(**options))
    policy = SearchPolicy(spec_of(observations, space), head, network)
    policy.fill_tables(3)
    return policy


def gradient_policy(head, space, observations=4, **options):
    policy = Policy(spec_of(observations, space), head, NetworkOptions(head_options=REGISTRY[head].options_type(**options)))
    policy.fill_tables(3)
    return policy


# Seed 000, Table 4: (observations, actions), and parameters of itt, iot and explicit.
COUNTS = {
    "Swimmer-v2": (8, box(2), 20, 22, 20),
    "LunarLanderContinuous-v2": (8, box(2), 20, 22, 20),
    "Hopper-v2": (11, box(3), 42, 45, 42),
    "HalfCheetah-v2": (17, box(6), 282, 288, 282),
    "Walker2d-v2": (17, box(6), 246, 252, 246),
    "CartPole-v1": (4, spaces.Discrete(2), 6, 7, 6),
    "MountainCar-v0": (2, spaces.Discrete(3), 4, 5, 4),
    "Acrobot-v1": (6, spaces.Discrete(3), 8, 9, 8),
    "MountainCarContinuous-v0": (2, box(1), 3, 4, 3),
    "DMCS:FishSwim": (24, box(5), 2180, 2200, 2180),
    "DMCS:Swimmer6": (25, box(5), 2200, 2220, 2200),
    "DMCS:Swimmer15": (61, box(14), 3100, 3120, 3100),
    "DMCS:HopperStand": (15, box(4), 1980, 2000, 1980),
    "DMCS:WalkerWalk": (24, box(6), 2200, 2220, 2200),
}
HEADS = ("itt", "iot", "explicit")


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_source(name):
    observations, space, *counts = COUNTS[name]
    assert [search_policy(head, space, observations, preset=name).size for head in HEADS] == counts


def test_the_fifteenth_count_is_not_what_its_sizes_give():
    """The source prints 12, 13 and 12, which 11 observations would give; the environment has 5."""
    name = "InvertedPendulumBulletEnv-v0"
    assert [search_policy(head, PENDULUM, 5, preset=name).size for head in HEADS] == [6, 7, 6]
    assert [search_policy(head, PENDULUM, 11, preset=name).size for head in HEADS] == [12, 13, 12]


def test_sizes_are_free():
    policy = search_policy("itt", box(3), 10, latent=7, state_layers=3, action_layers=2)
    assert policy.size == (10 * 7 + 7 * 7 + 7 * 7) + (3 * 7 + 7 * 7)
    assert search_policy("itt", box(3), 10, hidden=(5,), latent=7).size == (10 * 5 + 5 * 7) + (3 * 7 + 7 * 7)
    assert search_policy("iot", box(3), 10, latent=7, action_layers=4).size == (10 + 3) * 7 + 2 * 7 * 7 + 7
    assert search_policy("itt", DISCRETE, 4, encoding="one-hot", latent=5, action_layers=1, state_layers=1).size == 4 * 5 + 3 * 5
    assert search_policy("explicit", DISCRETE, 4, encoding="one-hot", state_layers=1).size == 4 * 3


def test_what_is_named_beside_a_preset_holds():
    assert search_policy("itt", box(2), 8, preset="swimmer", latent=3).size == 8 * 3 + 2 * 3
    assert search_policy("itt", box(2), 8, preset="swimmer", set_size=50).head.places == 50


def test_a_presets_parameters_begin_standard_normal():
    vectors = np.concatenate([search_policy("itt", box(14), 61, preset="DMCS:Swimmer15").initial(seed) for seed in range(4)])
    assert abs(vectors.mean()) < 0.03 and vectors.std() == pytest.approx(1.0, abs=0.03)


# Which action is the best.


def chosen(policy, vector, observation):
    player = policy.player()
    player.set(vector)
    return player.act(np.asarray(observation, np.float32))


def by_hand(policy, vector, observation):
    """The best action's place, by numpy and the definition: scores of all actions, the first of the largest."""
    layers, head, x = [], policy.head, np.asarray(observation, np.float64)
    for layer, (weight, _) in zip(policy.network.layers, policy.network.pieces(vector)):
        layers.append(weight.astype(np.float64).reshape(layer.inputs, layer.outputs))
    own, d = vector[policy.network.size :].astype(np.float64), head.policy_outputs
    features = head.tables["features"].astype(np.float64)
    act = (np.tanh, lambda y: np.maximum(y, 0.0), lambda y: y)[("tanh", "relu", "linear").index(policy.shape.activation)]
    for weight in layers[:-1]:
        x = act(x @ weight)
    state = x @ layers[-1]
    sizes = [(features.shape[1], d)] + [(d, d)] * ((own.size - features.shape[1] * d) // (d * d))
    matrices, at = [], 0
    for inputs, outputs in sizes:
        matrices.append(own[at : at + inputs * outputs].reshape(inputs, outputs))
        at += inputs * outputs
    if head.name == "itt":
        latents = features @ matrices[0]
        for matrix in matrices[1:]:
            latents = act(latents) @ matrix
        return latents @ state
    hidden = act(state + features @ matrices[0])
    for matrix in matrices[1:]:
        hidden = act(hidden @ matrix)
    return hidden @ own[at:]


@pytest.mark.parametrize("space", [box(2, 3.0), DISCRETE, spaces.MultiDiscrete([3, 2, 4])], ids=["box", "discrete", "multidiscrete"])
@pytest.mark.parametrize("head", ["itt", "iot"])
def test_the_best_action_is_that_of_the_definition(head, space):
    policy = search_policy(head, space, latent=5, action_layers=3, encoding="one-hot" if space is DISCRETE else "index")
    generator = np.random.default_rng(0)
    for _ in range(20):
        vector, observation = generator.standard_normal(policy.size).astype(np.float32), generator.standard_normal(4)
        scores = by_hand(policy, vector, observation.astype(np.float32))
        value = policy.head.tables["values"][int(np.argmax(scores))]
        action = np.atleast_1d(chosen(policy, vector, observation)) - (2 if space is DISCRETE else 0)
        np.testing.assert_array_equal(action, value.astype(action.dtype))


def test_ties_go_to_the_first_action():
    """Of equal scores the first counts: with relu below, a state latent of 0 makes all of CartPole's scores 0, and its policy push left."""
    policy = search_policy("itt", spaces.Discrete(2), preset="CartPole-v1")
    assert chosen(policy, np.array([-1, -1, -1, -1, 1, 1], np.float32), [1, 1, 1, 1]) == 0
    assert chosen(policy, np.array([1, 1, 1, 1, 1, 1], np.float32), [1, 1, 1, 1]) == 1
    equal = search_policy("iot", box(2), preset="Swimmer-v2", resample="never")
    np.testing.assert_array_equal(chosen(equal, np.zeros(equal.size, np.float32), [1] * 4), equal.head.tables["values"][0])


def test_one_linear_action_layer_chooses_a_corner():
    """The maximum of a linear score over a box is its corner sign(W_A^T l_S): an oracle for a grid, whose corners are in it."""
    policy = search_policy("itt", box(2), 8, latent=4, state_layers=1, action_layers=1, actions="grid", set_size=25)
    generator = np.random.default_rng(1)
    for _ in range(20):
        vector, observation = generator.standard_normal(policy.size).astype(np.float32), generator.standard_normal(8).astype(np.float32)
        latent = observation @ vector[:32].reshape(8, 4)
        np.testing.assert_array_equal(chosen(policy, vector, observation), np.sign(vector[32:].reshape(2, 4) @ latent))


def test_an_index_as_one_number_never_chooses_in_the_middle():
    policy = search_policy("itt", spaces.Discrete(5), preset="MountainCar-v0")
    generator = np.random.default_rng(2)
    vectors = generator.standard_normal((50, policy.size)).astype(np.float32)
    assert {int(chosen(policy, vector, generator.standard_normal(4))) for vector in vectors} <= {0, 4}


@pytest.mark.parametrize("energy", ["softmax", "angular"])
def test_kernels_that_grow_with_the_product_choose_alike(energy):
    plain = search_policy("itt", box(2), latent=4, normalize_latents=energy == "angular")
    other = search_policy("itt", box(2), latent=4, energy=energy)
    generator = np.random.default_rng(3)
    for _ in range(10):
        vector, observation = generator.standard_normal(plain.size).astype(np.float32), generator.standard_normal(4)
        np.testing.assert_array_equal(chosen(plain, vector, observation), chosen(other, vector, observation))


def test_an_explicit_policy_ends_in_tanh():
    policy = search_policy("explicit", box(2, 2.0), 3, state_layers=1)
    vector = np.random.default_rng(0).standard_normal(policy.size).astype(np.float32)
    observation = np.float32([0.2, -0.5, 1.0])
    expected = 2.0 * np.tanh(observation.astype(np.float64) @ vector.reshape(3, 2))
    np.testing.assert_allclose(chosen(policy, vector, observation), expected, rtol=1e-5)
    parts = search_policy("explicit", spaces.Discrete(4), 1, state_layers=1)
    found = [int(chosen(parts, np.ones(1, np.float32), [np.arctanh(x)])) for x in (-0.9, -0.4, 0.1, 0.6, 1.0 - 1e-7)]
    assert found == [0, 1, 2, 3, 3]


def test_an_explicit_policy_of_the_source_chooses_by_sign():
    """Where an output times a choice's number is its score, the best is the first or the last; of equal ones the first."""
    policy = search_policy("explicit", spaces.Discrete(3), 1, preset="MountainCar-v0", state_layers=1)
    assert [int(chosen(policy, np.ones(1, np.float32), [x])) for x in (-3.0, -0.1, 0.0, 0.1, 3.0)] == [0, 0, 0, 2, 2]


# Sets of actions.


def test_sets_of_a_box():
    low, high = np.float32([-2.0, 0.5]), np.float32([2.0, 0.75])
    space = spaces.Box(low, high, dtype=np.float32)
    drawn = search_policy("itt", space, set_size=400).head.tables
    assert drawn["features"].min() >= -1.0 and drawn["features"].max() < 1.0 and abs(drawn["features"].mean()) < 0.1
    np.testing.assert_allclose(drawn["values"], low + 0.5 * (drawn["features"] + 1.0) * (high - low), rtol=1e-6)
    grid = search_policy("itt", space, actions="grid", set_size=10).head.tables["values"]
    assert sorted(map(tuple, grid.tolist())) == [(x, y) for x in (-2.0, 0.0, 2.0) for y in (0.5, 0.625, 0.75)]


def test_a_list_of_ones_own(tmp_path):
    rows = [[-1.0, 0.5], [2.0, 0.75]]
    np.save(tmp_path / "actions.npy", np.array(rows))
    space = spaces.Box(np.float32([-2.0, 0.5]), np.float32([2.0, 0.75]), dtype=np.float32)
    for given in (rows, np.array(rows), str(tmp_path / "actions.npy")):
        policy = search_policy("itt", space, catalogue=given)
        assert policy.head.tables["values"].tolist() == rows and policy.head.places == 2
        np.testing.assert_allclose(policy.head.tables["features"], [[-0.5, -1.0], [1.0, 1.0]])
    unbounded = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    assert search_policy("itt", unbounded, catalogue=rows).head.tables["features"].tolist() == rows


def test_features_of_discrete_choices():
    features = [[0.5, 1.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    policy = search_policy("itt", DISCRETE, catalogue=features, latent=3, state_layers=1, action_layers=1)
    assert policy.size == 4 * 3 + 4 * 3 and policy.head.tables["features"].tolist() == features
    combinations = search_policy("itt", spaces.MultiDiscrete([2, 3]), encoding="one-hot").head.tables
    assert combinations["values"].tolist() == [[a, b] for a in range(2) for b in range(3)]
    assert combinations["features"][4].tolist() == [0, 1, 0, 1, 0]


def test_random_sets_depend_on_their_key_alone():
    one, again, other = np.zeros((3, 500, 2), np.float32)
    uniform_box(7, one), uniform_box(7, again), uniform_box(8, other)
    np.testing.assert_array_equal(one, again)
    assert not (one == other).any() and abs(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) < 0.15
    assert np.histogram(one, 4, (-1, 1))[0].min() > 200


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_a_part_is_drawn_without_replacement(count):
    half = half_bits(count)
    orders = [[place_in(key, m, count, half) for m in range(count)] for key in (0, 1, 12345)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    firsts = np.bincount([place_in(key, 0, count, half) for key in range(100 * min(count, 20))], minlength=count)
    assert count > 20 or (firsts > 60).all()


@pytest.mark.parametrize("resample", ["subset", "iteration", "transition"])
@pytest.mark.parametrize("head", ["itt", "iot"])
def test_a_candidate_earns_the_same_whoever_plays_it(head, resample):
    """Random sets are a function of the parameters that are played, from `set` on."""
    policy, other = (search_policy(head, box(2), latent=3, set_size=40, subset=7, resample=resample) for _ in range(2))
    generator = np.random.default_rng(0)
    vector, observation = generator.standard_normal(policy.size).astype(np.float32), generator.standard_normal(4).astype(np.float32)
    players = [policy.player(), other.player()]
    players[1].set(-vector)  # what was played before does not matter
    players[1].act(observation)
    played = []
    for player in players:
        player.set(vector)
        played.append(np.array([player.act(observation) for _ in range(5)]))
    np.testing.assert_array_equal(*played)
    assert (len(np.unique(played[0], axis=0)) > 1) == (resample != "iteration")


# Under gradients, where the set is drawn anew.


def drawn_rows(policy, rows=6, seed=0, temperature=1.0, part=0):
    """Actions that the head has drawn at random outputs; `part`: among how many of its set, 0 for its own."""
    generator, head = np.random.default_rng(seed), policy.head
    arrays = round_arrays(policy.spec, head, None, (1, rows))
    arrays.knobs[TEMPERATURE], arrays.knobs[PART] = temperature, part
    arrays.policy_output[:] = generator.standard_normal(arrays.policy_output.shape)
    head.draw(generator, arrays)
    vector = policy.initial(seed)
    head.choose(arrays, vector, 0)
    weight = generator.standard_normal(rows).astype(np.float32)
    output = arrays.policy_output.copy()
    return LossRows(output, np.full_like(output, np.nan), arrays.action[0].copy(), weight), vector, arrays


SETTINGS = {
    "never": {},
    "subset": {"resample": "subset", "subset": 5},
    "rollout": {"resample": "rollout", "subset": 5, "set_temperature": 1.0},
    "iteration": {"resample": "iteration"},
    "transition": {"resample": "transition"},
    "angular": {"energy": "angular"},
    "softmax": {"energy": "softmax"},
    "unit length": {"normalize_latents": True, "resample": "transition", "set_temperature": 0.3},
}


OF_BOTH = ("never", "subset", "rollout", "iteration", "transition")


@pytest.mark.parametrize(("head", "setting"), [*(("itt", name) for name in SETTINGS), *(("iot", name) for name in OF_BOTH)])
def test_gradients_are_those_of_torch(head, setting):
    options = SETTINGS[setting]
    policy = gradient_policy(head, box(2), latent=3, action_layers=3, set_size=20, **options)
    check_gradients(policy, *drawn_rows(policy)[:2])


@pytest.mark.parametrize("head", ["itt", "iot"])
def test_parts_of_any_size_are_learned_from_side_by_side(head):
    """As a learner is handed them by workers that choose among different numbers of actions: 1, the head's own 5, 9, and all 20."""
    policy = gradient_policy(head, box(2), latent=3, set_size=20, **SETTINGS["subset"])
    drawn = [drawn_rows(policy, seed=seed, part=part) for seed, part in enumerate((1, 0, 9, 20))]
    rows = LossRows(*(np.concatenate([getattr(one[0], field.name) for one in drawn]) for field in fields(LossRows)))
    assert list(map(part_size, rows.action[::6, 1])) == [1, 5, 9, 20]
    check_gradients(policy, rows, drawn[0][1])
    knobs, out = np.zeros(KNOBS), np.zeros(len(rows.action), np.float32)
    knobs[TEMPERATURE], knobs[EPSILON] = 1.0, 1.0
    policy.head.log_prob(rows.policy_output, drawn[0][1], rows.action, knobs, out)
    np.testing.assert_allclose(out, -np.log(np.repeat([1, 5, 9, 20], 6)), rtol=1e-5, atol=1e-6)


def check_gradients(policy, rows, vector):
    """What is written out for these rows is what torch computes."""
    vector[-policy.head.extra_size :] *= 1.5
    gradient = np.full(policy.size, np.nan, np.float32)
    told = policy.head.output_gradient(rows, vector, 0.3, gradient, 0.8)
    output = torch.from_numpy(rows.policy_output).double().requires_grad_()
    extra = torch.from_numpy(vector[-policy.head.extra_size :]).double().requires_grad_()
    log_prob, entropy = policy.head.log_prob_and_entropy(output, extra, torch.from_numpy(rows.action), 0.8)
    parts = (torch.from_numpy(rows.log_prob_weight) * log_prob).sum(), entropy.sum()
    (parts[0] + 0.3 * parts[1]).backward()
    assert told == pytest.approx([part.item() for part in parts], rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(rows.d_policy, output.grad.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(gradient[-policy.head.extra_size :], extra.grad.numpy(), rtol=1e-3, atol=1e-4)
    knobs, out = np.zeros(KNOBS), np.zeros(len(rows.action), np.float32)
    knobs[TEMPERATURE] = 0.8
    policy.head.log_prob(rows.policy_output, vector, rows.action, knobs, out)
    np.testing.assert_allclose(out, log_prob.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resample", ["never", "subset", "transition"])
@pytest.mark.parametrize("part", [0, 3])
def test_actions_are_drawn_as_often_as_their_probability_says(resample, part):
    """Over what each was chosen from: the mean of 1 / p is then the number of actions. Only a head that draws parts reads `part`."""
    policy = gradient_policy("itt", box(1), latent=2, set_size=6, subset=4, resample=resample)
    rows, vector, arrays = drawn_rows(policy, rows=4000, part=part)
    knobs, out = np.zeros(KNOBS), np.zeros(len(rows.action), np.float32)
    knobs[TEMPERATURE], knobs[EPSILON] = 1.0, 0.0
    policy.head.log_prob(rows.policy_output, vector, rows.action, knobs, out)
    assert np.exp(-out.astype(np.float64)).mean() == pytest.approx((part or 4) if resample == "subset" else 6, rel=0.05)
    assert arrays.bounded.min() >= -1.0 and arrays.bounded.max() <= 1.0
    assert rows.action.shape[1] == (1 if resample == "never" else 2)


# What cannot be used.


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (box(2), {"set_size": 10**13}, r"set_size = 10,000,000,000,000 cannot be used: it and its latents need .* bytes, this machine has"),
        (spaces.MultiDiscrete([1000] * 4), {}, r"a set of 1,000,000,000,000 actions cannot be used: it and its latents need .* bytes"),
        (box(2), {"catalogue": [[1.0, 2.0, 3.0]]}, r"catalogue of 3 numbers a row cannot be used \(allowed: 2"),
        (DISCRETE, {"catalogue": [[1.0], [2.0]]}, r"catalogue of 2 rows cannot be used \(allowed: 3, the features of each choice\)"),
        (box(2), {"catalogue": "nowhere.npy"}, r"catalogue 'nowhere.npy' cannot be read: No such file"),
        (spaces.Box(-np.inf, 1.0, (1,), np.float32), {}, "needs Box actions with finite bounds, or a catalogue"),
        (DISCRETE, {"actions": "uniform"}, r"actions = uniform cannot be used .* for Discrete actions \(allowed: auto, all, catalogue\)"),
        (DISCRETE, {"resample": "transition"}, r"resample = transition cannot be used with actions = all"),
        (box(2), {"resample": "subset", "subset": 2000}, r"subset = 2000 cannot be used \(allowed: up to 1,000"),
        (box(2), {"preset": "Swimer-v2"}, "unknown preset 'Swimer-v2'; did you mean 'Swimmer-v2'"),
        (box(2), {"actions": "catalogue"}, "actions = catalogue needs a catalogue"),
    ],
)
def test_what_cannot_be_used_is_told(space, options, said):
    with pytest.raises(UserError, match=said):
        search_policy("itt", space, **options)


def test_a_catalogue_that_is_no_list_of_numbers_is_told(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("not numpy's")
    for file in ("objects.npy", "text.npy"):
        with pytest.raises(UserError, match=r"cannot be read: .* \(allowed: an .npy file of numbers"):
            search_policy("itt", box(2), catalogue=str(tmp_path / file))
    with pytest.raises(UserError, match="different lengths"):
        ImplicitOptions(catalogue=[[1.0], [1.0, 2.0]])
    with pytest.raises(UserError, match="not finite"):
        search_policy("itt", box(1), catalogue=[[np.nan]])
