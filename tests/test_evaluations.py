"""When evaluations are made by themselves: about twenty a run, as far as they can be afforded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import asyncrl
from asyncrl.session import evaluations
from asyncrl.session.evaluations import SHARE, START_SECONDS, TIMES, Evaluations
from asyncrl.workers.messages import Ready
from asyncrl.workers.player import Evaluation, Snapshot


class Evaluator:
    """In place of the process: every evaluation takes `cost` processor seconds, and none of the clock's."""

    def __init__(self, cost: float) -> None:
        self.cost, self.spent = cost, START_SECONDS
        self.messages: list[Any] = [Ready([])]

    def send(self, snapshot: Any) -> None:
        self.spent += self.cost
        self.messages.append(Evaluation(snapshot.steps, [1.0], [1], processor_seconds=self.spent))

    def recv(self) -> Any:
        return self.messages.pop(0)

    def poll(self) -> bool:
        return bool(self.messages)


class Played:
    """A run of `steps` steps and `seconds` seconds on 4 cores, looked at ten times a second."""

    def __init__(self, monkeypatch, cost: float, steps: int, seconds: float, workers: int, every: int | None = None, artist: Any = None):
        self.evaluated: list[int] = []
        self.evaluator: Evaluator | None = None
        task: Any = SimpleNamespace(workers=workers, algo="a3c", target_steps=steps)
        tried = Evaluations(None, task, 1, 0, artist)  # type: ignore[arg-type]

        def start() -> None:
            self.evaluator = tried._connection = Evaluator(cost)  # type: ignore[assignment]

        monkeypatch.setattr(tried, "_start", start)
        monkeypatch.setattr(tried, "_has_news", lambda seconds: self.evaluator is not None and self.evaluator.poll())
        monkeypatch.setattr(evaluations, "usable_cores", lambda: 4)
        reports: Any = SimpleNamespace(evaluated=lambda evaluation: self.evaluated.append(evaluation.steps))
        ticks = int(seconds * 10)
        for tick in range(ticks + 1):
            monkeypatch.setattr(evaluations.time, "monotonic", lambda tick=tick: 1.0 + tick / 10)
            done = steps * tick // ticks
            topology: Any = SimpleNamespace(steps=done, snapshot=lambda done=done: Snapshot(None, None, done))
            tried.tick(every, topology, reports)

    @property
    def spent(self) -> float:
        return 0.0 if self.evaluator is None else self.evaluator.spent


def test_a_long_run_has_about_twenty(monkeypatch):
    run = Played(monkeypatch, cost=0.1, steps=10**6, seconds=200.0, workers=4)
    assert TIMES - 4 <= len(run.evaluated) <= TIMES + 1
    assert run.spent <= SHARE * 4 * 200.0


def test_expensive_ones_are_fewer(monkeypatch):
    run = Played(monkeypatch, cost=3.0, steps=10**6, seconds=200.0, workers=4)
    assert 2 <= len(run.evaluated) < TIMES // 2
    assert run.spent <= SHARE * 4 * 200.0 + 3.0


def test_a_short_run_does_not_pay_for_the_process(monkeypatch):
    assert Played(monkeypatch, cost=0.01, steps=10**6, seconds=START_SECONDS / SHARE / 4 - 1.0, workers=4).evaluator is None


def test_a_core_that_is_free_makes_them_cheap(monkeypatch):
    run = Played(monkeypatch, cost=0.5, steps=10**6, seconds=30.0, workers=3)
    assert TIMES - 4 <= len(run.evaluated) <= TIMES + 1


def test_what_the_user_names_holds(monkeypatch):
    assert len(Played(monkeypatch, cost=3.0, steps=1000, seconds=10.0, workers=4, every=250).evaluated) >= 4
    assert Played(monkeypatch, cost=0.0, steps=1000, seconds=1000.0, workers=4, every=0).evaluator is None


def rows(folder: Path) -> list[int]:
    """The steps of a run's evaluations."""
    reports = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [report["step"] for report in reports if "evaluation/return" in report]


@pytest.mark.parametrize("every", [None, 0])
def test_a_run_evaluates_by_itself_unless_it_is_told_not_to(tmp_path, monkeypatch, every):
    monkeypatch.setattr(evaluations, "SHARE", 1.0)
    monkeypatch.setattr(evaluations, "START_SECONDS", 0.0)
    settings = {"workers": 2, "seconds": 6.0, "steps": 10**7, "quiet": True, "evaluation_episodes": 1, "runs": str(tmp_path)}
    result = asyncrl.train("a3c", "CartPole-v1", evaluate_every=every, **settings)
    made = rows(result.folder)
    assert made == sorted(made)
    assert len(made) == 1 if every == 0 else len(made) >= 2
    assert made[-1] == result.summary["evaluation_steps"] == result.summary["steps"]
