"""Runs of the real thing for the tests: what the launcher did, what the run said, what it left behind."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
import pytest

import asyncrl
from asyncrl.errors import AsyncrlError
from asyncrl.experiment.experiment import Result
from asyncrl.launcher import Launcher
from asyncrl.session import session
from asyncrl.session.reports import Reports
from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.shared.parking import Parking
from asyncrl.store.checkpoint import newest, read_part

parkings: list[Parking] = []
"""Those of topologies that a test has made by itself: their pipes are open until they are closed."""


@pytest.fixture
def files_are_closed() -> Iterator[None]:
    """The pipes of `parkings`, and shared memory, which is open as long as an array over it lives."""
    yield
    for parking in parkings:
        parking.close()
    parkings.clear()
    gc.collect()


@dataclass
class Run:
    """A finished run, seen from inside."""

    result: Result | None = None
    error: AsyncrlError | None = None
    launcher: Launcher | None = None
    notes: list[str] = field(default_factory=list)
    over: bool = False

    @property
    def summary(self) -> dict[str, Any]:
        assert self.result is not None, self.error
        return self.result.summary

    @property
    def folder(self) -> Path:
        assert self.result is not None, self.error
        return self.result.folder

    def column(self, name: str) -> list[float]:
        """One number of every worker's ledger record."""
        assert self.launcher is not None
        ledger = self.launcher._ground.ledger
        return [float(one[0]) for one in ledger.column(ledger.read_all(), name)]

    def pids(self) -> dict[int, int]:
        """worker -> process, of those that have one now."""
        found = {}
        for worker, slot in enumerate(self.launcher.slots if self.launcher else []):
            process = slot.process
            try:
                if process is not None and process.pid is not None:
                    found[worker] = process.pid
            except ValueError:  # closed this instant
                continue
        return found

    def check_books(self, round_steps: int) -> None:
        """Steps, rounds, updates and versions add up; nothing is lost or counted twice; the parameters are numbers."""
        assert self.launcher is not None
        ground = self.launcher._ground
        steps, rounds = self.column("steps"), self.column("rounds")
        assert [one * round_steps for one in rounds] == steps
        assert sum(steps) == self.summary["steps"]
        applied = ground.board.applied[::WORDS_PER_LINE]
        assert len(set(applied)) == 1
        assert self.summary["updates"] == applied[0] + sum(self.column("updates"))
        assert np.isfinite(ground.parameters.vectors).all()
        saved, arrays = read_part(newest(self.folder), "run")
        assert saved["steps"] == self.summary["steps"]
        assert np.isfinite(arrays["parameters"]).all()


@contextmanager
def watched(beside: Callable[[Run], None] | None = None) -> Iterator[Run]:
    """Spy on launcher and notes; `beside(run)` runs in a thread from when the launcher is made."""
    run = Run()
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def body() -> None:
        try:
            assert beside is not None
            beside(run)
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            errors.append(error)
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)  # many a run would go on for ever without it

    def begin(launcher: Launcher, *arguments: Any) -> None:
        original_begin(launcher, *arguments)
        run.launcher = launcher
        if beside is not None:
            threads.append(threading.Thread(target=body, daemon=True))
            threads[-1].start()

    def note(reports: Reports, message: str) -> None:
        run.notes.append(message)
        original_note(reports, message)

    original_begin, original_note = Launcher.__init__, Reports.note
    Launcher.__init__, Reports.note = begin, note  # type: ignore[method-assign]
    try:
        yield run
    except KeyboardInterrupt:
        if not errors:
            raise  # somebody else's; `body`'s would else end all the tests, where the run was just starting or ending
    finally:
        over.set()
        Launcher.__init__, Reports.note = original_begin, original_note  # type: ignore[method-assign]
        for thread in threads:
            thread.join(60)  # longer than it waits for anything
    assert not errors, errors
    assert not any(thread.is_alive() for thread in threads)


def train(folder: Path, env: Any, beside: Callable[[Run], None] | None = None, algo: str = "a3c", **options: Any) -> Run:
    """`asyncrl.train(algo, ...)`, quietly; no evaluation unless asked for. Checks that no process is left."""
    settings = {"runs": str(folder), "quiet": True, "evaluation_episodes": 0, "report_seconds": 0.2, **options}
    with watched(beside) as run:
        try:
            run.result = asyncrl.train(algo, env, **settings)
        except AsyncrlError as error:
            run.error = error
        finally:
            run.over = True
    assert children() == []
    return run


