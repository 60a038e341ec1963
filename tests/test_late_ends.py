"""Ends that take longer than a moment: the learner of a stream, whose updates may be long, is waited for."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from environments import HangingEnv, SlowEnv
from running import Run, resume, train, wait_for
from test_stream_runs import TINY

from asyncrl.launcher import Launcher, Watch, patience
from asyncrl.launcher.crew import Crew
from asyncrl.launcher.slots import Slot
from asyncrl.processes.interrupts import TOGETHER_SECONDS
from asyncrl.scheduler.board import HEARTBEAT, OBEYED, PHASE, PHASES, Board
from asyncrl.session import session
from asyncrl.store.checkpoint import newest, read_part

LONG: dict[str, Any] = {"workers": 2, "steps": 10**6, "mode": "sync", "seconds": 40.0}


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupts(phase: str, rounds: int = 0) -> Any:
    """Ctrl-C while the learner (`learning`) or an actor (`acting`) is in a round, after so many."""

    def beside(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        board = launcher._ground.board
        who = board.workers - 1 if phase == "learning" else 0
        wait_for(lambda: launcher.version() >= rounds and PHASES[board.stands(who, PHASE)] == phase)
        interrupt()

    return beside


def check_whole(run: Run) -> Path:
    """It was interrupted, the newest checkpoint has the learner's part, and that is as new as the rest."""
    assert run.summary["status"] == "interrupted"
    folder = newest(run.folder)
    assert newest(run.folder, "learner") == folder
    assert read_part(folder, "learner")[0]["steps"] == read_part(folder, "run")[0]["steps"] == run.summary["steps"]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "env", "options"),
    [
        ("learning", "CartPole-v1", {"t_max": 400, "value_epochs": 150, "value_batch": 16}),
        ("acting", functools.partial(SlowEnv, 0.004), {"t_max": 500}),
    ],
)
def test_a_round_that_takes_long_is_finished_and_saved(tmp_path, monkeypatch, phase, env, options):
    monkeypatch.setattr(session, "GATE_SECONDS", 0.05)
    run = train(tmp_path, env, interrupts(phase), algo="npg", hang_seconds=30.0, **{**LONG, **options})
    check_whole(run)
    assert len([note for note in run.notes if "waited for" in note and "second Ctrl-C" in note]) == 1
    assert not any("finished its round in time" in note or "is given up" in note for note in run.notes)
    own = {"env": env} if callable(env) else {}
    assert resume(run.folder, steps=run.summary["steps"] + 1, **own).summary["status"] == "completed"


