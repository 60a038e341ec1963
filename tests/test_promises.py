"""The promises of the update modes, with real processes: see `asyncrl.scheduler`."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import gymnasium
import numpy as np
import pytest
from environments import CountingEnv
from running import Jitter, Run, bits, figures, interrupt, jittery_cartpole, jittery_cheetah, patience, resume, train, wait_for

from asyncrl.actors.rollout import Actor
from asyncrl.algos.a3c import A3C, A3COptions
from asyncrl.envs import GymnasiumStepping, ship, spec_of
from asyncrl.envs.make import make_env
from asyncrl.heads.options import NetworkOptions
from asyncrl.learners.gradients import WrittenGradient
from asyncrl.learners.rules import linear_or_constant, optimizer_of
from asyncrl.scheduler.board import COMMAND, OBEYED
from asyncrl.scheduler.modes import Async, Bounded, Sync, parse_mode
from asyncrl.shared.optimizers import clip_scale, norm
from asyncrl.store.checkpoint import newest
from asyncrl.workers.plan import Task, stream

# 1. The names at the ends of the range, and the bound on lag.


def test_bounded_0_is_sync_and_bounded_inf_is_async(tmp_path):
    assert parse_mode("bounded:0") == Sync()
    assert parse_mode("bounded:inf") == Async()
    assert parse_mode("bounded:3") == Bounded(3)
    runs = [train(tmp_path, jittery_cartpole, mode=mode, workers=2, steps=2000) for mode in ("sync", "bounded:0")]
    assert bits(runs[0].folder) == bits(runs[1].folder)


class Stutter(CountingEnv):
    """Long pauses between bursts, each worker's at times of its own: what drives workers apart."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = np.random.default_rng(time.time_ns() + os.getpid())

    def step(self, action: Any) -> Any:
        if self._clock.random() < 0.02:
            time.sleep(self._clock.exponential(0.02))
        return super().step(action)


@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_lag_stays_within_the_bound_under_delays_and_passes_it_without(tmp_path, workers):
    steps = 6000
    largest = {}
    for mode in ("bounded:1", "bounded:2", "async"):
        run = train(tmp_path, Stutter, mode=mode, workers=workers, steps=steps, t_max=5)
        largest[mode] = run.summary["lag"]["max"]
        run.check_books(5)
    for bound in (1, 2):
        limit = (2 * bound + 1) * (workers - 1)
        assert workers - 1 < largest[f"bounded:{bound}"] <= limit, largest  # it is nearly used up
    assert largest["async"] > 5 * (workers - 1), largest


