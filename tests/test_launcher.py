"""Starting, watching, interrupting and ending a run: signals, failing and hanging workers, limits, what is left behind."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from environments import CountingEnv, HangingEnv, RaisingEnv, SlowEnv
from running import Run, check_nothing_left, children, command, interrupt, kill, resume, train, wait_for

from asyncrl.errors import UserError
from asyncrl.processes import starting as processes
from asyncrl.session.session import core_of
from asyncrl.store.checkpoint import newest
from asyncrl.topologies import run_context

TESTS = str(Path(__file__).parent)
LONG = ["--steps", "1000000000", "--workers", "2", "--quiet", "--report-seconds", "0.2"]


class HoldsTheInterpreter(CountingEnv):
    """From step 30 on it hangs in C and never lets another Python thread run."""

    def step(self, action: Any) -> Any:
        if self.total == 30:
            import ctypes

            ctypes.PyDLL(None).sleep(3600)
        return super().step(action)


class Huge(CountingEnv):
    """A reward that no float32 gradient survives, in every third episode."""

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, (1e38 if self.episode % 3 == 2 else 1.0), terminated, truncated, info


def raising() -> Any:
    return RaisingEnv(50)


programs: list[subprocess.Popen[str]] = []


def begin(folder: Path, *arguments: str, python: str | None = None) -> subprocess.Popen[str]:
    """A run in a program of its own, in a process group of its own."""
    line = [sys.executable, "-c", python] if python else command(folder, *arguments)
    environment = {**os.environ, "PYTHONPATH": TESTS}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    programs.append(subprocess.Popen(line, env=environment, text=True, start_new_session=True, **streams))
    return programs[-1]


@pytest.fixture(autouse=True)
def hang_up_is_heard() -> Iterator[None]:
    """Also where the tests themselves run under nohup, whose programs would inherit that SIGHUP is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def no_program_outlives_its_test() -> Iterator[None]:
    """One that fails would else take all that follow with it."""
    yield
    for process in programs:
        if process.poll() is None:
            process.kill()
            process.communicate()
    programs.clear()


def program(folder: Path, env: str, **options: Any) -> str:
    settings = {"workers": 2, "steps": 10**9, "quiet": True, "report_seconds": 0.2, "runs": str(folder), **options}
    return (
        "import asyncrl, sys, environments, test_launcher\n"
        f"result = asyncrl.train('a3c', {env}, **{settings!r})\n"
        "sys.exit({'completed': 0, 'interrupted': 130}[result.status])\n"
    )


