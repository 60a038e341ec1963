"""An environment can ask which process it is in."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from running import train

import asyncrl


class Telling(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Writes down who makes it."""

    def __init__(self, folder: str) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        me = asyncrl.worker()
        told = {"role": me.role, "index": me.index, "workers": me.workers, "generation": me.generation}
        (Path(folder) / f"{os.getpid()}-{time.monotonic_ns()}").write_text(json.dumps(told))


def told(folder: Path) -> set[tuple[Any, ...]]:
    return {tuple(json.loads(one.read_text()).values()) for one in folder.iterdir()}


@pytest.mark.parametrize("algo", ["a3c", "impala", "es"])
def test_every_process_knows_itself(tmp_path, algo):
    folder = tmp_path / "told"
    folder.mkdir()
    path = str(folder)
    train(tmp_path / "runs", lambda: Telling(path), algo=algo, workers=2, steps=1300, evaluation_episodes=1, mode="sync")
    workers = {("worker", 0, 2, 0), ("worker", 1, 2, 0)}
    assert told(folder) == {("main", None, 0, 0), ("evaluator", None, 2, 0)} | workers
    assert asyncrl.worker().role == "main"


def test_a_successor_has_the_place_and_the_next_generation(tmp_path):
    folder = tmp_path / "told"
    folder.mkdir()
    path, killed = str(folder), []

    def kill(run: Any) -> None:
        while not killed:
            pid = run.pids().get(1) if run.launcher is not None else None
            if pid and run.launcher.slots[1].granted:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.02)

    train(tmp_path / "runs", lambda: Telling(path), kill, algo="a3c", workers=2, steps=60_000, evaluation_episodes=0)
    assert killed and ("worker", 1, 2, 1) in told(folder) and ("worker", 0, 2, 1) not in told(folder)
