"""Heads that pick by an index of their table: equal to a selection of the same latents, whoever has written it, and one for all."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from environments import FollowEnv
from test_implicit_heads import DISCRETE, box, chosen, gradient_policy, search_policy, spec_of
from test_lazy_towers import played

import asyncrl
from asyncrl.errors import UserError
from asyncrl.heads.implicit.form import work_size
from asyncrl.heads.implicit.index import INDICES, SEED
from asyncrl.heads.implicit.options import TwoTowerOptions
from asyncrl.heads.implicit.selection.selection import SelectionOptions
from asyncrl.heads.implicit.towers import embed
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy, round_arrays
from asyncrl.heads.rounds import EPSILON, TEMPERATURE

KINDS = list(INDICES)
MANY = {"latent": 6, "state_layers": 1, "set_size": 3000, "scanned": 128}


def latents_of(policy, vector):
    head = policy.head
    out = np.zeros((head.places, head.policy_outputs), np.float32)
    work = np.zeros(work_size(2, 0, head.policy_outputs, head.tables["features"].shape[1]), np.float32)
    embed(head.form, vector[policy.network.size :], head.tables["features"], work, out)
    return out


def by_selection(policy, vector, observation, selection, scanned):
    """The action that the selection alone picks among the head's latents."""
    options = SelectionOptions(scanned=scanned, moments=1)
    index = INDICES[selection].build(latents_of(policy, vector), options, np.random.default_rng(SEED))
    state = observation @ vector[: policy.network.size].reshape(4, -1)
    return policy.head.tables["values"][index.best(state.astype(np.float32))]


@pytest.mark.parametrize("selection", KINDS)
def test_the_action_is_that_of_the_selection_alone(selection):
    policy = search_policy("itt", box(3, 2.0), selection=selection, **MANY)
    generator = np.random.default_rng(0)
    for announced in (True, False):
        vector = generator.standard_normal(policy.size).astype(np.float32)
        if announced:
            policy.head.announce(vector)
        player = policy.player()
        player.set(vector)
        for observation in generator.standard_normal((15, 4)).astype(np.float32):
            wanted = by_selection(policy, vector, observation, selection, MANY["scanned"])
            np.testing.assert_array_equal(player.act(observation), wanted)
    assert policy.head.figures()["latents_indexed"] == 1
    assert policy.head._latents._index.filled_alone == 1


@pytest.mark.parametrize("space", [box(1), DISCRETE], ids=["box", "discrete"])
@pytest.mark.parametrize("settings", [{"latent": 1}, {"latent": 40}, {"latent": 5, "energy": "angular"}, {"latent": 5, "set_size": 1}])
@pytest.mark.parametrize("selection", KINDS)
def test_an_index_that_looks_at_all_picks_the_best(selection, settings, space):
    """Also of one action, of one number, and of more numbers than actions."""
    settings = {"set_size": 300, "state_layers": 1, "scanned": 10_000, **settings}
    policies = [search_policy("itt", space, selection=name, **settings) for name in (selection, "brute")]
    generator = np.random.default_rng(0)
    for _ in range(10):
        vector, observation = generator.standard_normal(policies[0].size).astype(np.float32), generator.standard_normal(4)
        latents, found = latents_of(policies[0], vector), []
        state = observation.astype(np.float32) @ vector[: policies[0].network.size].reshape(4, -1)
        for policy in policies:
            action = np.atleast_1d(chosen(policy, vector, observation)) - (2 if space is DISCRETE else 0)
            place = np.flatnonzero((policy.head.tables["values"] == action).all(1))[0]
            found.append(float(latents[place] @ state))
        assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("selection", KINDS)
def test_an_index_is_written_over_itself_without_harm(selection):
    """While others read an index, whoever is late writes it again: not one number may change meanwhile."""
    latents, options = np.random.default_rng(0).standard_normal((200_000, 6)).astype(np.float32), SelectionOptions(moments=1)
    index = INDICES[selection].build(latents, options, np.random.default_rng(SEED))
    seen = [array.reshape(-1)[-1000:] for array in index.arrays.values()]  # little, so that it is looked at often
    right = [part.copy() for part in seen]
    late = threading.Thread(
        target=lambda: [INDICES[selection].fill(latents, index.arrays, options, np.random.default_rng(SEED)) for _ in range(5)]
    )
    late.start()
    looks = 0
    while late.is_alive() or not looks:
        assert all(np.array_equal(part, one) for part, one in zip(seen, right))
        looks += 1
    late.join()
    assert looks > 50


@pytest.mark.parametrize("selection", KINDS)
def test_parameters_that_are_not_finite_pick_some_action(selection):
    policy = search_policy("itt", box(2), selection=selection, **MANY)
    for bad in (np.nan, np.inf, -np.inf):
        vector = np.random.default_rng(0).standard_normal(policy.size).astype(np.float32)
        vector[policy.network.size :: 3] = bad
        action = chosen(policy, vector, [1, 2, 3, 4])
        assert (policy.head.tables["values"] == action).all(1).any()