def trains(folder: Path) -> Path:
    """Wait until metrics show that workers train; returns the run's folder."""

    def found() -> Path | None:
        for metrics in folder.glob("*/metrics.jsonl"):
            if any(json.loads(line)["step"] > 0 for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")):
                return metrics.parent
        return None

    return wait_for(found, 150)  # the first run on a machine compiles its kernels


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float) -> None:
    alive = psutil.wait_procs(processes, seconds)[1]
    alive = [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    for one in alive:
        one.kill()
    assert alive == []


# Interruption.


@pytest.mark.parametrize(
    ("algo", "send"),
    [
        ("a3c", "terminal"),
        pytest.param("a3c", "kill", marks=pytest.mark.slow),
        ("a3c", "hang up"),
        pytest.param("impala", "timeout", marks=pytest.mark.slow),
        pytest.param("es", "timeout", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_saves_and_ends_with_130(tmp_path, algo, send):
    small = ["--population", "4"] if algo == "es" else []  # a search that has made no update has nothing to save
    process = begin(tmp_path, "train", algo, "CartPole-v1", "--mode", "sync", *small, *LONG)
    run = trains(tmp_path)
    wait_for(lambda: '"updates": 0,' not in (run / "metrics.jsonl").read_text().splitlines()[-1])
    descendants = family(process)
    if send == "terminal":
        os.killpg(process.pid, signal.SIGINT)  # to all of them
    elif send == "hang up":
        os.killpg(process.pid, signal.SIGHUP)
    else:
        process.send_signal(signal.SIGTERM)
    if send == "timeout":  # twice to the main process; so do systemd and containers, once to all of them
        os.killpg(process.pid, signal.SIGTERM)
    began = time.monotonic()
    _, errors = process.communicate(timeout=90)
    assert time.monotonic() - began < 30.0  # who waits for what hangs waits a minute at least
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    gone(descendants, 20.0)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    saved = int(newest(run).name.removeprefix("step-"))
    # A search saves after whole generations; what is under way goes into the checkpoint, but not into its number.
    assert 0 < saved <= summary["steps"] if algo == "es" else saved == summary["steps"]


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_a_run_in_order(tmp_path):
    """The kernel sends SIGHUP to the program in front, and what is printed from then on is an error."""
    main, terminal = os.openpty()
    line = command(tmp_path, "train", "a3c", "CartPole-v1", *LONG[:4])
    take_it = f"import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, {line!r})"
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen([sys.executable, "-c", take_it], start_new_session=True, **streams)
    programs.append(process)
    os.close(terminal)
    reader = threading.Thread(target=swallow, args=(main,), daemon=True)
    reader.start()
    run = trains(tmp_path)
    descendants = family(process)
    os.close(main)
    assert process.wait(90) == 130
    gone(descendants, 20.0)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert newest(run).name == f"step-{summary['steps']}"


def swallow(terminal: int) -> None:
    """Whatever is shown, until the terminal is closed."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            continue


@pytest.mark.slow
def test_a_run_under_nohup_goes_on(tmp_path):
    """SIGHUP is ignored as it begins, and stays so, in all of its processes and in what they start."""
    process = begin(tmp_path, python="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + program(tmp_path, "'CartPole-v1'"))
    run = trains(tmp_path)
    everybody = [process.pid, *(one.pid for one in family(process))]
    before = os.stat(run / "metrics.jsonl").st_size
    os.killpg(process.pid, signal.SIGHUP)
    wait_for(lambda: os.stat(run / "metrics.jsonl").st_size > before + 1000)
    assert [pid for pid in everybody if not psutil.pid_exists(pid)] == []
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "replaced" not in errors


def test_two_quick_presses_end_it_as_one_does(tmp_path):
    process = begin(tmp_path, "train", "a3c", "CartPole-v1", *LONG)
    trains(tmp_path)
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.12)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert len(list(tmp_path.glob("*/summary.json"))) == 1


HANGING = "lambda: environments.HangingEnv(at_step=300)"


@pytest.mark.parametrize(
    ("env", "mode"), [pytest.param(HANGING, "async", marks=pytest.mark.slow), ("test_launcher.HoldsTheInterpreter", "sync")]
)
def test_an_interruption_does_not_wait_for_a_worker_that_hangs(tmp_path, env, mode):
    process = begin(tmp_path, python=program(tmp_path, env, mode=mode))
    run = trains(tmp_path)
    time.sleep(1.0)  # by now it hangs
    descendants = family(process)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=90)
    assert time.monotonic() - began < 30.0  # who waits for what hangs waits a minute at least
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    gone(descendants, 20.0)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert summary["steps"] > 0
    assert newest(run).name == f"step-{summary['steps']}"


@pytest.mark.parametrize("seconds", [0.8, 2.5])
def test_ctrl_c_during_start_up_leaves_nothing(tmp_path, seconds):
    process = begin(tmp_path, "train", "a3c", "CartPole-v1", *LONG)
    if seconds > 1:  # earlier, Python itself is still starting
        wait_for(lambda: family(process), 90)  # the fork server: the run is being built
    time.sleep(0.5 * seconds)
    descendants = family(process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    gone(descendants, 20.0)
    if seconds > 1:
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
    assert [folder for folder in tmp_path.iterdir() if not (folder / "summary.json").exists()] == []


@pytest.mark.parametrize("env", [pytest.param("'CartPole-v1'", marks=pytest.mark.slow), "test_launcher.HoldsTheInterpreter"])
def test_all_go_when_the_main_process_is_killed(tmp_path, env):
    shared = set(os.listdir("/dev/shm"))
    process = begin(tmp_path, python=program(tmp_path, env, mode="sync"))
    trains(tmp_path)
    time.sleep(0.5)
    descendants = family(process)
    assert len(descendants) >= 4  # fork server, two workers, the writer of reports
    process.kill()
    process.communicate(timeout=60)
    gone(descendants, 20.0)
    check_nothing_left(shared)


# Workers that raise or hang.


def test_a_worker_that_raises_is_replaced_and_given_up_at_the_same_place(tmp_path):
    run = train(tmp_path, raising, mode="async", workers=1, steps=10_000, seed=9)
    assert isinstance(run.error, UserError)
    text = str(run.error)
    first = text.splitlines()[0]
    for wanted in ("worker 0", "raising", "seed 9", "step 80", "2 times", "step raised RuntimeError: raised at step 50, as asked"):
        assert wanted in first, (wanted, first)
    assert "Traceback" in text
    assert "in step" in text
    assert len([note for note in run.notes if "it is being replaced" in note]) == 1  # the same exception at the same place: once more
    summary = json.loads(next(tmp_path.glob("*/summary.json")).read_text())
    assert summary["status"] == "failed"
    assert summary["steps"] == 80  # two rounds of each of the two


def test_one_that_raises_after_a_long_time_is_tried_as_often_as_one_that_dies(tmp_path, monkeypatch):
    monkeypatch.setattr("asyncrl.launcher.watch.SOON", 0.0)
    run = train(tmp_path, raising, mode="async", workers=1, steps=10_000)
    assert "3 times" in str(run.error).splitlines()[0]


def test_one_that_raises_now_and_then_does_not_end_the_run(tmp_path):
    run = train(tmp_path, functools.partial(RaisingEnv, 500), mode="sync", workers=2, steps=1800, max_failures=20)
    assert run.summary["restarts"] >= 2
    assert run.summary["steps"] >= 1800
    run.check_books(20)


def test_one_that_cannot_be_built_ends_the_run_at_once(tmp_path):
    began = time.monotonic()
    run = train(tmp_path, RaisesInWorkers(), mode="async", workers=2, steps=1000)
    assert isinstance(run.error, UserError)
    assert "reset raised RuntimeError: not here" in str(run.error)
    assert time.monotonic() - began < 60
    assert list(tmp_path.iterdir()) == []  # nothing was learned, nothing is left


class RaisesInWorkers:
    """Makes an environment whose reset fails everywhere but in the process that made this object."""

    __qualname__ = "RaisesInWorkers"

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __call__(self) -> Any:
        return _Elsewhere(self.pid)


class _Elsewhere(CountingEnv):
    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid = pid

    def reset(self, **options: Any) -> Any:
        if os.getpid() != self.pid:
            raise RuntimeError("not here")
        return super().reset(**options)


def test_a_worker_that_hangs_is_reported(tmp_path):
    counts: list[int] = []

    def said(run: Run) -> int:
        return len([note for note in run.notes if "no progress" in note])

    def wait_and_end(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        # Four rounds of each; they hang in the fifth.
        wait_for(lambda: launcher.epoch_runs and launcher._ground.ledger.total("steps") == 160)
        wait_for(lambda: all(slot.told_hung for slot in launcher.slots))
        counts.append(said(run))
        time.sleep(1.5)  # the launcher looks twice a second
        counts.append(said(run))
        interrupt(run)

    options = {"mode": "sync", "workers": 2, "steps": 10**9, "hang_seconds": 0.5}
    run = train(tmp_path, functools.partial(HangingEnv, 100), wait_and_end, **options)
    assert any("has made no progress for" in note and "while acting" in note and "--replace-hung" in note for note in run.notes), run.notes
    assert counts[0] == counts[1] >= 2, "once each"
    assert run.summary["restarts"] == 0
    run.check_books(20)


def test_a_worker_that_hangs_is_replaced_if_asked(tmp_path):
    options = {"mode": "sync", "workers": 2, "steps": 300, "hang_seconds": 0.5, "replace_hung": True}
    run = train(tmp_path, functools.partial(HangingEnv, 100), **options)
    assert run.summary["restarts"] >= 2
    assert run.summary["steps"] >= 300
    run.check_books(20)


def test_waiting_for_a_slow_worker_is_not_hanging(tmp_path):
    options = {"mode": "sync", "workers": 2, "steps": 24, "t_max": 3, "hang_seconds": 0.7}
    run = train(tmp_path, SlowInOne(), **options)
    assert all("worker 1" in note for note in run.notes if "no progress" in note), run.notes


class SlowInOne:
    """The second environment to be made (by seed order) sleeps 0.4 s a step."""

    def __call__(self) -> Any:
        return _SleepsIfSeeded()


class _SleepsIfSeeded(CountingEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.slow = seed == int(np.random.SeedSequence([0, 1, 0]).spawn(2)[1].generate_state(1)[0])
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        if self.slow:
            time.sleep(0.4)
        return super().step(action)


# How a run is used.


def tell_what_is_loaded(connection: Any) -> None:
    connection.send(set(sys.modules))


def test_processes_start_with_everything_loaded():
    """Numba loads the last of these at the first compiled call: a second, which every worker and every successor would take."""
    chosen = run_context()
    forkserver._forkserver._stop()  # whoever started it may have loaded less; the next one is ours
    process, connection = processes.start(chosen, tell_what_is_loaded, "probe", ())
    assert connection.poll(120)
    assert {"torch", "asyncrl.topologies.actor_learner.worker", "numba.np.arraymath"} <= connection.recv()
    process.join(10)


@pytest.mark.parametrize(
    ("workers", "cores", "kept"),
    [(2, [4, 5], [4, 5, None]), (2, [0, 1, 2], [0, 1, 2]), (3, [0, 1], [0, 1, 0, None]), (1, [7], [7, None])],
)
def test_a_learner_is_on_no_workers_core(workers, cores, kept):
    assert [core_of(worker, workers, cores) for worker in range(workers + 1)] == kept


def test_the_learner_counts_where_it_works_all_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr("asyncrl.session.session.usable_cores", lambda: 2)
    settings = {"workers": 2, "steps": 200, "pin_cores": True}
    streams = train(tmp_path, "CartPole-v1", algo="impala", **settings)
    assert "2 workers and the learner, of one thread each, share 2 cores" in streams.notes
    assert not any("share" in note for note in train(tmp_path, "CartPole-v1", algo="es", population=4, **settings).notes)


def test_more_workers_than_cores_is_said(tmp_path):
    run = train(tmp_path, "CartPole-v1", mode="sync", workers=4, steps=160)
    cores = len(os.sched_getaffinity(0))
    assert any("4 workers" in note and f"{cores} cores" in note for note in run.notes) == (cores < 4)


def test_two_runs_one_after_the_other_leave_no_open_file(tmp_path):
    train(tmp_path, "CartPole-v1", mode="sync", workers=2, steps=400, name="first")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for name in ("second", "third"):
        train(tmp_path, "CartPole-v1", mode="async", workers=2, steps=400, name=name)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncrl, gymnasium\n"
        "print('script')\n"
        "class Mine(gymnasium.Wrapper):\n"
        "    pass\n"
        "def make():\n"
        "    return Mine(gymnasium.make('CartPole-v1'))\n"
        f"print(asyncrl.train('a3c', make, workers=2, steps=400, quiet=True, runs={str(tmp_path)!r}).status)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.stdout.split() == ["script", "completed"], done.stderr


def test_gradients_that_are_not_finite_are_left_out_and_counted(tmp_path):
    for mode in ("sync", "async"):
        options = {"workers": 2, "steps": 1200, "t_max": 10, "max_gradient_norm": 0.0, "normalize_returns": False}
        run = train(tmp_path, Huge, mode=mode, name=mode, **options)
        rounds = sum(run.column("rounds"))
        assert run.summary["skipped_updates"] == pytest.approx(rounds / 3, abs=4)
        run.check_books(10)


def test_the_limit_in_seconds(tmp_path):
    run = train(tmp_path, "CartPole-v1", mode="sync", workers=2, steps=10**9, seconds=2.0)
    assert run.summary["status"] == "completed"
    assert 0.5 < run.summary["seconds"] < 30.0
    run.check_books(20)


def test_evaluations_while_training(tmp_path):
    def wait_for_two(run: Run) -> None:
        wait_for(lambda: sum(path.read_text().count("evaluation/return") for path in tmp_path.glob("*/metrics.jsonl")) >= 2, 50)
        interrupt(run)

    options = {"workers": 1, "steps": 10**9, "evaluate_every": 1000, "evaluation_episodes": 2}
    run = train(tmp_path, "CartPole-v1", wait_for_two, mode="sync", **options)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert len([line for line in lines if "evaluation/return" in line]) >= 2
    assert run.summary["evaluation_return"] > 5


def test_a_killed_evaluator_is_said_and_the_run_goes_on(tmp_path):
    def kill_it(run: Run) -> None:
        from asyncrl.session.evaluations import Evaluations

        found: list[Any] = []
        original = Evaluations.tick

        def tick(evaluations: Evaluations, *arguments: Any) -> None:
            original(evaluations, *arguments)
            if evaluations._ready and not found:
                found.append(evaluations._process.pid)
                kill(evaluations._process.pid)

        Evaluations.tick = tick  # type: ignore[method-assign]
        try:
            wait_for(lambda: found, 50)
            wait_for(lambda: any("evaluator was killed" in note for note in run.notes))
            wait_for(lambda: any("evaluation/return" in path.read_text() for path in tmp_path.glob("*/metrics.jsonl")), 50)
            interrupt(run)
        finally:
            Evaluations.tick = original  # type: ignore[method-assign]

    options = {"workers": 1, "steps": 10**9, "evaluate_every": 1000, "evaluation_episodes": 2}
    run = train(tmp_path, "CartPole-v1", kill_it, mode="sync", **options)
    assert run.summary["status"] == "interrupted"
    assert run.summary["evaluation_return"] > 5  # by another one


def test_workers_and_their_successors_have_streams_of_their_own(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()

    def kill_worker_0(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.epoch_runs and len(told(folder)) == 3)  # else the first one's file might be missing
        kill(run.pids()[0])
        wait_for(lambda: len(told(folder)) >= 4)
        interrupt(run)

    train(tmp_path, functools.partial(Tells, str(folder)), kill_worker_0, mode="async", workers=3, steps=10**9)
    first = told(folder)
    assert len(first) >= 4
    assert len({one.split()[0] for one in first}) == len(first)  # what the environments drew
    assert len({one.split()[1] for one in first}) == len(first)  # how the policy acted


def told(folder: Path) -> list[str]:
    """What is written whole."""
    return [text for path in folder.iterdir() if len((text := path.read_text()).split()) == 2]


class Tells(CountingEnv):
    """Writes down what it drew at first and the first 40 actions that it was given."""

    def __init__(self, folder: str) -> None:
        super().__init__(length=1000)
        self.folder, self.actions = folder, ""

    def step(self, action: Any) -> Any:
        time.sleep(0.0005)
        self.actions += str(int(action))
        if len(self.actions) == 40:
            Path(self.folder, str(os.getpid())).write_text(f"{self.np_random.random()} {self.actions}")
        return super().step(action)


def test_waiting_costs_no_processor_time(tmp_path):
    spent: dict[str, float] = {}

    def measure(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.epoch_runs and launcher._ground.ledger.total("steps") > 0)
        everybody = [psutil.Process(), *(psutil.Process(pid) for pid in run.pids().values())]
        before = [sum(one.cpu_times()[:2]) for one in everybody]
        began = time.monotonic()
        time.sleep(2.0)
        seconds = time.monotonic() - began
        spent.update({str(i): (sum(one.cpu_times()[:2]) - b) / seconds for i, (one, b) in enumerate(zip(everybody, before))})
        interrupt(run)

    run = train(tmp_path, functools.partial(SlowEnv, 0.05), measure, mode="sync", workers=2, steps=10**9, t_max=10)
    print({who: f"{share:.1%}" for who, share in spent.items()})
    assert max(spent.values()) < 0.20
    assert run.summary["time_share"]["wait"] > 0.02


def test_the_launcher_sleeps_while_workers_are_busy(tmp_path):
    """Thousands of rounds a second concern it no more than a few."""
    spent: list[float] = []

    def measure(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher.epoch_runs and launcher._ground.ledger.total("steps") > 0)
        before, began = psutil.Process().cpu_times(), time.monotonic()
        time.sleep(2.0)
        after, seconds = psutil.Process().cpu_times(), time.monotonic() - began
        spent.append((after.user + after.system - before.user - before.system) / seconds)
        interrupt(run)

    train(tmp_path, "CartPole-v1", measure, mode="sync", workers=2, steps=10**9, report_seconds=1.0)
    assert spent[0] < 0.20, spent


def test_a_resumed_run_takes_up_where_it_was(tmp_path):
    first = train(tmp_path, "CartPole-v1", mode="async", workers=2, steps=1000)
    second = resume(first.folder, steps=2000)
    assert second.summary["steps"] >= 2000
    second.check_books(20)
    third = resume(first.folder, steps=3000)
    assert third.summary["updates"] == sum(third.column("rounds"))
    assert children() == []