# 2. One worker without waiting is the plain optimizer in a loop.


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_one_worker_async_equals_a_plain_loop(tmp_path, optimizer):
    steps, seed = 4000, 3
    options = A3COptions(optimizer=optimizer)
    run = train(tmp_path, "CartPole-v1", mode="async", workers=1, steps=steps, seed=seed, optimizer=optimizer)
    environment = make_env("CartPole-v1")
    shape = (1, 1, steps, seed)
    task = Task(ship("CartPole-v1"), spec_of(environment), "auto", NetworkOptions(), None, "a3c", options, *shape)
    policy = task.policy()
    streams = stream(seed, 0, 0).spawn(2)
    vector = policy.initial(seed).copy()
    actor = Actor(GymnasiumStepping([environment], policy.spec), policy, vector, options.t_max, [], np.random.default_rng(streams[0]))
    actor.reset([int(streams[1].generate_state(1)[0])])
    gradient = WrittenGradient(policy, vector, options.t_max, 1, options, A3C)
    rule, rate = optimizer_of(options, policy), linear_or_constant(options, steps)
    statistics = np.zeros((max(rule.statistics, 1), vector.size), np.float32)
    discounted, total, squares = 0.0, 0.0, 0.0
    for done in range(0, steps, options.t_max):
        trajectory = actor.collect(0, done)
        for reward, ended in zip(trajectory.reward[:, 0].tolist(), trajectory.ended[:, 0].tolist()):
            discounted = options.gamma * discounted + reward
            total += discounted
            squares += discounted**2
            discounted *= not ended
        count = done + options.t_max
        trajectory.reward /= np.float32(np.sqrt(max(squares / count - (total / count) ** 2, (0.1 * total / count) ** 2)))
        gradient(trajectory, options.entropy_weight)
        scale = clip_scale(norm(gradient.gradient), options.max_gradient_norm)
        rule.step((vector, statistics), gradient.gradient, slice(0, vector.size), scale, rate(done), done // options.t_max + 1)
    found = np.frombuffer(bits(run.folder)["parameters"], np.float32)[: vector.size]
    assert not np.array_equal(vector, policy.initial(seed))
    assert np.array_equal(found, vector)


# 3. However the workers are timed.


@pytest.mark.parametrize("mode", ["sync", "pipelined"])
@pytest.mark.parametrize(("env", "steps", "normalize"), [(jittery_cartpole, 1800, False), (jittery_cheetah, 1200, True)])
def test_the_same_seed_gives_the_same_bits_however_workers_are_timed(tmp_path, mode, env, steps, normalize):
    settings = {"mode": mode, "workers": 3, "steps": steps, "seed": 5, "normalize_observations": normalize}
    runs = [train(tmp_path, env, **settings, report_seconds=every) for every in (0.05, 1.0)]
    assert bits(runs[0].folder) == bits(runs[1].folder)
    assert figures(runs[0]) == figures(runs[1])
    for run in runs:
        # Pipelined: when the last round is handed over, everybody is acting in one more.
        assert run.summary["steps"] == steps + (60 if mode == "pipelined" else 0)
        check_lag(run, 0 if mode == "sync" else 1, epochs=1)
    if mode == "sync":
        assert bits(train(tmp_path, env, mode=mode, workers=3, steps=steps, seed=6).folder) != bits(runs[0].folder)


def check_lag(run: Run, lag: int, epochs: int) -> None:
    """Every use of experience had this lag, but for the first round of each epoch, which acts on what there is."""
    assert run.launcher is not None
    ledger = run.launcher._ground.ledger
    histogram = ledger.column(ledger.read_all(), "lag_histogram").sum(axis=0)
    rounds = sum(run.column("rounds"))
    expected = np.zeros_like(histogram)
    expected[0] = run.launcher._ground.board.workers * epochs
    expected[lag] = rounds - (expected[0] if lag else 0)
    assert np.array_equal(histogram, expected), np.flatnonzero(histogram)


def test_async_differs_from_run_to_run(tmp_path):
    """The control: what the test above would show if modes were not kept apart."""
    runs = [train(tmp_path, jittery_cartpole, mode="async", workers=3, steps=4000, seed=5) for _ in range(2)]
    assert bits(runs[0].folder) != bits(runs[1].folder)


# 4. Going on after a stop.

RESUMED = {
    "CartPole-v1": (4000, {}),
    "HalfCheetah-v5": (2400, {"normalize_observations": True}),
    "LSTM": (2000, {"recurrent": 16, "envs_per_worker": 2}),
}


@pytest.mark.parametrize("what", ["CartPole-v1", pytest.param("HalfCheetah-v5", marks=pytest.mark.slow), "LSTM"])
def test_resume_in_sync_continues_with_the_same_bits(tmp_path, what):
    steps, options = RESUMED[what]
    env = "CartPole-v1" if what == "LSTM" else what
    settings = {"mode": "sync", "workers": 2, "seed": 7, "anneal": "constant", **options}
    whole = train(tmp_path, env, steps=2 * steps, **settings)
    half = train(tmp_path, env, steps=steps, **settings)
    assert bits(half.folder) != bits(whole.folder)
    second = resume(half.folder, steps=2 * steps)
    assert second.notes == []
    assert second.summary["steps"] == 2 * steps
    assert bits(half.folder) == bits(whole.folder)
    assert figures(second) == figures(whole)


@pytest.mark.slow
def test_an_interrupted_run_continues_with_the_same_bits_even_while_the_learning_rate_falls(tmp_path):
    settings = {"mode": "sync", "workers": 2, "seed": 8, "steps": 12_000}
    whole = train(tmp_path, jittery_cartpole, **settings)

    def stop_it(run: Run) -> None:
        wait_for(lambda: run.launcher is not None and sum(run.column("steps")) > 1500)
        interrupt(run)

    with patience():
        first = train(tmp_path, jittery_cartpole, stop_it, **settings)
    assert first.result is not None
    assert first.result.status == "interrupted"
    assert 1500 < first.summary["steps"] < 12_000
    second = resume(first.folder, env=jittery_cartpole)
    # Jitter has a clock of its own, which is no state: the environment below it is what must go on.
    assert second.summary["steps"] == 12_000
    assert bits(first.folder) == bits(whole.folder)
    assert figures(second) == figures(whole)


def test_a_run_says_what_could_not_be_restored(tmp_path):
    run = train(tmp_path, Unsavable, mode="sync", workers=2, steps=400)
    second = resume(run.folder, env=Unsavable, steps=800)
    assert second.summary["steps"] == 800
    assert len([note for note in second.notes if "could not be restored" in note and "handle" in note]) == 2, second.notes
    second.check_books(20)


def test_a_missing_part_of_a_worker_is_said(tmp_path):
    def kill_at_the_end(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        original = launcher.save_workers

        def save_without_worker_1(steps: int, seconds: float = 60.0) -> None:
            os.kill(run.pids()[1], signal.SIGSTOP)  # it never gets to write its part, and is replaced
            board = launcher._ground.board
            board.set_order(COMMAND, steps)
            launcher._ground.parking.wake_all()
            wait_for(lambda: board.stands(0, OBEYED) >= steps)  # however long the disk takes
            original(steps, 0.5)

        launcher.save_workers = save_without_worker_1

    run = train(tmp_path, "CartPole-v1", kill_at_the_end, mode="sync", workers=2, steps=2000)
    assert any("did not save its state in time" in note for note in run.notes), run.notes
    assert any("lacks the episodes of worker 1" in note for note in run.notes), run.notes
    second = resume(run.folder, steps=4000)
    assert [note for note in second.notes if "worker 1 had no saved state" in note]
    assert second.summary["steps"] == 4000


class Unsavable(CountingEnv):
    """Keeps something that no checkpoint can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.handle = open(os.devnull)  # noqa: SIM115


# 5. Changing the mode while running.


def test_the_mode_changes_while_running(tmp_path):
    schedule = "async@0,sync@3000,pipelined@6000,bounded:2@9000,async@12000"
    versions: list[int] = []

    def watch(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.epoch_runs)
        while not launcher._ground.board.order(8):
            versions.append(launcher.version())
            time.sleep(0.001)

    run = train(tmp_path, jittery_cartpole, watch, mode=schedule, workers=3, steps=15_000, checkpoint_every=2000, t_max=10)
    run.check_books(10)
    assert 15_000 <= run.summary["steps"] < 15_000 + 3 * 10
    assert versions == sorted(versions)
    assert len(set(versions)) > 20
    assert newest(run.folder).name == f"step-{run.summary['steps']}"
    # Rounds modes made a third of the steps per update that the others did; each epoch of them is counted once.
    in_place = sum(run.column("updates"))
    rounds = sum(run.column("rounds"))
    assert run.summary["updates"] == in_place + (rounds - in_place) / 3


def test_observations_are_normalised_through_changes_of_the_mode(tmp_path):
    options = {"workers": 2, "steps": 2400, "normalize_observations": True}
    run = train(tmp_path, jittery_cheetah, mode="sync@0,async@800,pipelined@1600", **options)
    run.check_books(20)
    assert sum(run.column("observation_count")) == run.summary["steps"]


def test_jitter_really_delays():
    environment = Jitter(gymnasium.make("CartPole-v1"), 0.01, 1.0)
    environment.reset(seed=0)
    began = time.monotonic()
    for _ in range(8):
        environment.step(0)
    assert time.monotonic() - began > 0.005
