"""Head iot under `--selection refine`: better than the set that it starts from, and a function of the parameters that are played."""

from __future__ import annotations

import numpy as np
import pytest
from environments import FollowEnv
from gymnasium import spaces
from test_implicit_heads import DISCRETE, box, search_policy
from test_lazy_towers import played

import asyncrl
from asyncrl.errors import UserError
from asyncrl.heads.implicit.form import work_size
from asyncrl.heads.implicit.towers import embed, raw_scores

SIZES = {"latent": 8, "state_layers": 1, "set_size": 40, "resample": "never"}
REACH = 2.0


def scores_of(policy, vector, actions, state):
    """The scores [n] of actions [n, C] within +-REACH at the network's output."""
    head, own = policy.head, vector[policy.network.size :]
    features = (np.asarray(actions, np.float32) / REACH).reshape(-1, head.components)
    latents, scores = np.zeros((len(features), head.policy_outputs), np.float32), np.zeros(len(features), np.float32)
    work = np.zeros(work_size(4, 4, head.policy_outputs, head.components), np.float32)
    embed(head.form, own, features, work, latents)
    raw_scores(head.form, own, state, latents, work, scores)
    return scores


def test_refined_actions_are_better_than_the_set():
    policy = search_policy("iot", box(3, REACH), selection="refine", **SIZES)
    generator, gains = np.random.default_rng(0), []
    for _ in range(40):
        vector, observation = 2.0 * policy.initial(int(generator.integers(1000))), generator.standard_normal(4).astype(np.float32)
        player = policy.player()
        player.set(vector)
        action = player.act(observation)
        assert np.abs(action).max() <= REACH
        among = scores_of(policy, vector, policy.head.tables["values"], player.scores)
        reached = scores_of(policy, vector, action, player.scores)[0]
        gains.append((reached - among.mean()) / max(among.max() - among.mean(), 1e-9))
    assert np.mean(gains) > 1.05 and np.mean(np.array(gains) > 1.0) > 0.6


@pytest.mark.parametrize("resample", ["never", "iteration", "transition"])
def test_a_candidate_earns_the_same_whoever_plays_it(resample):
    policies = [search_policy("iot", box(2), selection="refine", **{**SIZES, "resample": resample}) for _ in range(2)]
    vector, observation = policies[0].initial(1), np.ones(4, np.float32)
    players = [policy.player() for policy in policies]
    players[1].set(-vector)  # what was played before does not matter
    players[1].act(observation)
    found = []
    for player in players:
        player.set(vector)
        found.append(np.array([player.act(observation) for _ in range(4)]))
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found[0], axis=0)) > 1


def test_a_search_has_the_same_bits_with_any_number_of_workers(tmp_path):
    more = {"head": "iot", "selection": "refine", "set_size": 50}
    found = [played(tmp_path, "es", workers, None, seed=1, **more)[0] for workers in (1, 2, 3)]
    for arrays in found[1:]:
        np.testing.assert_array_equal(arrays["parameters"], found[0]["parameters"])


def test_a_learner_is_evaluated_by_refined_actions(tmp_path):
    given = {"head": "iot", "selection": "refine", "set_size": 50, "latent": 4, "steps": 300, "workers": 1}
    result = asyncrl.train("a2c", FollowEnv, runs=str(tmp_path), quiet=True, evaluation_episodes=1, **given)
    assert np.isfinite(result.summary["evaluation_return"])


@pytest.mark.parametrize(
    ("head", "space", "options", "said"),
    [
        ("iot", DISCRETE, {}, r"selection = refine cannot be used with this environment's actions \(allowed: Box actions\)"),
        ("iot", box(2), {"resample": "subset", "subset": 5}, r"cannot be used with resample = subset \(allowed: never"),
        ("iot", spaces.Box(-np.inf, np.inf, (2,)), {"catalogue": [[1.0, 2.0]]}, r"reach to infinity \(allowed: finite bounds\)"),
        ("itt", box(2), {}, r"selection = refine cannot be used with head 'itt' \(allowed: brute, projections, principal-tree\)"),
    ],
)
def test_what_cannot_be_refined_is_told(head, space, options, said):
    with pytest.raises(UserError, match=said):
        search_policy(head, space, selection="refine", **options)
