"""Environments are closed, and what is registered with `atexit` is done, in every process and however it ends."""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from environments import CountingEnv, Step
from gymnasium import spaces
from running import Run, interrupt, train, wait_for

import asyncrl
from asyncrl.bench.throughput import measure_limit
from asyncrl.errors import UserError
from asyncrl.processes.starting import CLOSING_SECONDS


class Simulator(CountingEnv):
    """Has a process of its own, a temporary folder and a function for the end; writes down what becomes of them.

    `wrong`: what happens where. A step hangs from the time on that a file `hang` is there and as long as it is.
    """

    def __init__(self, folder: Path, caller: int, wrong: str = "", box: bool = False) -> None:
        super().__init__(length=5)
        self.folder, self.wrong, self.of_caller = folder, wrong, os.getpid() == caller
        if box:
            self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.simulator = subprocess.Popen(["sleep", "600"])
        self.write(f"made {self.simulator.pid}")
        self.render_mode = "rgb_array"
        if not self.of_caller:
            self.temporary = tempfile.TemporaryDirectory(dir=folder)
            atexit.register(self.write, "left")

    def write(self, what: str) -> None:
        with (self.folder / "log").open("a") as log:
            log.write(f"{os.getpid()} {what}\n")

    def step(self, action: Any) -> Step:
        if self.wrong == "step" and self.total == 20 and not self.of_caller:
            raise RuntimeError("as asked")
        if (self.folder / "hang").exists() and self.wrong == "hang":
            self.write("hangs")
            while (self.folder / "hang").exists():
                time.sleep(600)
        return super().step(action)

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)

    def close(self) -> None:
        self.write(f"closed {self.simulator.pid}")
        self.simulator.kill()
        self.simulator.wait()
        if self.wrong == "close raises":
            raise RuntimeError("as asked")
        if self.wrong == "close hangs" and not self.of_caller:
            time.sleep(600)


def lines(folder: Path, word: str) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines() if line.split()[1] == word]


def check_all_closed(folder: Path, processes: int, leave: bool = True) -> None:
    """So many processes of ours made environments, all of which were closed once."""
    made, closed = lines(folder, "made"), lines(folder, "closed")
    assert Counter(map(tuple, [(pid, number) for pid, _, number in made])) == Counter((pid, number) for pid, _, number in closed)
    children = {pid for pid, *_ in made} - {str(os.getpid())}
    assert len(children) == processes
    assert not any(psutil.pid_exists(int(number)) for _, _, number in made)
    if leave:
        assert sorted(pid for pid, _ in lines(folder, "left")) == sorted(pid for pid, *_ in made if pid != str(os.getpid()))
        assert [path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("tmp")] == []


KINDS: dict[str, dict[str, Any]] = {
    "a2c": {"envs_per_worker": 2},
    "sac": {"warm_up": 16, "batch": 8, "replay": 100, "hidden": (8,)},
    "es": {"population": 4, "head": "mlp", "virtual_batch": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("algo", KINDS)
def test_at_the_end_of_a_run_and_of_evaluate_and_play(tmp_path, algo):
    caller = os.getpid()

    def make(render_mode: str | None = None) -> Simulator:
        return Simulator(tmp_path, caller, box=algo == "sac")

    run = train(tmp_path / "runs", make, algo=algo, workers=2, steps=60, evaluation_episodes=2, **KINDS[algo])
    assert run.error is None
    assert not any("close()" in note or "end" in note for note in run.notes), run.notes
    check_all_closed(tmp_path, 3)
    asyncrl.evaluate(run.folder, 1, env=make)
    asyncrl.play(run.folder, tmp_path / "film.gif", env=make)
    check_all_closed(tmp_path, 3)


def faulty(folder: Path, wrong: str) -> Any:
    caller = os.getpid()
    return lambda: Simulator(folder, caller, wrong)


def test_of_all_where_one_keeps_failing(tmp_path):
    run = train(tmp_path / "runs", faulty(tmp_path, "step"), algo="a3c", workers=2, steps=10_000, max_failures=2)
    assert "as asked" in str(run.error)
    made = {pid for pid, *_ in lines(tmp_path, "made")} - {str(os.getpid())}
    check_all_closed(tmp_path, len(made))


def test_where_a_run_is_interrupted_while_they_hang(tmp_path):
    def stop_it(run: Run) -> None:
        wait_for(lambda: run.launcher is not None and sum(run.column("steps")) > 100)
        (tmp_path / "hang").touch()
        wait_for(lambda: len(lines(tmp_path, "hangs")) == 2)
        interrupt(run)

    run = train(tmp_path / "runs", faulty(tmp_path, "hang"), stop_it, algo="a3c", workers=2, steps=10_000_000)
    assert run.result is not None
    assert run.result.status == "interrupted"
    check_all_closed(tmp_path, 2)


def test_of_who_hangs_and_is_replaced(tmp_path):
    def wait_for_another(run: Run) -> None:
        wait_for(lambda: run.launcher is not None and sum(run.column("steps")) > 100)
        (tmp_path / "hang").touch()
        wait_for(lambda: lines(tmp_path, "hangs"))
        wait_for(lambda: lines(tmp_path, "left"))
        (tmp_path / "hang").unlink()
        wait_for(lambda: any(slot.restarts and slot.granted for slot in run.launcher.slots), 60)  # type: ignore[union-attr]
        interrupt(run)

    settings = {"hang_seconds": 2.0, "replace_hung": True, "workers": 1, "steps": 10_000_000}
    run = train(tmp_path / "runs", faulty(tmp_path, "hang"), wait_for_another, algo="a3c", **settings)
    assert any("was killed (signal 9); it is being replaced" in note for note in run.notes), run.notes
    check_all_closed(tmp_path, len({pid for pid, *_ in lines(tmp_path, "made")}) - 1)


def test_a_close_that_raises_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"close\(\) of environment Simulator raised RuntimeError: as asked"):
        run = train(tmp_path / "runs", faulty(tmp_path, "close raises"), algo="a2c", workers=2, steps=60)
    assert run.result is not None
    assert [note for note in run.notes if "close()" in note] == ["close() of environment Simulator raised RuntimeError: as asked"] * 2
    check_all_closed(tmp_path, 2)


def test_a_close_that_hangs_is_told_and_does_not_hold_up_the_end(tmp_path):
    run = train(tmp_path / "runs", faulty(tmp_path, "close hangs"), algo="a2c", workers=2, steps=60)
    assert run.result is not None
    said = f"close() of environment Simulator did not end within {CLOSING_SECONDS:g} s; its process was ended"
    assert [note for note in run.notes if "close()" in note] == [said] * 2
    check_all_closed(tmp_path, 2, leave=False)


def test_of_what_measures_the_limit_and_of_what_cannot_be_used(tmp_path):
    measure_limit(faulty(tmp_path, ""), 1, 0.1)
    check_all_closed(tmp_path, 1)
    caller = os.getpid()

    class Unusable(Simulator):
        def __init__(self) -> None:
            super().__init__(tmp_path, caller)
            self.observation_space = spaces.Graph(spaces.Discrete(2), spaces.Discrete(2))

    with pytest.raises(UserError, match="no fixed size"):
        asyncrl.train("a2c", Unusable, runs=str(tmp_path / "runs"))
    check_all_closed(tmp_path, 1)
