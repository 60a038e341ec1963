"""Processes that start processes: environments of workers, and runs within the standard library's pools."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from environments import CountingEnv
from running import kill, train, wait_for

import asyncrl
from asyncrl.processes import starting as processes
from asyncrl.topologies import run_context

TESTS = str(Path(__file__).parent)


class Simulated(CountingEnv):
    """Its rewards come from a process of its own, started by `multiprocessing`, with a queue between."""

    def __init__(self, method: str) -> None:
        super().__init__()
        context = multiprocessing.get_context(method)
        self.requests, self.rewards = context.Queue(), context.Queue()
        self.process = context.Process(target=simulate, args=(self.requests, self.rewards), daemon=True)
        self.process.start()

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        self.requests.put(int(action))
        return observation, self.rewards.get(timeout=60), terminated, truncated, info

    def close(self) -> None:
        self.requests.put(None)
        self.process.join()


def simulate(requests: Any, rewards: Any) -> None:
    while (action := requests.get(timeout=60)) is not None:  # whoever asks may have been killed
        rewards.put(2.0 + action * 0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_environments_may_start_processes(tmp_path, method):
    run = train(tmp_path, lambda: Simulated(method), workers=1, steps=40, evaluation_episodes=1)
    assert run.summary["status"] == "completed"
    assert run.summary["evaluation_return"] == 20.0


def trial(folder: str, seed: int) -> tuple[str, float]:
    done = asyncrl.train("a2c", "CartPole-v1", steps=100, workers=1, seed=seed, quiet=True, runs=folder, name=f"seed{seed}")
    return done.status, done.summary["evaluation_return"]


def sweep(folder: str, how: str) -> list[tuple[str, float]]:
    """The main process of a program of its own."""
    if how == "executor":
        with ProcessPoolExecutor(2) as executor:
            return list(executor.map(trial, [folder] * 2, (3, 4)))
    before = [trial(folder, 1)]
    with multiprocessing.Pool(2) as pool:
        return before + pool.starmap(trial, [(folder, seed) for seed in (3, 4)]) + [trial(folder, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [pytest.param("executor", marks=pytest.mark.slow), "pool after training"])
def test_runs_within_pools(tmp_path, how):
    """A pool's processes are forked, daemons, and inherit a fork server that is not theirs where their parent has trained."""
    code = f"from test_nested import sweep; print(sweep({str(tmp_path)!r}, {how!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    results = eval(done.stdout)
    assert [status for status, _ in results] == ["completed"] * (2 if how == "executor" else 4)
    mine = trial(str(tmp_path / "mine"), 3)
    assert results[0 if how == "executor" else 1] == mine  # the same bits
    wait_for(lambda: not servers_of(str(tmp_path)))


def servers_of(folder: str) -> list[int]:
    """Processes whose main process was given this folder and is gone."""
    return [one.pid for one in psutil.process_iter(["cmdline"]) if folder in " ".join(one.info["cmdline"] or []) and one.pid != os.getpid()]


def start_and_wait(connection: Any) -> None:
    process, ours = processes.start(run_context(), wait_long, "asyncrl-left", ())
    assert ours.recv() == "going"
    connection.send(process.pid)
    time.sleep(300)


def wait_long(connection: Any) -> None:
    processes.settle_in(None)
    connection.send("going")
    time.sleep(300)


def test_what_a_forked_process_has_started_ends_with_it():
    """And with it alone: the fork server that it inherited is its parent's."""
    process, connection = processes.start(run_context(), wait_long, "asyncrl-parents", ())
    assert connection.recv() == "going"
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=start_and_wait, args=(theirs,), daemon=True)
    child.start()
    assert ours.poll(60)
    left = psutil.Process(ours.recv())
    assert left.ppid() != psutil.Process(process.pid).ppid()
    kill(child.pid)
    child.join(30)
    psutil.wait_procs([left], 20)
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
    assert process.is_alive()
    process.kill()
    process.join(30)
