"""SAC with head savo as whole runs: bits, the learner's deaths, what the replay keeps, evaluation, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from running import Run, figures, resume
from test_savo_runs import stored
from test_stream_runs import jittery, killer, learned, learner_part, stream

import asyncrl
from asyncrl.errors import UserError
from asyncrl.replays.records import Record, fields_of

SMALL = {"head": "savo", "summary": 4, "summary_units": 8}


def run_of(folder: Any, beside: Any = None, **settings: Any) -> Run:
    return stream(folder, "sac", beside, **{**SMALL, **settings})


def check_stored(run: Run) -> None:
    """Proposals are uniform until the warm-up is over, and the first is done; then what is done is drawn, and is none of them."""
    rows = stored(run)
    done = (rows["proposals"] == rows["action"][:, None]).all(-1)
    assert len(done) > 100 and 30 < done[:, 0].sum() < 100 and done.sum() == done[:, 0].sum()
    assert (np.abs(rows["proposals"]) <= 1).all() and (np.abs(rows["action"]) <= 1).all()


@pytest.mark.slow
def test_the_same_bits_however_actors_are_timed(tmp_path):
    one, two = (run_of(tmp_path, mode="pipelined", steps=200, env=env) for env in (None, jittery("Pendulum-v1")))
    assert learned(one) == learned(two)
    check_stored(one)


@pytest.mark.slow
def test_a_resumed_run_continues_with_the_same_bits(tmp_path):
    whole, half = run_of(tmp_path, steps=300), run_of(tmp_path, steps=150)
    second = resume(half.folder, steps=300)
    ours, theirs = learned(second), learned(whole)
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert figures(second) == figures(whole)


@pytest.mark.slow
def test_a_run_whose_learner_is_killed_gives_the_same_bits(tmp_path):
    settings = {"steps": 500, "max_failures": 100}
    whole = run_of(tmp_path, **settings)
    run = run_of(tmp_path, killer([[2]] * 2), env=jittery("Pendulum-v1"), **settings)
    assert run.error is None and run.summary["status"] == "completed" and run.summary["restarts"] == 2
    assert learned(run) == learned(whole)


@pytest.mark.slow
def test_a_run_of_one_actor_is_one_of_sac(tmp_path):
    same = {"steps": 200, "max_gradient_norm": 1.0, "explore": "gaussian:0.1"}
    ours, theirs = run_of(tmp_path, n_actors=1, **same), stream(tmp_path, "sac", **same)
    here, there = learner_part(ours), learner_part(theirs)
    names = [name for name in there if name.startswith("learner/")]
    assert len(names) > 5 and [name for name in names if not np.array_equal(here[name], there[name])] == []
    np.testing.assert_array_equal(stored(ours, 1)["action"][:, 0], actions_of(theirs))


def actions_of(run: Run) -> np.ndarray[Any, Any]:
    """Those of a replay that keeps no proposals."""
    fields = fields_of(((3,), np.float32), 1)
    return Record(fields).views(np.ascontiguousarray(learner_part(run)["replay/rows"]))["action"][:, 0]


@pytest.mark.slow
def test_it_is_evaluated_as_it_was_and_tells_what_the_first_actor_earns(tmp_path):
    run = run_of(tmp_path, steps=150, evaluation_episodes=2)
    once, again = (asyncrl.evaluate(run.folder, episodes=2) for _ in range(2))
    assert once == again and np.isfinite(run.summary["evaluation_return"]) and np.isfinite(run.summary["first_proposal_return"])


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"explore_on": "both"}, "explore_on = both cannot be used with sac (leave it out: noise is added to what is executed)"),
        ({"catalogue": "items.npy"}, "catalogue cannot be used with sac (leave it out: savo serves Box actions there)"),
        ({"env": "CartPole-v1"}, "head 'savo' needs Box actions, this environment's are discrete; under other algorithms it serves"),
        ({"head": "joint"}, "head 'joint' cannot be used with sac (allowed: auto, squashed, savo)"),
        ({"target_noise": 0.2}, "target_noise"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(tmp_path, settings, line):
    given = {"env": "Pendulum-v1", "head": "savo", "steps": 100, "runs": str(tmp_path), "quiet": True, **settings}
    with pytest.raises(UserError) as raised:
        asyncrl.train("sac", given.pop("env"), **given)
    assert line in str(raised.value) and "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
