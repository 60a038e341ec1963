"""The ratio of a replay's updates to the environments' steps: held whatever the mode, refused where there would be no update."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import resume, train

from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError
from asyncrl.experiment.defaults import settled
from asyncrl.experiment.experiment import Experiment
from asyncrl.fields import written
from asyncrl.learners.off_policy import OffPolicyOptions
from asyncrl.learners.replays import ReplayUpdater, check_ratio, updates_due
from asyncrl.trajectory import Trajectory

OBSERVATION, ACTION = 3, 2


@pytest.mark.parametrize(
    ("ratio", "steps", "warm_up", "batch_size", "parts"),
    [
        (1.0, 100, 100, 16, ["warm_up = 100 leaves no update in 100 steps", "below 100"]),
        (1.0, 100, 0, 256, ["batch = 256 leaves no update in 100 steps", "up to 100"]),
        (0.01, 100, 40, 16, ["replay_ratio = 0.01 comes to no update in the 60 steps", "from 1/60 to"]),
        (1e300, 100, 40, 16, ["replay_ratio = 1e+300", "too many", "from 1/60 to"]),
    ],
)
def test_ratios_that_cannot_be_held_are_refused(ratio, steps, warm_up, batch_size, parts):
    with pytest.raises(UserError) as caught:
        check_ratio(ratio, steps, warm_up, batch_size)
    for part in parts:
        assert part in str(caught.value)
    check_ratio(1 / 60, 100, 40, 16)


def test_steps_that_windows_keep_back_are_no_batch():
    check_ratio(1.0, 100, 0, 16, n_step=43, streams=2)
    with pytest.raises(UserError, match=r"n_step = 44 leaves no update in 100 steps: each of 2 environments .* up to 43; or more steps"):
        check_ratio(1.0, 100, 0, 16, n_step=44, streams=2)


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.29, 0.75, 2.0, 3.5, 1 / 3])
def test_the_ratio_is_held_after_every_unit(mode, ratio):
    """Units of 3 steps, a batch of 16 after a warm-up of 14: sync takes one of each actor for a round, async one at a time."""
    updater, task = updater_of(ratio)
    trajectory = task.trajectory
    steps = made = 0
    for number in range(40):
        for actor in (0, 1) if mode == "sync" else (number % 2,):
            updater.take(actor, trajectory, np.zeros((3, 1), np.float32), np.zeros(1, np.uint8))
            steps += 3
        made += len(updater.update(number, steps))
        assert made == (Fraction(ratio).limit_denominator(100) * (steps - 14) // 1 if steps >= 16 else 0)
    assert made > 5


@given(digits=st.integers(1, 10**6), places=st.integers(0, 9), steps=st.integers(0, 10**12))
@settings(max_examples=300, deadline=None)
def test_every_decimal_ratio_is_held_to_the_update(digits, places, steps):
    """The updates that are due are those of the decimal number, in whole numbers."""
    ratio = float(f"{digits}e-{places}")
    assert updates_due(written(ratio), steps + 5, 5) == digits * steps // 10**places


def test_ratios_that_floats_cannot_hold():
    assert updates_due(written(0.29), 100, 0) == 29  # 0.29 * 100 is 28.999999999999996 in floats
    assert [updates_due(written(1 / 3), steps, 0) for steps in (2, 3, 5, 6, 3 * 10**15)] == [0, 1, 1, 2, 10**15]
    assert [updates_due(written(1 / every), every * 10**6, 0) for every in range(1, 1000)] == [10**6] * 999
    assert written(np.float64(0.1) + np.float64(0.2)) == Fraction("0.30000000000000004")
    check_ratio(0.29, 100, 0, 16)
    check_ratio(1e-7, 10**7, 0, 16)


def updater_of(ratio):
    class Counting(ReplayUpdater):
        @classmethod
        def new_learner(cls, task, policy):
            return SimpleNamespace(update=lambda batch: {}, state={}, errors=np.zeros(0))

    spec = SimpleNamespace(observation_shape=(OBSERVATION,), observation_dtype="float32", observation_size=OBSERVATION, action_size=ACTION)
    options = OffPolicyOptions(t_max=3, replay=1000, replay_ratio=ratio, batch=16, warm_up=14)
    layout = Trajectory.layout(3, 1, ((OBSERVATION,), np.float32), (ACTION, np.float32), 0)
    task = SimpleNamespace(options=options, spec=spec, head="auto", envs_per_worker=1, workers=2, seed=0, target_steps=1000)
    task.trajectory = Trajectory.empty(layout)
    return Counting(task, None), task


def test_what_an_end_leaves_due_is_made_with_the_next_units():
    updater, task = updater_of(3.5)
    for _ in range(8):
        updater.take(0, task.trajectory, np.zeros((3, 1), np.float32), np.zeros(1, np.uint8))
    asked = iter([True, True, False])
    assert len(updater.update(0, 24, lambda: next(asked))) == 2
    assert updater.update(0, 24, lambda: False) == []
    assert len(updater.update(1, 24)) == int(3.5 * (24 - 14)) - 2


@pytest.mark.parametrize(
    ("algo", "steps", "ratio", "warm_up", "told"),
    [
        ("sac", 3_000, 1.0, 300, "the warm-up is shortened to 300 of 3,000 steps: after the usual 10,000"),
        ("sac", 10_001, 1.0, 10_000, None),
        ("ddpg", 10_000, 1.0, 1_000, "shortened to 1,000 of 10,000 steps"),
        ("td3", 25_001, 1.0, 25_000, None),
        ("td3", 25_050, 0.01, 2_505, "shortened to 2,505 of 25,050 steps"),
    ],
)
def test_a_warm_up_that_nobody_named_leaves_updates(algo, steps, ratio, warm_up, told):
    options = ALGORITHMS[algo].options_type(replay_ratio=ratio)
    experiment, notes = settled(Experiment(algo, "Pendulum-v1", steps=steps, options=options))
    assert experiment.options == dataclasses.replace(options, warm_up=warm_up)
    assert len(notes) == (told is not None)
    assert told is None or told in notes[0]
    named = Experiment(algo, "Pendulum-v1", steps=steps, options=dataclasses.replace(options, warm_up=steps))
    assert settled(named) == (named, [])


def test_annealing_that_nobody_named_ends_within_the_run():
    for steps, explore, count in ((3_000, "epsilon:paper@1500", 1), (20_000, "epsilon:paper@20000", 0)):
        experiment, notes = settled(Experiment("q1", "CartPole-v1", steps=steps, options=ALGORITHMS["q1"].options_type()))
        assert (experiment.explore, len(notes)) == (explore, count)
    named = Experiment("q1", "CartPole-v1", steps=10, explore="epsilon:paper@20000", options=ALGORITHMS["q1"].options_type())
    assert settled(named) == (named, [])


def test_a_short_run_learns_and_its_warm_up_stays_when_it_is_resumed(tmp_path):
    small = {"hidden": (8,), "batch": 16, "replay": 1000, "workers": 1, "mode": "sync"}
    run = train(tmp_path, "Pendulum-v1", algo="sac", steps=200, **small)
    assert any("shortened to 20 of 200 steps" in note for note in run.notes)
    assert run.summary["updates"] == 180
    second = resume(run.folder, steps=300)
    assert (second.summary["updates"], second.notes) == (280, run.notes[1:]), "not of the new length"
    refused = train(tmp_path, "Pendulum-v1", algo="sac", steps=200, warm_up=200, **small)
    assert "warm_up = 200 leaves no update in 200 steps" in str(refused.error)
