"""SIGKILL of what is neither worker nor learner: fork server, evaluator, writer of reports, resource tracker. The run goes on."""

from __future__ import annotations

import functools
import json
import os
import time
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import psutil
import pytest
from environments import CountingEnv
from running import Run, check_nothing_left, interrupt, jittery_cartpole, kill, patience, train, wait_for

from asyncrl.launcher import Launcher
from asyncrl.monitor.writer import Writer
from asyncrl.processes import starting as processes
from asyncrl.session.evaluations import Evaluations
from asyncrl.topologies import run_context

SEARCH = {"algo": "es", "population": 8}


def fork_server() -> int:
    """The one that runs, or is about to be replaced."""
    return int(wait_for(lambda: forkserver._forkserver._forkserver_pid))


def trained(run: Run, steps: int = 300) -> Launcher:
    """Wait until it has made so many steps more."""
    launcher = wait_for(lambda: run.launcher)
    wait_for(lambda: launcher.epoch_runs)
    mark = launcher._ground.ledger.total("steps") + steps
    wait_for(lambda: launcher._ground.ledger.total("steps") > mark)
    return launcher


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.stress
@pytest.mark.parametrize(("mode", "algo", "alone"), [("sync", "a3c", [True, False]), ("pipelined", "es", [False])])
def test_all_go_on_under_another_fork_server(tmp_path, mode, algo, alone):
    """Killed alone, or at the same moment as a worker: that is nobody's failure, and nothing is lost."""
    shared = set(os.listdir("/dev/shm"))
    servers = []

    def kill_it(run: Run) -> None:
        for is_alone in alone:
            trained(run)
            if not is_alone:
                kill(run.pids()[0])
            servers.append(fork_server())
            kill(servers[-1])
            wait_for(lambda: fork_server() != servers[-1])
        trained(run)
        interrupt(run)

    options = {"population": 8} if algo == "es" else {"t_max": 10}
    with patience():
        run = train(tmp_path, jittery_cartpole, kill_it, algo=algo, mode=mode, workers=2, steps=10**9, max_failures=1, **options)
    assert fork_server() not in servers
    assert run.summary["restarts"] == len(alone) * len(run.launcher.slots)
    assert len([note for note in run.notes if "fork server" in note]) >= len(alone) * (len(run.launcher.slots) - 1), run.notes
    if algo == "a3c":
        run.check_books(10)
    assert run.summary["steps"] == sum(run.column("steps")) or algo == "es"
    check_nothing_left(shared)


@pytest.mark.parametrize("moment", ["start", "final"])
def test_a_fork_server_that_is_killed_as_processes_start_or_the_run_ends(tmp_path, moment, monkeypatch):
    place = {"start": (processes.Child, "start"), "final": (Evaluations, "final")}[moment]
    original, kills = getattr(*place), []

    def killed(*arguments: Any) -> Any:
        if len(kills) < 2:
            kills.append(fork_server())
            kill(kills[-1])
        return original(*arguments)

    monkeypatch.setattr(*place, killed)
    run = train(tmp_path, "CartPole-v1", mode="sync", workers=2, steps=400, evaluation_episodes=2)
    assert run.summary["evaluation_steps"] == run.summary["steps"] >= 400
    run.check_books(20)
    assert len(kills) == (2 if moment == "start" else 1)


def test_whoever_is_told_dead_is_dead(monkeypatch):
    """A fork server's death is known before its children have died of it: what they own must not change hands earlier."""
    process, connection = processes.start(run_context(), writes_for_ever, "asyncrl-counts", ())
    words = connection.recv()
    assert words == "going"
    one = psutil.Process(process.pid)
    kill(fork_server())
    process.join()
    assert not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
    assert process.lost and process.exitcode == -9


def writes_for_ever(connection: Any) -> None:
    """One that has not asked the kernel to end with its fork server, as every process before it has settled in."""
    connection.send("going")
    time.sleep(300)


