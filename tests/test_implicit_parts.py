"""Parts of a set that stand for a rollout and grow, and the layers that begin with them: how itt meets a goal that is far away."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from environments import FollowEnv

import asyncrl
from asyncrl.actors.exploration import GrowingSubset, Subset, Temperature, with_parts
from asyncrl.actors.rollout import Actor
from asyncrl.envs import GymnasiumStepping
from asyncrl.envs.spec import spec_of
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.implicit.form import HELD, RESAMPLE, SUBSET
from asyncrl.heads.keyed_numbers import part_size
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import TEMPERATURE

STEPS, ENVS = 8, 3
RUN = {"head": "itt", "steps": 800, "workers": 1, "set_size": 50, "latent": 4, "t_max": 10, "quiet": True, "evaluation_episodes": 1}


def policy_of(environment, head="itt", **options):
    policy = Policy(spec_of(environment), head, NetworkOptions(head_options=HEADS[head].options_type(**options)))
    policy.fill_tables(0)
    return policy


def actor_of(policy, exploration):
    stepping = GymnasiumStepping([FollowEnv() for _ in range(ENVS)], policy.spec)
    actor = Actor(stepping, policy, policy.initial(0), STEPS, exploration, np.random.default_rng(2))
    actor.reset(list(range(ENVS)))
    return actor


@pytest.mark.parametrize("head", ["itt", "iot"])
def test_a_part_stands_for_a_rollout(head):
    """Every environment has its own, and another in the next rollout; where it is drawn per transition, no two are alike."""
    for resample, different in (("rollout", ENVS), ("subset", STEPS * ENVS)):
        actor = actor_of(policy_of(FollowEnv(), head, set_size=40, latent=3, resample=resample, subset=5), [])
        rollouts = [actor.collect(0, 0.0).action[..., 1].copy() for _ in range(2)]
        assert [len(np.unique(keys)) for keys in rollouts] == [different] * 2 and len(np.unique(rollouts)) == 2 * different
        if resample == "rollout":
            assert (rollouts[0] == rollouts[0][:1]).all()
        assert {part_size(key) for key in np.unique(rollouts)} == {5}


def test_greedy_steps_draw_parts_anew():
    """What is evaluated is not bound to one part for as long as a rollout would be."""
    actor = actor_of(policy_of(FollowEnv(), set_size=40, latent=3, resample="rollout", subset=5), [])
    actor.rounds.knobs[TEMPERATURE] = 0.0
    assert len(np.unique(actor.collect(0, 0.0).action[..., 1])) == STEPS * ENVS


def test_parts_begin_as_pairs_and_grow():
    policy = policy_of(FollowEnv(), set_size=40, latent=3, pair_steps=1000)
    assert (policy.head.form[RESAMPLE], policy.head.form[HELD], policy.head.last_part) == (SUBSET, 1, 16)
    ((grows,),) = with_parts([[]], policy.head)
    actor, sizes = actor_of(policy, [grows]), []
    for steps in (0, 999, 1000, 1167, 1334, 1499, 1500, 10**9):
        sizes.append({int(part_size(key)) for key in actor.collect(0, float(steps)).action[..., 1].ravel()})
    assert sizes == [{2}, {2}, {2}, {4}, {8}, {15}, {16}, {16}]


def test_who_has_a_part_of_his_own_keeps_it():
    head = policy_of(FollowEnv(), set_size=40, pair_steps=1000).head
    mine, warm = Subset(7.0), Temperature(2.0)
    assert with_parts([[mine], [warm]], head) == [[mine], [warm, GrowingSubset(2.0, 1000, 16.0)]]
    assert with_parts([[mine], []], policy_of(FollowEnv(), set_size=40).head) == [[mine], []]


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", {"actions": "grid"}),
        ("Pendulum-v1", {"selection": "principal-tree"}),
        ("Pendulum-v1", {"set_size": 16}),
        ("Pendulum-v1", {"resample": "never"}),
        ("Pendulum-v1", {"pair_steps": 0}),
    ],
)
def test_other_sets_have_no_parts(environment, options):
    head = policy_of(gymnasium.make(environment), **{"pair_steps": 1000, **options}).head
    assert head.pair_steps == head.largest_part == head.form[HELD] == 0 and head.stored == 1


@pytest.mark.parametrize(("algo", "settled"), [("a2c", 400), ("impala", None)])
def test_how_long_pairs_stay_is_settled_as_a_run_begins(tmp_path, algo, settled):
    """And kept by a run that goes on for longer. Where it isn't settled, nothing has parts: so are runs from before there were any."""
    result = asyncrl.train(algo, FollowEnv, runs=str(tmp_path), **RUN)
    assert result.status == "completed"
    kept = json.loads((Path(result.folder) / "experiment.json").read_text())["settings"]["network"]["head_options"]
    assert (kept["pair_steps"], kept["resample"]) == (settled, "auto")
    assert asyncrl.resume(result.folder, steps=1200, quiet=True, env=FollowEnv).status == "completed"
    assert asyncrl.load(result.folder, env=FollowEnv).act(np.zeros(2, np.float32)).shape == (1,)


@pytest.mark.parametrize(("algo", "allowed"), [("es", "never, subset, iteration, transition"), ("q1", "never")])
def test_where_nothing_is_drawn_by_rollouts_is_told(tmp_path, algo, allowed):
    given = {"head": "itt", "resample": "rollout", "steps": 100, "runs": str(tmp_path), "quiet": True}
    with pytest.raises(UserError, match=rf"resample = rollout cannot be used with {algo} \(allowed: {allowed}\)"):
        asyncrl.train(algo, FollowEnv, **given)
    with pytest.raises(UserError, match=rf"pair_steps = 5 cannot be used with {algo} \(allowed: 0; it is for a3c, a2c\)"):
        asyncrl.train(algo, FollowEnv, **{**given, "resample": "never", "pair_steps": 5})


def first_rows(policy, normalised=False):
    """The norm of each input's weights in the first layers of policy and value."""
    vector, places = policy.initial(0, normalised), policy._compact._places
    return [np.linalg.norm(vector[places[k][1]].reshape(2, -1), axis=1) for k in (0, 3)]


def test_numbers_that_are_small_by_their_unit_are_raised():
    """MountainCarContinuous' velocity is at most 0.07: a tower without biases would see next to nothing of it."""
    policy = policy_of(gymnasium.make("MountainCarContinuous-v0"))
    plain = first_rows(policy, normalised=True)
    for rows, usual in zip(first_rows(policy), plain, strict=True):
        np.testing.assert_allclose(rows / usual, [1.0, 1.0 / 0.07], rtol=1e-5)
    for name in ("CartPole-v1", "Pendulum-v1", "Acrobot-v1"):  # bounds that are missing; none below 1
        other = policy_of(gymnasium.make(name))
        np.testing.assert_array_equal(other.initial(0), other.initial(0, normalised=True))
