"""Simulated runs: virtual workers on a virtual clock, through the same bodies, paces and modes as processes."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest
from environments import drawing_cartpole
from running import Run, figures, interrupt, jittery_cartpole, kill, resume, train, wait_for
from safetensors.numpy import load_file

from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError, WorkerFailed
from asyncrl.store.checkpoint import newest, read_part

EXPONENTIAL = "act=exponential:1.0,compute=lognormal:0.5:1,apply=constant:0.01"
REPLAY = {"warm_up": 100, "batch": 16, "replay_ratio": 0.1, "replay": 5000}
SMALL = {
    "a3c": ("CartPole-v1", {"steps": 1500}),
    "nq": ("CartPole-v1", {"steps": 1500, "target_every": 200}),
    "impala": ("CartPole-v1", {"steps": 2000}),
    "td3": ("Pendulum-v1", {"steps": 600, **REPLAY}),
    "es": ("CartPole-v1", {"steps": 1500, "population": 8}),
}
"""An algorithm of each kind of topology: environment, settings."""


def settings_of(algo: str) -> tuple[str, dict[str, Any]]:
    """Of any algorithm: those of SMALL, or of its like."""
    like = "td3" if ALGORITHMS[algo].options_type.has("replay") else "es" if ALGORITHMS[algo].searches else "a3c"
    env, settings = SMALL.get(algo, SMALL[like])
    return env, {name: value for name, value in settings.items() if name == "steps" or ALGORITHMS[algo].options_type.has(name)}


def learned(run: Run) -> dict[str, bytes]:
    """Every array of the newest checkpoint but the books, which tell of seconds, and the virtual clock, which processes have not."""
    found = {}
    for path in sorted(newest(run.folder).glob("*.safetensors")):
        for name, array in load_file(path).items():
            if name != "ledger" and not name.startswith(("tickets/", "virtual/", "ledger/")):
                found[f"{path.name} {name}"] = array.tobytes()
    return found


def simulated(folder: Path, algo: str, workers: int = 3, env: Any = None, simulate: str = EXPONENTIAL, **more: Any) -> Run:
    usual, settings = settings_of(algo)
    return train(folder, usual if env is None else env, algo=algo, workers=workers, simulate=simulate, **{**settings, **more})


@pytest.mark.parametrize("algo", SMALL)
def test_the_same_bits_twice(tmp_path, algo):
    runs = [simulated(tmp_path, algo, mode="async") for _ in range(2)]
    assert learned(runs[0]) == learned(runs[1])
    told = [figures(run) for run in runs]
    assert told[0] == told[1]
    assert told[0]["lag"]["max"] > 0  # or else nothing was asynchronous


@pytest.mark.parametrize("algo", ["a3c", "impala"])
def test_real_time_does_not_matter(tmp_path, algo):
    runs = [simulated(tmp_path, algo, env=jittery_cartpole, mode="async") for _ in range(2)]
    first, second = ({name: one for name, one in learned(run).items() if "environment" not in name} for run in runs)
    assert first == second  # but for the clock by which it sleeps, which is a part of the environment


CASES = [(algo, "sync") for algo in SMALL] + [("a3c", "pipelined"), ("es", "pipelined")]
ALL = [(algo, mode) for algo, entry in ALGORITHMS.items() for mode in ("sync", "pipelined") if mode in entry.modes]
SLOW = [case for case in ALL if case not in CASES]


@pytest.mark.parametrize(("algo", "mode"), CASES + [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW])
def test_rounds_modes_equal_processes(tmp_path, algo, mode):
    usual, settings = settings_of(algo)
    processes = train(tmp_path, usual, algo=algo, workers=3, mode=mode, **settings)
    virtual = simulated(tmp_path, algo, mode=mode)
    assert learned(virtual) == learned(processes)
    told, real = figures(virtual), figures(processes)
    for name in ("simulated_seconds", "simulated_steps_per_second", "steps_by_worker"):  # whoever is quicker does more of a search
        told.pop(name, None)
        real.pop(name, None)
    assert told == real


def test_each_virtual_worker_has_generators_of_its_own(tmp_path):
    settings = {"workers": 2, "mode": "sync", "steps": 1500}
    processes = train(tmp_path, drawing_cartpole, **settings)
    virtual = train(tmp_path, drawing_cartpole, simulate="exponential:1.0", **settings)
    assert learned(virtual) == learned(processes)


@pytest.mark.parametrize("algo", ["a3c", "impala", "es"])
def test_the_lag_is_what_the_mode_promises(tmp_path, algo):
    workers, bound = 6, 2
    assert simulated(tmp_path, algo, workers, mode="sync").summary["lag"]["max"] == 0
    pipelined = simulated(tmp_path, algo, workers, mode="pipelined").summary["lag"]
    assert pipelined["max"] == 1
    assert pipelined["p50"] == 1
    limit = (2 * bound + 1) * (workers - 1) if algo == "a3c" else bound
    bounded = simulated(tmp_path, algo, workers, mode=f"bounded:{bound}", simulate="pareto:1:1.2", steps=4000).summary["lag"]["max"]
    assert 1 < bounded <= limit


@pytest.mark.parametrize("workers", [2, 7])
def test_with_equal_times_each_update_is_as_late_as_there_are_others(tmp_path, workers):
    run = train(tmp_path, "CartPole-v1", workers=workers, mode="async", steps=5 * workers * 40, t_max=5, simulate="constant:1")
    lag = run.summary["lag"]
    assert lag["max"] == lag["p50"] == workers - 1
    first = sum(range(workers)) / workers  # all begin together
    rounds = run.summary["updates"] / workers  # whoever is on the way when the steps are reached finishes its round
    assert lag["mean"] == pytest.approx(((rounds - 1) * (workers - 1) + first) / rounds)
    assert run.summary["simulated_seconds"] == pytest.approx(rounds, abs=1)


def test_a_straggler_is_late_and_seldom(tmp_path):
    run = train(tmp_path, "CartPole-v1", workers=4, mode="async", steps=4000, t_max=5, simulate="constant:1,slow:0.25:10")
    rounds = run.column("rounds")
    assert rounds[0] == rounds[1] == rounds[2] == pytest.approx(10 * rounds[3], rel=0.05)
    assert run.summary["lag"]["max"] == 30


@pytest.mark.parametrize("algo", SMALL)
def test_a_resumed_run_goes_on_with_the_same_bits(tmp_path, algo):
    steps = SMALL[algo][1]["steps"]
    whole = simulated(tmp_path, algo, mode="async", steps=2 * steps, checkpoint_every=steps)
    half = shutil.copytree(whole.folder, tmp_path / "half")
    shutil.rmtree(newest(half))
    again = resume(half)
    assert learned(again) == learned(whole)
    assert again.summary["simulated_seconds"] == whole.summary["simulated_seconds"]


def test_more_workers_than_processes_could_be(tmp_path):
    run = train(tmp_path, "CartPole-v1", workers=256, mode="async", steps=5 * 256 * 3, t_max=5, simulate="constant:1")
    assert run.summary["lag"]["max"] == 255
    run.check_books(5)


def test_virtual_seconds_end_a_run_at_the_same_place(tmp_path):
    runs = [train(tmp_path, "CartPole-v1", workers=3, mode="async", steps=10**6, seconds=200.0, simulate=EXPONENTIAL) for _ in range(2)]
    assert learned(runs[0]) == learned(runs[1])
    assert runs[0].summary["steps"] == runs[1].summary["steps"] > 3 * 5 * 50
    assert 200 <= runs[0].summary["simulated_seconds"] < 220


def test_time_is_told_virtually(tmp_path):
    simulate = "act=constant:3,compute=constant:1,apply=constant:1"
    run = train(tmp_path, "CartPole-v1", workers=2, mode="async", steps=3000, simulate=simulate)
    assert run.summary["time_share"] == pytest.approx({"environment": 0, "act": 0.6, "learn": 0.2, "apply": 0.2, "wait": 0})
    assert run.summary["seconds"] < 60


def test_an_interrupted_run_can_be_resumed(tmp_path):
    began = 0.0

    def beside(run: Run) -> None:
        nonlocal began
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.version() > 100)
        interrupt(run)
        began = time.monotonic()

    run = train(tmp_path, "CartPole-v1", beside, workers=20, mode="async", steps=10**8, simulate=EXPONENTIAL)
    assert time.monotonic() - began < 2.0 + 1.0  # and the last checkpoint
    assert run.summary["status"] == "interrupted"
    again = resume(run.folder, steps=run.summary["steps"] + 1000)
    assert again.summary["status"] == "completed"


def test_a_kill_of_the_one_process_ends_the_run_which_can_be_resumed(tmp_path):
    def beside(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.version() > 300)
        kill(next(iter(run.pids().values())))

    run = train(tmp_path, "CartPole-v1", beside, workers=5, steps=10**8, checkpoint_every=2000, name="mine", simulate=EXPONENTIAL)
    assert isinstance(run.error, WorkerFailed)
    assert "was killed (signal 9)" in str(run.error)
    done = read_part(newest(tmp_path / "mine"), "run")[0]["steps"]
    assert done >= 2000
    assert resume(tmp_path / "mine", steps=done + 1000).summary["status"] == "completed"


class Breaks(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Its 40th step raises."""

    def __init__(self, env: Any):
        super().__init__(env)
        self._left = 40

    def step(self, action: Any) -> Any:
        self._left -= 1
        if not self._left:
            raise ValueError("a wheel has come off")
        return super().step(action)