@pytest.mark.stress
def test_a_killed_evaluators_evaluation_is_made_by_another(tmp_path, monkeypatch):
    """Killed with every second snapshot in hand, and with the last."""
    original, sent = Evaluations._advance, []

    def advance(evaluations: Evaluations, topology: Any) -> bool:
        before = evaluations._sent
        taken = original(evaluations, topology)
        if evaluations._sent and not before:
            sent.append(evaluations._under_way.steps)
            if sent.count(sent[-1]) == 1 and (len(set(sent)) % 2 or sent[-1] >= 60_000):
                kill(evaluations._process.pid)
        return taken

    monkeypatch.setattr(Evaluations, "_advance", advance)
    options = {"evaluate_every": 1000, "evaluation_episodes": 2, "report_seconds": 0.1}
    run = train(tmp_path, "CartPole-v1", mode="sync", workers=1, steps=60_000, **options)
    evaluated = [line["step"] for line in lines_of(run.folder) if "evaluation/return" in line]
    assert evaluated == list(dict.fromkeys(sent))  # each snapshot once, in order
    assert len(sent) > len(evaluated) >= 2
    assert run.summary["evaluation_steps"] == run.summary["steps"]
    assert run.summary["evaluation_return"] > 5


def test_an_evaluator_that_always_dies_ends_no_run(tmp_path, monkeypatch):
    original = Evaluations._advance

    def advance(evaluations: Evaluations, topology: Any) -> bool:
        taken = original(evaluations, topology)
        if evaluations._sent:
            kill(evaluations._process.pid)
        return taken

    monkeypatch.setattr(Evaluations, "_advance", advance)
    run = train(tmp_path, "CartPole-v1", mode="sync", workers=1, steps=400, evaluation_episodes=2)
    assert run.summary["status"] == "completed"
    assert run.summary["evaluation_return"] is None
    assert len([note for note in run.notes if "evaluator was killed" in note]) == 3


@pytest.mark.stress
def test_a_killed_writer_of_reports_loses_none(tmp_path, monkeypatch):
    """Nor does TensorBoard, nor the summary."""
    sent, writers = [], []
    original = Writer.send

    def send(writer: Writer, report: Any, *more: Any) -> None:
        original(writer, report, *more)
        writers.append(writer)
        sent.append(report["step"])
        if len(sent) % 3 == 1:
            kill(writer.process_id)

    monkeypatch.setattr(Writer, "send", send)
    run = train(tmp_path, "CartPole-v1", mode="async", workers=1, steps=10**9, seconds=5.0)
    assert run.summary["status"] == "completed"
    assert len(sent) >= 6
    assert [line["step"] for line in lines_of(run.folder)] == sent == sorted(sent)
    assert writers[0].dropped == 0
    from test_writer import read_events

    # The last report may come so soon after the one before that it has no rate.
    rates = [line["step"] for line in lines_of(run.folder) if "rate/steps_per_second" in line]
    assert [event.step for event in read_events(run.folder).Scalars("rate/steps_per_second")] == rates
    assert len(sent) - len(rates) <= 1
    assert sent[-1] == run.summary["steps"]


def test_a_killed_resource_tracker_is_of_no_consequence(tmp_path):
    def kill_it(run: Run) -> None:
        trained(run)
        tracker = resource_tracker._resource_tracker._pid
        kill(tracker)
        wait_for(lambda: psutil.Process(tracker).status() == psutil.STATUS_ZOMBIE)
        kill(run.pids()[0])  # so that a process is started
        wait_for(lambda: run.launcher.slots[0].restarts and run.launcher.slots[0].granted)
        trained(run)
        interrupt(run)

    run = train(tmp_path, "CartPole-v1", kill_it, mode="sync", workers=2, steps=10**9)
    assert run.summary["restarts"] == 1
    run.check_books(20)


class Leaves(CountingEnv):
    """In processes of ours it starts one that holds on to everything that they had open, and outlives them."""

    def __init__(self, main: int, over: str) -> None:
        super().__init__()
        if os.getpid() != main and os.fork() == 0:
            for _ in range(1200):
                if os.path.exists(over):
                    break
                time.sleep(0.1)
            os._exit(0)


def test_a_dead_evaluator_is_noticed_though_its_connection_is_held_open(tmp_path, monkeypatch):
    original, killed, over = Evaluations._advance, [], tmp_path / "over"

    def advance(evaluations: Evaluations, topology: Any) -> bool:
        taken = original(evaluations, topology)
        if evaluations._sent and not killed:
            killed.append(evaluations._process.pid)
            kill(killed[0])
        return taken

    monkeypatch.setattr(Evaluations, "_advance", advance)
    main = os.getpid()
    try:
        source = functools.partial(Leaves, main, str(over))
        run = train(tmp_path / "runs", source, mode="sync", workers=1, steps=40, evaluation_episodes=1)
    finally:
        over.touch()
    assert killed
    assert run.summary["evaluation_return"] == 10.0