def resume(folder: Path, beside: Callable[[Run], None] | None = None, **options: Any) -> Run:
    """`asyncrl.resume`, watched."""
    with watched(beside) as run:
        run.result = asyncrl.resume(folder, quiet=True, **options)
    assert children() == []
    return run


def bits(folder: Path) -> dict[str, bytes]:
    """Everything of the newest checkpoint that determines how learning goes on."""
    arrays = read_part(newest(folder), "run")[1]
    return {name: arrays[name].tobytes() for name in ("parameters", "statistics", "own_statistics", "normaliser")}


def figures(run: Run) -> dict[str, Any]:
    """What summary.json says but for what a clock or the system has measured: in a deterministic run the same to the bit."""
    timed = ("seconds", "steps_per_second", "startup_seconds", "time_share", "steps_by_worker")
    measured = (*timed, "peak_rss_mb", "env", "workers", "simulator")
    return {name: value for name, value in run.summary.items() if name not in measured}


def children(pid: int | None = None) -> list[str]:
    """Processes below this one that are not the interpreter's own servers (the fork server itself, the resource tracker)."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            server = process.ppid() == (pid or os.getpid()) and ("multiprocessing.forkserver" in line or "resource_tracker" in line)
            if process.status() != psutil.STATUS_ZOMBIE and not server:
                found.append(f"{process.pid} {line[:60]}")
        except psutil.NoSuchProcess:
            continue
    return found


def interrupt(run: Run) -> None:
    """Ctrl-C while it trains; one that comes late would end the tests themselves."""
    launcher = wait_for(lambda: run.launcher)
    wait_for(lambda: run.over or launcher.epoch_runs)
    assert not run.over, "the run ended by itself"
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def patience(seconds: float = 60.0) -> Iterator[None]:
    """Whoever interrupts waits so long for workers to finish their round: one that the machine has stopped is not left behind."""
    before, session.GATE_SECONDS = session.GATE_SECONDS, seconds
    try:
        yield
    finally:
        session.GATE_SECONDS = before


def kill(pid: int) -> None:
    """SIGKILL; one that is gone already does not matter."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_and_see(run: Run, pids: dict[int, int]) -> None:
    """SIGKILL these workers' processes, and wait until the launcher has seen it; their successors may be there by then."""
    for pid in pids.values():
        kill(pid)
    wait_for(lambda: all(run.pids().get(worker) != pid for worker, pid in pids.items()))


def kill_in_turn(run: Run, workers: Iterable[int]) -> None:
    """SIGKILL these workers' processes one after the other, each once a version was made since the one before."""
    launcher = wait_for(lambda: run.launcher)
    for worker in workers:
        before = launcher.version()
        wait_for(lambda before=before: launcher.epoch_runs and launcher.version() > before)
        pid = wait_for(lambda worker=worker: run.pids().get(worker) if launcher.slots[worker].granted else None)
        kill_and_see(run, {worker: pid})


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.002)
    raise AssertionError("it did not happen in time")


def check_nothing_left(before: set[str]) -> None:
    """Shared memory has no more than `before`, or soon will: semaphores are the resource tracker's to remove."""
    wait_for(lambda: set(os.listdir("/dev/shm")) <= before)


def command(folder: Path, *arguments: str) -> list[str]:
    """The command line of a run of ours."""
    return [sys.executable, "-m", "asyncrl", *arguments, "--runs", str(folder)]


class Jitter(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Sleeps now and then, drawn from the clock: different in every run and every worker."""

    def __init__(self, env: gymnasium.Env[Any, Any], mean_seconds: float = 0.002, share: float = 0.1):
        super().__init__(env)
        self._clock = np.random.default_rng(time.time_ns())
        self._mean_seconds, self._share = mean_seconds, share

    def step(self, action: Any) -> Any:
        if self._clock.random() < self._share:
            time.sleep(self._clock.exponential(self._mean_seconds))
        return super().step(action)


def jittery_cartpole() -> Any:
    return Jitter(gymnasium.make("CartPole-v1"))


def jittery_cheetah() -> Any:
    return Jitter(gymnasium.make("HalfCheetah-v5"))
