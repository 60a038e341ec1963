"""TD3 with head savo as whole runs: bits, deaths, what the replay keeps, evaluation, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from running import Run, figures, resume
from test_stream_runs import jittery, killer, learned, learner_part, stream

import asyncrl
from asyncrl.cli.listing import list_parts
from asyncrl.cli.train import train
from asyncrl.errors import UserError
from asyncrl.replays.records import Record, fields_of

SMALL = {"head": "savo", "summary": 4, "summary_units": 8, "explore": "ou:0.2"}


def run_of(folder: Any, beside: Any = None, **settings: Any) -> Run:
    return stream(folder, "td3", beside, **{**SMALL, **settings})


def stored(run: Run, actors: int = 3) -> dict[str, np.ndarray[Any, Any]]:
    """The replay's transitions, by field."""
    fields = fields_of(((3,), np.float32), 1, {"proposals": ((actors, 1), np.float32)})
    return Record(fields).views(np.ascontiguousarray(learner_part(run)["replay/rows"]))


def check_stored(run: Run) -> None:
    """Every transition is whole: observations lie on the circle, and what was executed is one of the proposals."""
    rows = stored(run)
    assert len(rows["action"]) > 100
    for name in ("observation", "next_observation"):
        np.testing.assert_allclose(rows[name][:, 0] ** 2 + rows[name][:, 1] ** 2, 1.0, atol=1e-4)
    assert (rows["proposals"] == rows["action"][:, None]).all(-1).any(-1).all()
    assert (np.abs(rows["proposals"]) <= 1).all()


@pytest.mark.slow  # who is waited for is td3's seam
@pytest.mark.parametrize("mode", ["sync", "pipelined"])
def test_the_same_bits_however_actors_are_timed(tmp_path, mode):
    one, two = (run_of(tmp_path, mode=mode, steps=300, env=env) for env in (None, jittery("Pendulum-v1")))
    assert learned(one) == learned(two)
    check_stored(one)
    assert learned(one) != learned(run_of(tmp_path, mode=mode, steps=300, n_actors=2))


@pytest.mark.slow
def test_a_resumed_run_continues_with_the_same_bits(tmp_path):
    whole, half = run_of(tmp_path, steps=600), run_of(tmp_path, steps=300)
    second = resume(half.folder, steps=600)
    ours, theirs = learned(second), learned(whole)
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert figures(second) == figures(whole)


@pytest.mark.slow  # the stores and versions that it goes on from are td3's
def test_a_run_whose_learner_is_killed_gives_the_same_bits(tmp_path):
    settings = {"steps": 800, "max_failures": 100}
    whole = run_of(tmp_path, **settings)
    run = run_of(tmp_path, killer([[2]]), env=jittery("Pendulum-v1"), **settings)
    assert run.error is None and run.summary["status"] == "completed" and run.summary["restarts"] == 1
    assert learned(run) == learned(whole)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_survives_the_death_of_everybody(tmp_path, mode):
    run = run_of(tmp_path, killer([[0, 1, 2]]), env=jittery("Pendulum-v1"), mode=mode, steps=1500, max_failures=100)
    assert run.error is None and run.summary["status"] == "completed"
    assert run.summary["restarts"] == 3
    check_stored(run)


def test_evaluations_tell_what_the_first_actor_earns_alone(tmp_path):
    run = run_of(tmp_path, steps=300, evaluate_every=100, evaluation_episodes=2)
    made = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in made if "evaluation/return" in row]
    assert rows and all(np.isfinite(row["evaluation/first_proposal_return"]) for row in rows)
    assert run.summary["first_proposal_return"] == rows[-1]["evaluation/first_proposal_return"]
    plain = stream(tmp_path, "td3", steps=300, evaluation_episodes=1)
    assert "first_proposal_return" not in plain.summary


def test_while_it_warms_up_proposals_are_uniform(tmp_path):
    run = run_of(tmp_path, steps=300, warm_up=299, workers=1)
    rows = stored(run)
    assert rows["proposals"].std() == pytest.approx(3**-0.5, rel=0.1)
    np.testing.assert_array_equal(rows["proposals"][:, 0], rows["action"])
    assert np.abs(np.corrcoef(rows["proposals"][..., 0].T) - np.eye(3)).max() < 0.25


def test_it_is_evaluated_and_played_as_it_was(tmp_path):
    run = run_of(tmp_path, steps=300, evaluation_episodes=2)
    once, again = (asyncrl.evaluate(run.folder, episodes=2) for _ in range(2))
    assert once == again and np.isfinite(run.summary["evaluation_return"])
    asyncrl.play(run.folder, video=tmp_path / "film.gif", episodes=1)
    assert (tmp_path / "film.gif").stat().st_size > 0


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"n_actors": 0}, "n_actors = 0"),
        ({"n_actors": 1.5}, "n_actors = 1.5"),
        ({"n_actors": 101}, "allowed: whole numbers from 1 to 100"),
        ({"summary": 0}, "summary = 0"),
        ({"pooling": "max", "summariser": "lstm"}, "pooling = max cannot be used with summariser = lstm (allowed: mean)"),
        ({"pooling": "median"}, "unknown pooling 'median'; did you mean 'mean'? (allowed: mean, max)"),
        ({"explore_on": "all"}, "unknown explore_on 'all' (allowed: proposals, chosen, both)"),
        ({"env": "CartPole-v1"}, "head 'savo' needs features of the 2 actions"),
        ({"head": "deterministic", "n_actors": 3}, "n_actors cannot be used with head 'deterministic' (it is an option of savo, joint)"),
        ({"algo": "ddpg"}, "head 'savo' cannot be used with ddpg (allowed: auto, deterministic)"),
        ({"algo": "impala", "env": "Pendulum-v1"}, "head 'savo' cannot be used with impala (it is that of td3, sac)"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(tmp_path, settings, line):
    given = {"algo": "td3", "env": "Pendulum-v1", "head": "savo", "steps": 100, "runs": str(tmp_path), "quiet": True, **settings}
    with pytest.raises(UserError) as raised:
        asyncrl.train(given.pop("algo"), given.pop("env"), **given)
    assert line in str(raised.value) and "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_it_is_listed_and_has_its_options_in_its_help(capsys):
    assert list_parts([]) == 0
    assert "savo" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        train(["td3", "--head", "savo", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name}" in shown for name in ("n-actors", "surrogate-points", "explore-on", "pooling"))