@pytest.mark.parametrize("selection", KINDS)
@pytest.mark.parametrize("lazy", [1, 2])
def test_a_search_has_the_same_bits_with_any_number_of_workers(tmp_path, selection, lazy):
    more = {"selection": selection, "scanned": 256}
    found = [played(tmp_path, "es", workers, lazy, seed=1, **more)[0] for workers in (1, 2, 3)]
    for arrays in found[1:]:
        np.testing.assert_array_equal(arrays["parameters"], found[0]["parameters"])


def test_a_resting_tower_is_indexed_once(tmp_path):
    summary = played(tmp_path, "es", 2, 3, seed=2, steps=1500, selection="principal-tree")[1]
    # Two workers that begin at once may both write it: the same bytes.
    assert 1 <= summary["latents_embedded"] <= summary["latents_indexed"] <= 2 * summary["latents_embedded"]


def test_an_index_for_greedy_steps_leaves_draws_alone():
    """Under gradients the softmax over all is the policy: what is drawn does not depend on the selection, and needs no index."""
    drawn = []
    for selection in ("brute", "principal-tree"):
        policy = gradient_policy("itt", box(2), selection=selection, **MANY)
        rounds, vector = round_arrays(policy.spec, policy.head, None, (1, 50)), policy.initial(1)
        policy.head.announce(vector)
        rounds.policy_output[:] = np.random.default_rng(0).standard_normal(rounds.policy_output.shape)
        policy.head.draw(np.random.default_rng(1), rounds)
        policy.head.choose(rounds, vector, 0)
        drawn.append(rounds.action.copy())
        assert policy.head.figures().get("latents_indexed", 0) == 0
        rounds.knobs[TEMPERATURE] = 0.0
        policy.head.choose(rounds, vector, 0)
    np.testing.assert_array_equal(*drawn)
    assert policy.head.figures()["latents_indexed"] == 1


def test_epsilon_is_that_of_all_actions():
    """The same random numbers choose the same actions, whether the greedy ones come from an index or not."""
    played = []
    for selection in ("brute", "principal-tree"):
        network = NetworkOptions(head_options=TwoTowerOptions(selection=selection, latent=5, scanned=4000))
        policy = Policy(spec_of(4, box(2)), "itt", network)
        policy.fill_tables(3)
        rounds, vector = round_arrays(policy.spec, policy.head, None, (1, 200)), policy.initial(1)
        rounds.policy_output[:] = np.random.default_rng(0).standard_normal(rounds.policy_output.shape)
        rounds.extra_noise[:] = 0.01
        rounds.knobs[EPSILON], rounds.knobs[TEMPERATURE] = 0.3, 0.0
        policy.head.draw(np.random.default_rng(1), rounds)
        policy.head.choose(rounds, vector, 0)
        played.append((rounds.action.copy(), rounds.bounded.copy(), rounds.noise[1, 0, :, -1] < 0.3))
    (action, bounded, random), (others, others_bounded, _) = played
    assert 30 < random.sum() < 90
    np.testing.assert_array_equal(action[0, random], others[0, random])
    assert (action == others).mean() > 0.98  # sums in another order, so that a near tie may fall otherwise
    np.testing.assert_array_equal(bounded[action[..., 0] == others[..., 0]], others_bounded[action[..., 0] == others[..., 0]])


@pytest.mark.parametrize("algo", ["a2c", "q1"])
def test_learners_act_by_an_index(tmp_path, algo):
    """Evaluations of a2c are greedy, and so are most steps of q1."""
    given = {"head": "itt", "selection": "principal-tree", "latent": 3, "scanned": 64, "steps": 600, "workers": 1}
    env = FollowEnv if algo == "a2c" else "CartPole-v1"
    result = asyncrl.train(algo, env, runs=str(tmp_path), name=algo, quiet=True, evaluation_episodes=1, **given)
    assert np.isfinite(result.summary["evaluation_return"])
    assert (result.summary["latents_indexed"] > 0) == (algo == "q1")


@pytest.mark.parametrize(
    ("head", "options", "said"),
    [
        ("iot", {"selection": "projections"}, r"selection = projections cannot be used with head 'iot' .allowed: brute"),
        ("itt", {"selection": "projections", "resample": "transition"}, r"with resample = transition: .* \(allowed: resample"),
        ("itt", {"selection": "principal-tree", "preset": "swimmer"}, "cannot be used with resample = "),
        ("itt", {"selection": "principal-tree", "set_size": 10**13}, "set_size = 10,000,000,000,000 cannot be used"),
    ],
)
def test_what_cannot_be_used_is_told(head, options, said):
    with pytest.raises(UserError, match=said):
        search_policy(head, box(2), **options)


def test_memory_is_checked_with_the_index():
    """The index of a set is counted: what fits without one need not fit with it."""
    needed = []
    for selection in ("brute", "principal-tree"):
        with pytest.raises(UserError, match="bytes") as told:
            search_policy("itt", box(2), latent=20, set_size=10**12, selection=selection)
        needed.append(int(str(told.value).split("need ")[1].split(" bytes")[0].replace(",", "")))
    assert needed[1] > needed[0] + 2 * 4 * 20 * 10**12


