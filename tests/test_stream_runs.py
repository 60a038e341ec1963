"""Actors -> rings -> learner as whole runs: IMPALA and what learns from a replay."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from running import Jitter, Run, figures, interrupt, kill_and_see, patience, resume, train, wait_for

import asyncrl
from asyncrl.algos.impala import ImpalaOptions
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment, usable_cores
from asyncrl.shared.arrays import SharedArrays
from asyncrl.store.checkpoint import newest, read_part
from asyncrl.topologies import topology_of
from asyncrl.topologies.streams.topology import StreamTopology

TINY = {
    "impala": {"t_max": 10, "envs_per_worker": 2},
    "ppo": {"t_max": 20, "minibatch": 16, "epochs": 3},
    "td3": {"hidden": (16, 16), "batch": 16, "warm_up": 40, "replay": 1000},
}
ENVIRONMENTS = {"impala": "CartPole-v1", "ppo": "CartPole-v1", "td3": "Pendulum-v1"}
ANNEALED = {"impala": "epsilon:0.1@1000", "ppo": "epsilon:0.1@1000", "td3": "gaussian:0.1+epsilon:0.1@1000"}
SOME = [pytest.param(algo, marks=[] if algo != "ppo" else pytest.mark.slow) for algo in TINY]
"""`ppo` is `impala`'s kind of stream, with shuffled minibatches, of which test_ppo.py tells."""
OTHERS = {"npg": {"t_max": 10}, "ddpg": TINY["td3"], "sac": TINY["td3"]}
"""Of these only what is refused is looked at here."""


def stream(folder: Path, algo: str, beside: Any = None, env: Any = None, **options: Any) -> Run:
    settings = {"workers": 2, "mode": "sync", **{**TINY, **OTHERS}[algo], **options}
    run = train(folder, env or ENVIRONMENTS.get(algo, "Pendulum-v1"), beside, algo=algo, **settings)
    if run.error is None:
        check_books(run)
    return run


def check_books(run: Run) -> None:
    """What the learner has taken is what actors have published, up to what died on its way."""
    taken = int(learner_part(run)["own/steps"][0])
    assert taken <= sum(run.column("steps")) == run.summary["steps"]
    per_unit = sum(run.column("steps")[:-1]) / max(sum(run.column("rounds")[:-1]), 1)
    assert sum(run.column("steps")) - taken <= run.summary["restarts"] * per_unit
    assert run.column("lag_count")[-1] * per_unit == taken


def learner_part(run: Run) -> dict[str, Any]:
    return read_part(newest(run.folder), "learner")[1]


def learned(run: Run) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in learner_part(run).items()}


def jittery(env: str) -> Any:
    return lambda: Jitter(gymnasium.make(env), 0.002, 0.05)


@pytest.mark.parametrize("algo", SOME)
def test_sync_and_pipelined_give_the_same_bits_however_actors_are_timed(tmp_path, algo):
    for mode in ("sync", "pipelined"):
        one = stream(tmp_path, algo, mode=mode, steps=400, explore=ANNEALED[algo])
        two = stream(tmp_path, algo, mode=mode, steps=400, explore=ANNEALED[algo], env=jittery(ENVIRONMENTS[algo]))
        assert learned(one) == learned(two)
        assert one.summary["lag"]["max"] == (mode == "pipelined")
        assert one.summary["steps"] == 400 + (mode == "pipelined") * one.summary["steps"] // one.column("rounds")[-1], "no round too many"
    assert learned(one) != learned(stream(tmp_path, algo, mode="pipelined", steps=400, explore=ANNEALED[algo], seed=1))


@pytest.mark.parametrize("algo", SOME)
def test_bounded_keeps_its_bound(tmp_path, algo):
    run = stream(tmp_path, algo, mode="bounded:2", workers=3, steps=600, env=jittery(ENVIRONMENTS[algo]))
    assert 0 < run.summary["lag"]["max"] <= 2