def test_a_second_interrupt_ends_the_wait_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "GATE_SECONDS", 0.3)
    pressed: list[float] = []

    def beside(run: Run) -> None:
        interrupts("learning")(run)
        wait_for(lambda: any("waited for" in note for note in run.notes))
        time.sleep(TOGETHER_SECONDS)
        pressed.append(time.monotonic())
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "CartPole-v1", beside, algo="npg", **{**LONG, "t_max": 400, "value_epochs": 3000, "value_batch": 16})
    assert time.monotonic() - pressed[0] < 3.0


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_actors_that_hang_are_given_up_and_what_was_learned_is_saved(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(patience, "SILENT_SECONDS", 0.7)
    monkeypatch.setattr(session, "GATE_SECONDS", 0.5)
    began: list[float] = []

    def beside(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        wait_for(lambda: launcher._ground.ledger.total("steps") >= (200 if mode == "async" else 100))
        board = launcher._ground.board
        silent = lambda: [time.monotonic() - board.stands(actor, HEARTBEAT) / 1e9 for actor in range(2)]  # noqa: E731
        wait_for(lambda: min(silent()) > 1.0 and all(PHASES[board.stands(actor, PHASE)] == "acting" for actor in range(2)))  # they hang
        began.append(time.monotonic())
        interrupt()

    env = functools.partial(HangingEnv, 105)
    run = train(tmp_path, env, beside, algo="impala", **{**LONG, "mode": mode, "t_max": 10})
    assert time.monotonic() - began[0] < 30.0
    check_whole(run)
    assert {note.split()[1] for note in run.notes if "is given up" in note} == {"0", "1"}


@pytest.mark.parametrize("may_be_silent", [False, True])
def test_who_may_be_silent_is_not_killed_for_a_long_update(may_be_silent):
    notes: list[str] = []
    board = Board({name: np.zeros(shape, kind) for name, (shape, kind) in Board.layout(1).items()})
    board.stand(0, PHASE, PHASES.index("learning"))
    watch = Watch(3, 0.5, True, notes.append, notes.append, lambda worker: "it")
    assert watch.is_to_be_killed(0, Slot(), board, 10.0, may_be_silent) != may_be_silent
    assert ("is waited for" in notes[0]) == may_be_silent


def test_a_learner_that_saves_for_long_is_waited_for(tmp_path, monkeypatch):
    """Patience of no time at all: actors are replaced for it, which is what it is for; the learner is not."""
    monkeypatch.setattr(Launcher.save_workers, "__defaults__", (0.0,))
    large = {**TINY["td3"], "hidden": (1500, 1500), "workers": 1, "steps": 50, "max_failures": 10}
    run = train(tmp_path, "Pendulum-v1", algo="td3", mode="async", **large)
    assert run.error is None
    assert run.summary["status"] == "completed"
    assert newest(run.folder, "learner") == newest(run.folder)


@pytest.mark.parametrize("beats", [False, True])
def test_who_gives_signs_of_life_while_it_saves_is_not_killed(beats):
    """Saving takes ten turns of 20 ms; patience is 100 ms."""
    turns, killed = [], []
    board = Board({name: np.zeros(shape, kind) for name, (shape, kind) in Board.layout(1).items()})
    slot = SimpleNamespace(granted=True)

    def turn(seconds: float) -> None:
        time.sleep(0.02)
        turns.append(seconds)
        if beats:
            board.stand(0, HEARTBEAT, time.monotonic_ns())
        if len(turns) == 10:
            board.stand(0, OBEYED, 7)

    def kill(worker: int) -> None:
        killed.append(worker)
        slot.granted = False

    launcher = Launcher.__new__(Launcher)
    launcher._ground = SimpleNamespace(board=board, parking=SimpleNamespace(wake_all=lambda: None))
    launcher._estate = SimpleNamespace(may_be_silent=lambda worker: False)
    launcher._crew = SimpleNamespace(slots=[slot], turn=turn, kill=kill)
    launcher._crew.silence = lambda worker, now: Crew.silence(launcher, worker, now)
    launcher._watch = SimpleNamespace(note=lambda text: None, name_of=lambda worker: "it")
    launcher.save_workers(7, 0.1)
    assert killed == ([] if beats else [0])


@pytest.mark.slow
def test_updates_that_are_left_at_an_end_are_made_by_the_resumed_run(tmp_path):
    """Thousands are due after a unit. Async leaves them; sync makes them, for the bits."""
    settings = {**TINY["td3"], "t_max": 20, "warm_up": 60, "workers": 1, "steps": 10**6, "seconds": 40.0, "replay_ratio": 60.0}
    run = train(tmp_path, "Pendulum-v1", interrupts("learning", 4), algo="td3", mode="async", **settings)
    folder = check_whole(run)
    steps, arrays = run.summary["steps"], read_part(folder, "learner")[1]
    assert arrays["updates"][0] < 60 * (steps - 60)
    second = resume(run.folder, steps=steps + 20)
    assert second.summary["updates"] == 60 * (second.summary["steps"] - 60)


def test_an_interrupted_sync_run_continues_with_the_same_bits(tmp_path):
    settings = {**TINY["td3"], "t_max": 20, "mode": "sync", "workers": 2, "replay_ratio": 10.0, "steps": 240}
    whole = train(tmp_path, "Pendulum-v1", algo="td3", **settings)
    half = train(tmp_path, "Pendulum-v1", interrupts("learning", 2), algo="td3", **settings)
    check_whole(half)
    assert half.summary["steps"] < 240
    resume(half.folder)
    ours, theirs = (read_part(newest(folder), "learner")[1] for folder in (half.folder, whole.folder))
    assert [name for name in theirs if ours[name].tobytes() != theirs[name].tobytes()] == []
