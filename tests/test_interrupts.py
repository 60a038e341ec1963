"""Ctrl-C where Python drops it: what a handler raises in a finaliser is printed and forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numba
import numpy as np
import pytest
from running import children

import asyncrl
from asyncrl.launcher import Launcher
from asyncrl.processes import starting as processes
from asyncrl.processes.interrupts import TOGETHER_SECONDS, Interrupts, held, interruptible
from asyncrl.session import session
from asyncrl.shared.compiled import njit
from asyncrl.workers import leaving

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MAIN = os.getpid()


class Dropped:
    """Sends Ctrl-C to the process that it was made for as it goes."""

    def __init__(self, process: int) -> None:
        self._process = process

    def __del__(self) -> None:
        if os.getpid() == self._process:
            os.kill(self._process, signal.SIGINT)
            time.sleep(0)


def test_a_dropped_interrupt_is_remembered():
    with pytest.raises(KeyboardInterrupt), Interrupts(raises=True) as interrupts:
        Dropped(MAIN)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with Interrupts() as inner, pytest.raises(KeyboardInterrupt):
            inner.check()
    with Interrupts() as interrupts:
        interrupts.check()


def test_what_nobody_has_answered_is_raised_at_the_end_or_left_to_the_outer_one():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(MAIN, signal.SIGINT)
    with Interrupts() as interrupts:
        os.kill(MAIN, signal.SIGINT)
        interrupts.answered = True
    with Interrupts() as outer:
        with Interrupts():
            os.kill(MAIN, signal.SIGINT)
        assert outer.seen
        outer.answered = True


def test_nothing_is_raised_while_it_is_held_but_as_that_ends():
    done = []
    with Interrupts(raises=True) as interrupts:
        interrupts.answered = True
        with pytest.raises(KeyboardInterrupt), held():
            with held():
                os.kill(MAIN, signal.SIGINT)
                time.sleep(TOGETHER_SECONDS + 0.05)
                os.kill(MAIN, signal.SIGINT)
            done.append(1)
    assert done == [1]
    with Interrupts() as interrupts:
        interrupts.answered = True
        with held():
            os.kill(MAIN, signal.SIGINT)
        done.append(2)  # the first one raises only where it may
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert done == [1, 2]


def lets_sigterm_pass(connection: Any) -> None:
    processes.settle_in(None)
    connection.send(None)
    time.sleep(300)


@pytest.mark.parametrize("whose", ["a main process's", "a worker's"])
def test_a_function_is_compiled_whole_before_a_signal_raises(monkeypatch, whose):
    @njit()
    def function(x):
        return np.linalg.inv(x) @ x

    life = leaving._Life()
    number, error = (signal.SIGINT, KeyboardInterrupt) if whose == "a main process's" else (leaving.DISMISSAL, leaving.Dismissed)
    before = signal.signal(leaving.DISMISSAL, life)
    begun = numba.core.compiler.compile_extra
    monkeypatch.setattr(numba.core.compiler, "compile_extra", lambda *a, **k: (os.kill(MAIN, number), begun(*a, **k))[1])
    with pytest.raises(error), Interrupts(raises=True) as interrupts:
        life.works = interrupts.answered = True
        function(np.eye(3))
    signal.signal(leaving.DISMISSAL, before)
    assert len(function.signatures) == 1
    monkeypatch.undo()
    np.testing.assert_allclose(function(2.0 * np.eye(3)), np.eye(3))


def test_python_ends_though_a_process_of_ours_is_left():
    code = (
        "from asyncrl.processes import starting as processes; from asyncrl.topologies import run_context\n"
        "from test_interrupts import lets_sigterm_pass\n"
        "process, connection = processes.start(run_context(), lets_sigterm_pass, 'asyncrl-left', ())\n"
        "connection.recv()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, timeout=90)


def test_what_a_library_makes_of_it_is_an_interruption():
    with pytest.raises(KeyboardInterrupt), Interrupts(), interruptible():
        try:
            os.kill(MAIN, signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("failed to import") from error


def test_the_first_is_only_remembered_and_told_and_the_second_is_raised(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("asyncrl.processes.interrupts.time", SimpleNamespace(monotonic=lambda: now[0]))
    before = signal.getsignal(signal.SIGINT)
    told = []
    with Interrupts(lambda: told.append(1)) as interrupts:
        interrupts.answered = True
        os.kill(MAIN, signal.SIGINT)
        assert interrupts.seen and told == [1]
        now[0] += 0.9 * TOGETHER_SECONDS
        os.kill(MAIN, signal.SIGTERM)  # no second one: `timeout` sends it twice
        now[0] += 0.2 * TOGETHER_SECONDS
        with pytest.raises(KeyboardInterrupt):
            os.kill(MAIN, signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before and told == [1]


def test_the_first_is_raised_where_it_may_be():
    with Interrupts() as interrupts:
        interrupts.answered = True
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(MAIN, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interruptible():
            pytest.fail("one came before")
        assert not interrupts.raises
    with interruptible():
        assert not isinstance(signal.getsignal(signal.SIGINT), Interrupts)


@pytest.mark.parametrize("moment", ["topology_on", "RunState", "make_folder", "write_experiment", "Reports", "Evaluations", "Launcher"])
def test_a_signal_between_any_two_steps_of_the_start_leaves_nothing(tmp_path, monkeypatch, moment):
    original = getattr(session, moment)

    def interrupted(*args: Any) -> Any:
        result = original(*args)
        os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(session, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        asyncrl.train("a3c", "CartPole-v1", workers=1, steps=1000, quiet=True, runs=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert children() == []


@pytest.mark.parametrize("place", [(session.Session, "_last_evaluation"), (session.Reports, "print_summary"), (session.Reports, "close")])
def test_a_signal_after_the_last_step_ends_the_program_but_not_the_run(tmp_path, monkeypatch, place):
    original = getattr(*place)

    def interrupted(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(*place, interrupted)
    if place[1] == "_last_evaluation":  # that is what it cuts short, and says so
        run = asyncrl.train("a3c", "CartPole-v1", workers=1, steps=1000, quiet=True, runs=str(tmp_path))
        assert run.status == "completed" and run.summary["evaluation_return"] is None
    else:
        with pytest.raises(KeyboardInterrupt):
            asyncrl.train("a3c", "CartPole-v1", workers=1, steps=1000, quiet=True, runs=str(tmp_path))
    (folder,) = tmp_path.iterdir()
    assert (folder / "summary.json").exists()
    assert children() == []


def test_a_signal_at_the_end_of_a_minimisation_is_not_lost(monkeypatch):
    original = Launcher.stop

    def interrupted(launcher: Launcher) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(launcher)

    monkeypatch.setattr(Launcher, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asyncrl.minimize(lambda x: float((x**2).sum()), [1.0, 1.0], "es", evaluations=200, workers=1)


def test_a_second_signal_while_workers_are_ended_leaves_no_process(tmp_path, monkeypatch):
    original = Launcher.stop

    def interrupted(launcher: Launcher) -> None:
        original(launcher)
        raise KeyboardInterrupt

    monkeypatch.setattr(Launcher, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asyncrl.train("a3c", "CartPole-v1", workers=1, steps=1000, quiet=True, runs=str(tmp_path))
    assert children() == []


class Hanging(gymnasium.Env):
    """Never gets built."""

    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)


def test_a_signal_ends_a_start_up_that_hangs_in_the_users_code(tmp_path):
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncrl.train("a3c", Hanging, workers=1, steps=1000, quiet=True, runs=str(tmp_path))
    assert time.monotonic() - began < 30
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_start_up_was_interrupted_in_a_finaliser_does_not_begin(tmp_path):
    main = MAIN

    def make() -> gymnasium.Env:
        Dropped(main)
        return gymnasium.make("CartPole-v1")

    with pytest.raises(KeyboardInterrupt):
        asyncrl.train("a3c", make, workers=1, steps=1000, quiet=True, runs=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