def test_a_schedule_of_modes_goes_through(tmp_path):
    run = stream(tmp_path, "impala", mode="async@0,sync@1000,pipelined@2000,async@3000", steps=4000)
    assert run.summary["status"] == "completed"


@pytest.mark.parametrize("algo", TINY)
def test_a_resumed_run_continues_with_the_same_bits(tmp_path, algo):
    settings = {} if algo == "td3" else {"anneal": "constant"}
    whole = stream(tmp_path, algo, steps=800, **settings)
    half = stream(tmp_path, algo, steps=400, **settings)
    second = resume(half.folder, steps=800)
    ours, theirs = learned(second), learned(whole)
    if algo == "td3":  # the prioritised exponent follows the planned length, which differs, but nothing uses it
        assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert figures(second) == figures(whole)


@pytest.mark.parametrize("mode", [pytest.param("sync", marks=pytest.mark.slow), "pipelined"])
def test_what_is_told_does_not_depend_on_when_it_is_collected(tmp_path, mode):
    one, other = (stream(tmp_path, "impala", mode=mode, steps=6000, report_seconds=every, workers=3) for every in (0.02, 5.0))
    assert learned(one) == learned(other)
    assert figures(one) == figures(other)


@pytest.mark.stress
@pytest.mark.parametrize(
    ("algo", "mode"),
    [
        ("impala", "async"),
        ("td3", "sync"),
        *(pytest.param(algo, mode, marks=pytest.mark.slow) for algo, mode in (("impala", "sync"), ("td3", "async"))),
    ],
)
def test_a_run_survives_the_death_of_actors(tmp_path, algo, mode):
    def kill_some(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        for turn in range(5):
            worker = turn % 2
            before = launcher.version()
            wait_for(lambda before=before: launcher.epoch_runs and launcher.version() > before + 3)
            kill_and_see(run, {worker: wait_for(lambda worker=worker: run.pids().get(worker) if launcher.slots[worker].granted else None)})
        before = launcher.version()
        wait_for(lambda: launcher.epoch_runs and launcher.version() > before + 300)
        interrupt(run)

    settings = {"mode": mode, "steps": 10**6, "max_failures": 100}
    with patience():
        run = stream(tmp_path, algo, kill_some, env=jittery(ENVIRONMENTS[algo]), **settings)
    assert run.summary["status"] == "interrupted"
    assert run.summary["restarts"] == 5
    if algo == "td3":
        check_replay(learner_part(run))


def check_replay(arrays: dict[str, Any]) -> None:
    """Every transition in it is whole: pendulum's observations lie on the circle, and its rewards are in their range."""
    rows = arrays["replay/rows"]
    assert len(rows) > 100
    floats = np.ascontiguousarray(rows).view(np.float32)
    on_circle = np.isclose(floats[:, :-2] ** 2 + floats[:, 1:-1] ** 2, 1.0, atol=1e-4)
    assert (on_circle.sum(axis=1) >= 2).all(), "observation and successor"
    assert np.isfinite(floats).all()


LONG = {"impala": 2400, "ppo": 2400, "td3": 1000}
"""Steps in which a few learners can be killed, one after the other."""


def killer(victims: list[list[int]], apart: int = 5) -> Any:
    """Kills these workers (2 is the learner), some at a time, each time after so many versions more."""

    def beside(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        for workers in victims:
            before = launcher.version()
            wait_for(lambda before=before: run.over or (launcher.epoch_runs and launcher.version() > before + apart))
            assert not run.over, "it was too short"
            pids = wait_for(lambda: run.pids() if all(slot.granted for slot in launcher.slots) else None)
            kill_and_see(run, {worker: pids[worker] for worker in workers})

    return beside


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "pipelined"])
@pytest.mark.parametrize("algo", TINY)
def test_a_run_whose_learner_is_killed_gives_the_same_bits(tmp_path, algo, mode):
    settings = {"mode": mode, "steps": LONG[algo], "explore": ANNEALED[algo], "max_failures": 100}
    whole = stream(tmp_path, algo, **settings)
    run = stream(tmp_path, algo, killer([[2]] * 2), env=jittery(ENVIRONMENTS[algo]), **settings)
    assert run.error is None
    assert run.summary["status"] == "completed"
    assert run.summary["restarts"] == 2
    assert learned(run) == learned(whole)
    assert run.summary["updates"] == whole.summary["updates"]


