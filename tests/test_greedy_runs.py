"""TD3 with head greedy as whole runs: bits, deaths, exploration, evaluation, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import Run, figures, resume
from test_stream_runs import jittery, killer, learned, learner_part, stream

import asyncrl
from asyncrl.cli.listing import list_parts
from asyncrl.cli.train import train
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.greedy import GreedyOptions
from asyncrl.heads.options import NetworkOptions
from asyncrl.topologies import topology_of

SMALL = {"head": "greedy", "samples": 10}


def run_of(folder: Any, beside: Any = None, **settings: Any) -> Run:
    return stream(folder, "td3", beside, **{**SMALL, **settings})


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "behaviour"), [pytest.param("sync", "policy", marks=pytest.mark.slow), ("pipelined", "noise")])
def test_the_same_bits_however_actors_are_timed(tmp_path, mode, behaviour):
    one, two = (run_of(tmp_path, mode=mode, behaviour=behaviour, steps=300, env=env) for env in (None, jittery("Pendulum-v1")))
    assert learned(one) == learned(two)
    assert learned(one) != learned(run_of(tmp_path, mode=mode, behaviour=behaviour, steps=300, samples=20))


@pytest.mark.slow
def test_a_resumed_run_continues_with_the_same_bits(tmp_path):
    whole, half = run_of(tmp_path, steps=600), run_of(tmp_path, steps=300)
    before, second = learned(half), resume(half.folder, steps=600)
    ours, theirs = learned(second), learned(whole)
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert figures(second) == figures(whole)
    moved = {name for name in ours if ours[name] != before[name]}
    assert moved >= {name for name in ours if name.partition("learner/")[2] in ("policy", "proposal", "proposal_statistics")} != set()


@pytest.mark.slow
def test_a_run_whose_learner_is_killed_gives_the_same_bits(tmp_path):
    settings = {"steps": 600, "max_failures": 100}
    whole = run_of(tmp_path, **settings)
    run = run_of(tmp_path, killer([[2]] * 2), env=jittery("Pendulum-v1"), **settings)
    assert run.error is None and run.summary["status"] == "completed" and run.summary["restarts"] == 2
    assert learned(run) == learned(whole)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_survives_the_death_of_everybody(tmp_path, mode):
    run = run_of(tmp_path, killer([[0], [2, 1], [0, 1, 2]]), env=jittery("Pendulum-v1"), mode=mode, steps=1500, max_failures=100)
    assert run.error is None and run.summary["status"] == "completed"
    assert run.summary["restarts"] == 6
    assert all(np.isfinite(array).all() for array in learner_part(run).values() if array.dtype.kind == "f")


@pytest.mark.parametrize(
    ("behaviour", "explore", "label"),
    [("policy", "", "default"), ("noise", "", "gaussian:0.1"), ("policy", "ou:0.2", "ou:0.2")],
)
def test_noise_is_that_of_the_behaviour_or_what_is_named(behaviour, explore, label):
    network = NetworkOptions(head_options=GreedyOptions(behaviour))
    topology = topology_of(Experiment("td3", "Pendulum-v1", head="greedy", network=network, explore=explore, workers=1, steps=500))
    assert topology.labels == [label]
    topology.close()


def test_it_is_evaluated_and_played_as_it_was(tmp_path):
    run = run_of(tmp_path, steps=300, evaluation_episodes=2)
    once, again = (asyncrl.evaluate(run.folder, episodes=2) for _ in range(2))
    assert once == again and np.isfinite(run.summary["evaluation_return"])
    asyncrl.play(run.folder, video=tmp_path / "film.gif", episodes=1)
    assert (tmp_path / "film.gif").stat().st_size > 0


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"behaviour": "noisy"}, "unknown behaviour 'noisy'; did you mean 'noise'? (allowed: policy, noise)"),
        ({"samples": 0}, "samples = 0 cannot be used (allowed: whole numbers from 1 to 1,000)"),
        ({"samples": 5}, "greedy_share = 0.1 leaves none of samples = 5 (allowed: from 1/5; or more samples)"),
        ({"greedy_share": 1.5}, "greedy_share = 1.5"),
        ({"greedy_share": 0.0}, "greedy_share = 0"),
        ({"entropy_scale": -1.0}, "entropy_scale = -1.0"),
        ({"env": "CartPole-v1"}, "head 'greedy' needs Box actions, this environment's are discrete"),
        ({"head": "savo", "entropy_scale": 0.1}, "entropy_scale cannot be used with head 'savo' (it is an option of greedy)"),
        ({"head": "greedily"}, "head 'greedily' cannot be used with td3 (allowed: auto, deterministic, savo, "),
        ({"algo": "ddpg"}, "head 'greedy' cannot be used with ddpg (allowed: auto, deterministic)"),
        ({"algo": "sac"}, "head 'greedy' cannot be used with sac (allowed: auto, squashed, savo)"),
        ({"algo": "impala", "env": "Pendulum-v1"}, "head 'greedy' cannot be used with impala (it is that of td3)"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(tmp_path, settings, line):
    given = {"algo": "td3", "env": "Pendulum-v1", "head": "greedy", "steps": 100, "runs": str(tmp_path), "quiet": True, **settings}
    with pytest.raises(UserError) as raised:
        asyncrl.train(given.pop("algo"), given.pop("env"), **given)
    assert line in str(raised.value) and "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_it_is_listed_and_has_its_options_in_its_help(capsys):
    assert list_parts([]) == 0
    assert "greedy" in capsys.readouterr().out
    shown = {}
    for head in ("greedy", "savo"):
        with pytest.raises(SystemExit):
            train(["td3", "--head", head, "--help"])
        shown[head] = capsys.readouterr().out
    assert all(f"--{name}" in shown["greedy"] for name in ("behaviour", "samples", "greedy-share", "entropy-scale"))
    assert ["without it gaussian:0.1" in " ".join(text.replace("│", " ").split()) for text in shown.values()] == [False, True]
