"""SIGKILL of any worker at any time, in any mode: the others go on, the worker is replaced, the books are exact."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Run, check_nothing_left, interrupt, jittery_cartpole, kill, patience, train, wait_for

from asyncrl.scheduler.board import PHASE, PHASES, STOP

MODES = ["sync", "pipelined", "bounded:1", "async"]


class Killer:
    """Kills random workers at random instants, until it has killed so many; notes in which phase they were."""

    def __init__(self, kills: int, pause: float = 0.05, seed: int = 0):
        self._generator = np.random.default_rng(seed)
        self._kills, self._pause = kills, pause
        self._killed: set[int] = set()
        self.phases: dict[str, int] = {}
        self.done = 0

    def __call__(self, run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        board = launcher._ground.board
        wait_for(lambda: launcher.epoch_runs)
        while self.done < self._kills and not board.order(STOP):
            time.sleep(self._generator.exponential(self._pause))
            pids = {worker: pid for worker, pid in run.pids().items() if pid not in self._killed}
            if pids:
                working = [worker for worker in pids if launcher.slots[worker].granted]
                victims = working if self._generator.random() < 0.8 else list(pids)
                if not victims:
                    continue
                worker = int(self._generator.choice(victims))
                self._killed.add(pids[worker])
                phase = PHASES[board.stands(worker, PHASE)] if launcher.slots[worker].granted else "starting"
                kill(pids[worker])
                self.phases[phase] = self.phases.get(phase, 0) + 1
                self.done += 1



def killed_run(folder: Path, mode: str, kills: int, env: Any = jittery_cartpole, **options: Any) -> tuple[Run, Killer]:
    killer = Killer(kills, seed=len(mode))
    settings = {"workers": 3, "t_max": 10, "max_failures": 1000, "checkpoint_every": 1000, **options}
    run = train(folder, env, killer, mode=mode, **settings)
    return run, killer


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.parametrize("mode", ["sync", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("pipelined", "bounded:1", "async"))])
def test_a_run_survives_random_kills_with_exact_books(tmp_path, mode):
    shared = set(os.listdir("/dev/shm"))
    run, killer = killed_run(tmp_path, mode, 12, steps=30_000)
    print(f"{mode}: {killer.done} kills, {killer.phases}, {run.summary['restarts']} restarts, {run.summary['seconds']:.1f} s")
    assert killer.done == 12
    assert 11 <= run.summary["restarts"] <= 12  # the last may come when all is done
    run.check_books(10)
    assert run.summary["status"] == "completed"
    assert run.summary["steps"] >= 30_000
    check_nothing_left(shared)


@pytest.mark.stress
@pytest.mark.parametrize("mode", MODES)
def test_the_others_go_on_within_a_second_and_the_dead_is_replaced(tmp_path, mode):
    gaps, replacements = [], []
    held = tmp_path / "held"

    def make() -> Any:
        while held.exists():
            time.sleep(0.01)
        return jittery_cartpole()

    def kill_and_measure(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.epoch_runs and launcher._ground.ledger.total("steps") > 500)
        for kills, victim in enumerate((0, 1, 0, 1)):
            if kills % 2:
                held.touch()  # no successor comes before the others have gone on: they do not need it
            pid = wait_for(lambda victim=victim: run.pids().get(victim) if launcher.slots[victim].granted else None)
            kill(pid)
            killed = time.monotonic()
            wait_for(lambda victim=victim: not launcher.slots[victim].granted)
            before = run.column("rounds")[1 - victim]
            # More rounds than were under way, or than a bound of 1 lets it be ahead.
            wait_for(lambda victim=victim, before=before: run.column("rounds")[1 - victim] >= before + 5)
            gaps.append(time.monotonic() - killed)
            held.unlink(missing_ok=True)
            own = run.column("rounds")[victim]
            wait_for(lambda victim=victim, own=own: launcher.slots[victim].granted and run.column("rounds")[victim] > own)
            if not kills % 2:
                replacements.append(time.monotonic() - killed)
        interrupt(run)

    with patience():
        run = train(tmp_path / "runs", make, kill_and_measure, mode=mode, workers=2, steps=10_000_000, t_max=10)
    print(f"{mode}: others went on after {max(gaps):.3f} s at most, replaced and a round done after {np.round(replacements, 2)} s")
    assert np.median(gaps) < 1.0
    assert min(replacements) < 2.0  # the promise of 1 s holds where the cores are not shared with other tests
    assert run.summary["restarts"] == 4
    run.check_books(10)


@pytest.mark.stress
@pytest.mark.parametrize("mode", ["pipelined", "bounded:1"])
def test_all_workers_killed_at_once(tmp_path, mode):
    def kill_all(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        for mark in (300, 1200):
            wait_for(lambda mark=mark: launcher.epoch_runs and launcher._ground.ledger.total("steps") > mark)
            before = sum(slot.restarts for slot in launcher.slots)
            victims = list(run.pids().values())
            for pid in victims:
                kill(pid)
            killed.append(len(victims))
            wait_for(lambda before=before: sum(slot.restarts for slot in launcher.slots) >= before + killed[-1])
        mark = launcher._ground.ledger.total("steps") + 1000
        wait_for(lambda: launcher._ground.ledger.total("steps") > mark)
        interrupt(run)

    killed: list[int] = []
    with patience():
        run = train(tmp_path, jittery_cartpole, kill_all, mode=mode, workers=3, steps=10**9, t_max=10)
    assert killed[0] == 3
    assert run.summary["restarts"] == sum(killed) >= 5
    run.check_books(10)


@pytest.mark.stress
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_before_the_first_round(tmp_path, workers):
    """While they are built, and between being built and being told to go."""

    def kill_early(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        kill(wait_for(lambda: run.pids().get(0)))
        kill(wait_for(lambda: run.pids().get(0) if launcher.slots[0].generation == 2 and launcher.slots[0].granted else None))

    run = train(tmp_path, "CartPole-v1", kill_early, mode="sync", workers=workers, steps=1000)
    assert 1 <= run.summary["restarts"] <= 2
    assert run.summary["steps"] >= 1000
    run.check_books(20)


@pytest.mark.stress
@pytest.mark.parametrize("mode", ["pipelined", "bounded:1"])
def test_killed_at_the_gate_and_while_saving(tmp_path, mode):
    """A successor neither passes for its predecessor at the gate, nor writes into a checkpoint that is sealed already."""
    killed = []

    def kill_at_the_gate(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        board = launcher._ground.board
        wait_for(lambda: launcher.epoch_runs)
        phases = [PHASES.index(name) for name in ("at the gate", "saving")]
        while not board.order(STOP) and len(killed) < 8:
            for worker, pid in run.pids().items():
                if launcher.slots[worker].granted and board.stands(worker, PHASE) in phases:
                    kill(pid)
                    killed.append(PHASES[board.stands(worker, PHASE)])
                    time.sleep(0.1)
            time.sleep(0.0005)
        interrupt(run)

    options = {"checkpoint_every": 200, "max_failures": 1000, "keep_checkpoints": 1000, "t_max": 10}
    run = train(tmp_path, jittery_cartpole, kill_at_the_gate, mode=mode, workers=3, steps=10**6, **options)
    print(mode, killed)
    assert len(killed) >= 8
    run.check_books(10)
    from asyncrl.store.checkpoint import check

    for folder in (run.folder / "checkpoints").iterdir():
        assert {path.name for path in folder.iterdir()} == {*check(folder)["files"], "done"}


def test_nothing_is_left_in_memory_or_among_processes_after_a_killed_run(tmp_path):
    """The same from outside: a program of its own, whose workers are killed, leaves nothing."""
    script = tmp_path / "program.py"
    script.write_text(
        "import asyncrl, os, pathlib, psutil, signal, threading, time\n"
        "def kill():\n"
        f"    while not any(one.stat().st_size for one in pathlib.Path({str(tmp_path)!r}).glob('*/metrics.jsonl')):\n"
        "        time.sleep(0.1)\n"
        "    for one in psutil.Process().children(recursive=True):\n"
        "        if one.ppid() != psutil.Process().pid:\n"
        "            one.kill()\n"
        "    time.sleep(2.0)\n"  # they are replaced, and work
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=kill, daemon=True).start()\n"
        "settings = {'workers': 2, 'steps': 10**9, 'report_seconds': 0.2, 'quiet': True}\n"
        f"r = asyncrl.train('a3c', 'CartPole-v1', runs={str(tmp_path)!r}, **settings)\n"
        "print(r.summary['restarts'], r.status)\n"
    )
    shared = set(os.listdir("/dev/shm"))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    check_nothing_left(shared)
    restarts, status = done.stdout.split()
    assert int(restarts) >= 2
    assert status == "interrupted"


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
def test_250_kills_a_mode(tmp_path, mode):
    killer = Killer(250, pause=0.1, seed=1)
    options = {"max_failures": 1_000_000, "checkpoint_every": 5000, "t_max": 10}

    def kill_then_stop(run: Run) -> None:
        killer(run)
        time.sleep(1.0)
        os.kill(os.getpid(), 2)

    run = train(tmp_path, jittery_cartpole, kill_then_stop, mode=mode, workers=4, steps=10**9, **options)
    print(f"{mode}: {killer.done} kills, {killer.phases}, {run.summary['restarts']} restarts, {run.summary['seconds']:.1f} s")
    assert killer.done == 250
    assert 249 <= run.summary["restarts"] <= 250
    run.check_books(10)
