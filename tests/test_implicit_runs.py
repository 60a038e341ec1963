"""Implicit heads in real runs: every family, resumed and evaluated; and their options on the command line."""

from __future__ import annotations

import pytest
from environments import FollowEnv

import asyncrl
from asyncrl.cli.train import train
from asyncrl.errors import UserError
from asyncrl.store.checkpoint import newest, read_part

RUN = {"quiet": True, "evaluation_episodes": 2, "workers": 2}
SETTINGS = {
    "es": {"head": "itt", "population": 8, "resample": "transition", "set_size": 20},
    "cem": {"head": "iot", "population": 8, "resample": "subset", "set_size": 50, "subset": 10},
    "nes": {"head": "explicit", "population": 8},
    "a3c": {"head": "itt", "resample": "subset", "set_size": 50, "subset": 10, "explore": "epsilon:0.1"},
    "a2c": {"head": "iot", "set_size": 20},
    "impala": {"head": "itt", "resample": "transition", "set_size": 20, "t_max": 10},
    "appo": {"head": "itt", "resample": "iteration", "set_size": 20, "t_max": 10},
}


@pytest.mark.parametrize("algo", SETTINGS)
def test_a_run_of_every_family(tmp_path, algo):
    result = asyncrl.train(algo, FollowEnv, steps=1000, runs=str(tmp_path), latent=4, **{**RUN, **SETTINGS[algo]})
    assert result.status == "completed" and result.summary["evaluation_return"] > -10 * 4
    again = asyncrl.resume(result.folder, steps=1500, quiet=True, env=FollowEnv)
    assert again.status == "completed" and again.summary["steps"] >= 1500


@pytest.mark.parametrize(("algo", "head"), [("a2c", "iot"), ("a3c", "itt"), ("impala", "itt"), ("appo", "iot")])
def test_workers_choose_among_parts_of_their_own(tmp_path, algo, head):
    settings = {"head": head, "resample": "subset", "set_size": 20, "explore": "subset:2,15+temperature:2", "t_max": 10, "subset": 5}
    result = asyncrl.train(algo, FollowEnv, steps=1000, runs=str(tmp_path), latent=4, **settings, **RUN)
    assert result.status == "completed" and result.summary["evaluation_return"] > -10 * 4
    assert asyncrl.resume(result.folder, steps=1500, quiet=True, env=FollowEnv).status == "completed"


def test_where_workers_cannot_have_parts_is_told(tmp_path):
    given = {"head": "itt", "steps": 100, "runs": str(tmp_path), **RUN}
    with pytest.raises(UserError, match="exploration subset:3 needs head itt or iot with resample = subset or rollout"):
        asyncrl.train("a3c", FollowEnv, explore="subset:3", pair_steps=0, **given)
    with pytest.raises(UserError, match=r"subset:3 needs .* subset or rollout, or itt as action values \(head 'action-"):
        asyncrl.train("q1", "CartPole-v1", explore="subset:3", **{**given, "head": "auto"})
    with pytest.raises(UserError, match=r"resample = subset cannot be used for action values \(allowed: never, with --explore subset:N\)"):
        asyncrl.train("q1", "CartPole-v1", resample="subset", subset=1, **given)


@pytest.mark.parametrize("algo", ["q1", "sarsa", "nq"])
def test_a_run_of_two_tower_values(tmp_path, algo):
    settings = {} if algo == "sarsa" else {"double": True}
    result = asyncrl.train(algo, "CartPole-v1", head="itt", encoding="one-hot", steps=600, runs=str(tmp_path), **settings, **RUN)
    assert result.status == "completed" and result.summary["latents_embedded"] > 0


def test_values_of_a_box(tmp_path):
    """n-step Q over a set of actions of a continuous space; sarsa keeps its commitment to a choice."""
    settings = {"head": "itt", "set_size": 50, "latent": 4, "steps": 1000, **RUN}
    assert asyncrl.train("nq", FollowEnv, runs=str(tmp_path), **settings).status == "completed"
    with pytest.raises(UserError, match="sarsa"):
        asyncrl.train("sarsa", FollowEnv, runs=str(tmp_path), **settings)


def test_the_same_bits_in_sync(tmp_path):
    """Of an actor-critic, whose workers share the table: two runs are one."""
    settings = {"head": "itt", "mode": "sync", "steps": 2000, "set_size": 5000, "latent": 4, "t_max": 10}
    found = [asyncrl.train("a2c", FollowEnv, runs=str(tmp_path), name=str(name), **{**RUN, **settings}) for name in range(2)]
    first, second = (read_part(newest(result.folder), "run")[1]["parameters"] for result in found)
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize(("algo", "resample"), [("es", "transition"), ("nes", "subset"), ("tres", "iteration")])
def test_random_sets_give_the_same_bits_with_any_number_of_workers(tmp_path, algo, resample):
    settings = {"head": "itt", "latent": 3, "resample": resample, "set_size": 30, "subset": 5}
    settings |= {"population": 8, "mode": "sync", "steps": 800}
    found = []
    for workers in (1, 2):
        result = asyncrl.train(algo, FollowEnv, runs=str(tmp_path), name=str(workers), **{**RUN, **settings, "workers": workers})
        found.append((read_part(newest(result.folder), "run")[1]["parameters"].tobytes(), result.summary["evaluation_return"]))
    assert found[0] == found[1]


def test_a_list_of_actions_is_resumed_and_evaluated(tmp_path):
    rows = [[-1.0], [0.25], [1.0]]
    result = asyncrl.train(
        "es", "MountainCarContinuous-v0", head="itt", catalogue=rows, population=2, steps=2000, runs=str(tmp_path), **RUN
    )
    assert read_part(newest(result.folder), "run")[1]["tables/values"].tolist() == rows
    told = asyncrl.evaluate(result.folder, episodes=1)
    assert told["episodes"] == 1
    assert asyncrl.resume(result.folder, steps=4000, quiet=True).status == "completed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--latent 3", r"option '--latent' cannot be used with head 'auto' \(it is an option of itt, iot, explicit\)"),
        ("--set-size=3 --head linear", r"option '--set-size' cannot be used with head 'linear' \(it is an option of itt, iot\)"),
        ("--head explicit --selection brute", r"option '--selection' cannot be used with head 'explicit' \(it is an option of itt, iot\)"),
        ("--head iot --no_normalize_latents", "option '--no_normalize_latents' cannot be used with head 'iot'"),
        ("--head it --latent 3", "option '--latent' cannot be used with head 'it'; did you mean 'itt'"),
        ("--latnt 3", "unknown option '--latnt'; did you mean '--latent'"),
        ("--head itt --latent 0", r"latent = 0 cannot be used \(allowed: whole numbers from 1\)"),
        ("--head itt --energy dott", "unknown value 'dott'; did you mean 'dot'"),
        ("--head=itt --latnt 3", "unknown option '--latnt'; did you mean '--latent'"),
    ],
)
def test_options_that_cannot_be_used_are_told(words, said):
    with pytest.raises(UserError, match=said):
        train(["es", "Swimmer-v5", *words.split()])