def breaking_cartpole() -> Any:
    return Breaks(gymnasium.make("CartPole-v1"))


def test_an_exception_in_an_environment_is_told(tmp_path):
    run = train(tmp_path, breaking_cartpole, workers=5, simulate="exponential:1.0")
    assert isinstance(run.error, WorkerFailed | UserError)
    text = str(run.error)
    assert "a wheel has come off" in text
    assert "worker " in text
    assert "raise ValueError" in text


class Heavy(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps 20 megabytes of its own. So many that this machine would suffer are not made."""

    made = 0

    def __init__(self, env: Any):
        super().__init__(env)
        Heavy.made += 1
        if Heavy.made > 50:
            raise RuntimeError("nobody has looked at the memory")
        self.kept = np.ones(20_000_000, np.uint8)


def heavy_cartpole() -> Any:
    return Heavy(gymnasium.make("CartPole-v1"))


def test_more_workers_than_memory_has_room_for_end_at_once_in_one_line(tmp_path):
    """Ten of them are made. All that are asked for would take the memory of this machine twice."""
    workers = 2 * psutil.virtual_memory().total // 20_000_000
    run = train(tmp_path, heavy_cartpole, workers=workers, simulate="exponential:1.0")
    assert isinstance(run.error, UserError)
    assert re.search(rf"too little memory: a virtual worker takes about [\d,]+ bytes, {workers - 10} more need", str(run.error))


@pytest.mark.parametrize("algo", ["a3c", "td3", "es"])
def test_a_recorded_run_is_simulated_by_its_own_times(tmp_path, algo):
    usual, settings = SMALL[algo]
    settings = {**settings, "steps": 20_000 if algo == "a3c" else settings["steps"]}  # so many that both workers have a share
    real = train(tmp_path, usual, algo=algo, workers=2, mode="async", record=True, **settings)
    record = load_file(real.folder / "durations.safetensors")
    assert (record["rounds"] > 0).all()
    assert len(record["seconds"]) == (2 if algo == "a3c" else 3)
    virtual = simulated(tmp_path, algo, 2, mode="async", simulate=f"recorded:{real.folder}")
    rounds = max(virtual.column("rounds")[:2])
    longest = record["seconds"][:2].sum(axis=1).max()
    assert 0 < virtual.summary["simulated_seconds"] < rounds * longest


def test_a_simulated_run_is_not_recorded(tmp_path):
    run = train(tmp_path, "CartPole-v1", simulate="exponential:1.0", record=True)
    assert isinstance(run.error, UserError)
    assert "record" in str(run.error)