class SlowWhile(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes 20 ms a step while a file exists, so that a run whose mode waits for nobody is not over before a successor is there."""

    def __init__(self, env: gymnasium.Env[Any, Any], file: str):
        super().__init__(env)
        self._file = file

    def step(self, action: Any) -> Any:
        if os.path.exists(self._file):
            time.sleep(0.02)
        return super().step(action)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.parametrize(
    ("algo", "mode"),
    [
        *(pytest.param(algo, mode, marks=pytest.mark.slow) for algo, mode in (("impala", "bounded:2"), ("td3", "async"))),
        *(("impala", "async"), ("td3", "sync")),
    ],
)
def test_a_run_survives_the_death_of_its_learner_and_of_everybody(tmp_path, algo, mode):
    settings = {"mode": mode, "steps": LONG[algo], "max_failures": 100, "checkpoint_every": LONG[algo] // 4}
    slow = tmp_path / "slow"
    slow.touch()

    def kill_all_in_turn(run: Run) -> None:
        try:
            killer([[2], [0, 1, 2], [2, 0], [2]])(run)
        finally:
            slow.unlink()

    run = stream(tmp_path / "runs", algo, kill_all_in_turn, env=lambda: SlowWhile(jittery(ENVIRONMENTS[algo])(), str(slow)), **settings)
    assert run.error is None
    assert run.summary["status"] == "completed"
    assert run.summary["restarts"] == 7
    if algo == "td3":
        check_replay(learner_part(run))
        assert run.summary["updates"] == int(learner_part(run)["own/steps"][0]) - 40


def test_a_learner_that_raises_is_replaced_until_it_raises_too_often(tmp_path):
    def network(spec: Any, outputs: int) -> Any:
        return Raising(spec.observation_size, outputs, str(tmp_path / "raised"))

    for always in (False, True):
        (tmp_path / "raised").write_text("0" if not always else "-1000")
        run = stream(tmp_path / "runs", "impala", steps=2000, network_function=network)
        assert ("the learner" in str(run.error) and "(2 times)" in str(run.error)) == always
        assert any("the learner" in note and "it had enough" in note and "being replaced" in note for note in run.notes)
        folder = max((tmp_path / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
        assert newest(folder, "learner") == newest(folder), "what was learned before is not lost"


class Raising(torch.nn.Module):
    """Raises in the learner, which alone has gradients: at the tenth time, or below 0 every time from the tenth on."""

    def __init__(self, inputs: int, outputs: int, file: str):
        super().__init__()
        self.policy, self.value, self.file, self.calls = torch.nn.Linear(inputs, outputs), torch.nn.Linear(inputs, 1), Path(file), 0

    def forward(self, x: Any) -> Any:
        if torch.is_grad_enabled() and x.dim() == 2 and len(x) > 2:
            self.calls += 1
            raised = int(self.file.read_text())
            if raised <= 0 and self.calls >= 10:
                self.file.write_text(str(raised + 1))
                raise RuntimeError("it had enough")
        return self.policy(x), self.value(x).squeeze(-1)


def test_a_run_that_fails_keeps_what_its_learner_knew(tmp_path):
    run = stream(tmp_path, "impala", steps=10**6, env=lambda: Breaks(gymnasium.make("CartPole-v1")))
    assert "it is broken" in str(run.error)
    folder = next(tmp_path.iterdir())
    part = read_part(newest(folder, "learner"), "learner")
    assert newest(folder, "learner") == newest(folder)
    assert 0 < part[0]["steps"] <= read_part(newest(folder), "run")[0]["steps"]
    second = resume(folder, steps=read_part(newest(folder), "run")[0]["steps"] + 400, env=lambda: gymnasium.make("CartPole-v1"))
    assert second.summary["status"] == "completed"
    with pytest.raises(UserError, match="can be evaluated, not gone on from"):
        newest(folder, "nobody")


class Breaks(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Raises at the 300th step."""

    steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 300:
            raise RuntimeError("it is broken")
        return super().step(action)


@pytest.mark.parametrize(
    ("algo", "settings", "line"),
    [
        ("td3", {"env": "CartPole-v1"}, "td3 needs Box actions, this environment's are Discrete (algorithms that fit: a3c,"),
        ("td3", {"head": "gaussian"}, "head 'gaussian' cannot be used with td3 (allowed: auto, deterministic, savo, "),
        ("impala", {"env": "Pendulum-v1", "head": "squashed"}, "head 'squashed' cannot be used with impala (it is that of sac)"),
        ("td3", {"recurrent": 8}, "recurrent = 8 cannot be used with td3"),
        ("td3", {"trunk": "shared"}, "trunk = shared cannot be used with td3 (allowed: separate)"),
        ("sac", {"initial_log_std": 1.0}, "initial_log_std = 1.0 cannot be used with sac (allowed: 0.0)"),
        ("ddpg", {"squash": True}, "squash = True cannot be used with ddpg"),
        ("td3", {"rank": 3}, "rank = 3 cannot be used with td3"),
        ("sac", {"virtual_batch": 8}, "virtual_batch = 8 cannot be used with sac"),
        ("ddpg", {"activation": "tanh"}, "activation = tanh cannot be used with ddpg (allowed: auto, relu)"),
        ("td3", {"network_function": print}, "network_function cannot be used with td3"),
        ("td3", {"replay": 10}, "smaller than a batch"),
        ("td3", {"replay": 10**12}, "bytes of memory"),
        ("td3", {"explore": "temperature:2"}, "cannot be used with td3"),
        ("impala", {"explore": "gaussian:0.1"}, "cannot be used with impala (allowed: "),
        ("impala", {"explore": "entropy:0.1"}, "cannot be used with impala"),
        ("td3", {"replay_ratio": 0.0}, "replay_ratio = 0"),
        ("td3", {"replay_ratio": float("nan")}, "replay_ratio = nan"),
        ("td3", {"replay_ratio": 0.001}, "replay_ratio = 0.001 comes to no update"),
        ("td3", {"warm_up": 100}, "warm_up = 100 leaves no update"),
        ("td3", {"learner_device": "cuda:99"}, "this machine has: cpu"),
        ("td3", {"n_step": 10**8}, "n_step = 100000000 cannot be used (allowed: whole numbers from 1 to 10,000)"),
        ("td3", {"n_step": 60, "warm_up": 0}, "n_step = 60 leaves no update in 100 steps: each of 2 environments"),
        ("td3", {"envs_per_worker": 10**6}, "envs_per_worker = 1000000 cannot be used"),
        ("td3", {"learner_threads": 100_000}, "learner_threads = 100000 cannot be used"),
        ("sac", {"learner_threads": usable_cores() + 1}, f"allowed: whole numbers from 1 to {usable_cores()}"),
        ("td3", {"steps": 10**11, "batch": 10**10, "replay": 10**10}, "batch = 10,000,000,000 needs"),
        *((algo, {"hidden": (10**6, 10**6)}, "too little memory") for algo in ("impala", "npg", "td3")),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(tmp_path, algo, settings, line):
    run = stream(tmp_path, algo, **{"steps": 100, **settings})
    assert line in str(run.error)
    assert "\n" not in str(run.error)
    assert list(tmp_path.iterdir()) == []


def last_report(run: Run, name: str) -> dict[str, float]:
    """The newest that has this figure: nothing may have been learned in the last interval."""
    reports = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [report for report in reports if name in report][-1]


def test_updates_per_step_hold_in_sync_and_async_and_figures_are_means_over_the_updates_that_have_them(tmp_path):
    for mode, ratio in (("sync", 0.25), ("async", 2.0)):
        run = stream(tmp_path, "td3", mode=mode, replay_ratio=ratio, steps=600, t_max=1)
        arrays = learner_part(run)
        updates, steps = int(arrays["updates"][0]), int(arrays["own/steps"][0])
        assert updates == run.summary["updates"] == int((steps - 40) * ratio)
        assert (run.column("q_mean_count")[-1], run.column("policy_loss_count")[-1]) == (updates, updates // 2)
        middle = (40 + steps) / 2  # of the replay's sizes, over all updates; those of the last report are at least as large
        assert run.column("replay_size_sum")[-1] / updates == pytest.approx(middle, rel=0.02)
        report = last_report(run, "learn/replay_size")
        assert middle * 0.98 < report["learn/replay_size"] <= steps
        assert steps - 300 < report["learn/age_steps_max"] <= steps  # some batch of 16 holds one of the first half


def test_a_learner_that_waits_for_slow_actors_says_so_and_lag_is_told_by_exploration(tmp_path):
    slow = lambda: Jitter(gymnasium.make("CartPole-v1"), 0.002, 1.0)  # noqa: E731
    run = stream(tmp_path, "impala", env=slow, mode="async", batch_units=4, steps=600, explore="epsilon:0.01,0.2")
    report, busy = last_report(run, "lag/mean"), {name: run.column(f"{name}_seconds")[-1] for name in ("learn", "wait")}
    assert busy["learn"] < 0.2 * busy["wait"]
    assert {name for name in report if name.startswith("lag/by_")} == {"lag/by_exploration/epsilon:0.01", "lag/by_exploration/epsilon:0.2"}
    assert run.launcher is not None
    ledger = run.launcher._ground.ledger
    sums, counts = (ledger.column(ledger.read(2), name) for name in ("lag_sums", "lag_counts"))
    assert counts.tolist() == run.column("rounds")[:2] and sums.sum() == run.column("lag_sum")[2]


def test_an_own_network_learns_by_the_general_path(tmp_path):
    def network(spec: Any, outputs: int) -> Any:
        import torch

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.policy, self.value = torch.nn.Linear(spec.observation_size, outputs), torch.nn.Linear(spec.observation_size, 1)

            def forward(self, x: Any) -> Any:
                return self.policy(x), self.value(x).squeeze(-1)

        return Net()

    run = stream(tmp_path, "impala", steps=2000, network_function=network)
    assert run.summary["return_mean_last_100"] > 15


@pytest.fixture
def made(monkeypatch):
    """The segments of shared memory that are allocated in this process meanwhile."""
    segments, allocate = [], SharedArrays.allocate

    def remembered(*arguments: Any, **named: Any) -> SharedArrays:
        segments.append(allocate(*arguments, **named))
        return segments[-1]

    monkeypatch.setattr(SharedArrays, "allocate", remembered)
    return segments


def check_given_back(segments: list[SharedArrays]) -> None:
    assert len(segments) == 2  # that of the run, and what the learner would leave to a successor
    for segment in segments:
        with pytest.raises(OSError):
            os.fstat(segment._descriptor)


def test_all_memory_of_a_run_is_given_back(made):
    topology = topology_of(Experiment("impala", "CartPole-v1", workers=1, options=ImpalaOptions(t_max=2)))
    topology.begin()
    topology.close()
    check_given_back(made)


def test_all_memory_is_given_back_where_a_run_does_not_begin(tmp_path, made, monkeypatch):
    def begin(topology: StreamTopology) -> None:
        raise UserError("the checkpoint does not fit")

    monkeypatch.setattr(StreamTopology, "begin", begin)
    with pytest.raises(UserError, match="does not fit"):
        asyncrl.train("impala", "CartPole-v1", workers=1, runs=str(tmp_path), quiet=True)
    check_given_back(made)
