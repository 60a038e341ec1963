"""A kill storm: SIGKILL of every process of a run but the main one, at random instants; and the books afterwards."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import test_search_runs
import test_stream_runs
from running import Jitter, Run, check_nothing_left, kill, patience, train, wait_for
from test_writer import lines_of, read_events

from asyncrl.monitor.writer import Writer
from asyncrl.scheduler.board import PHASE, PHASES
from asyncrl.session.evaluations import Evaluations
from asyncrl.session.session import Session
from asyncrl.store.checkpoint import newest, read_part

TOPOLOGIES: dict[str, dict[str, Any]] = {
    "a3c": {"t_max": 10},
    "impala": {"t_max": 10},
    "td3": {"hidden": (16, 16), "batch": 16, "warm_up": 40, "replay": 1000},
    "es": {"population": 8, "sigma": 0.3},
}
"""One algorithm of each: every worker updates; rings and a learner; rings and a learner with a replay; a search."""
MODES = ["sync", "pipelined", "bounded:1", "async"]
SHARES = {"worker": 0.55, "learner": 0.15, "writer": 0.1, "evaluator": 0.1, "tracker": 0.06, "fork server": 0.02, "all at once": 0.02}


def kinds(algo: str, count: int) -> list[str]:
    """Whom to kill, so many times in all, each kind at least once; a small storm spares the fork server when it is not killed with all."""
    shares = dict(SHARES)
    if count < 20:
        del shares["fork server"]
    if algo == "a3c":
        del shares["learner"]
    del shares["worker"]
    wanted = [kind for kind, share in shares.items() for _ in range(max(1, round(share * count)))]
    return wanted + ["worker"] * (count - len(wanted))


class Storm:
    """Runs in a thread beside a run. After most kills it waits until the successor is at work, else nobody ever would be."""

    def __init__(self, algo: str, count: int, pause: float = 0.05, seed: int = 0):
        self._generator = np.random.default_rng(seed)
        self._kinds = [str(kind) for kind in self._generator.permutation(kinds(algo, count))]
        self._pause, self._learns = pause, algo != "a3c"
        self._session: Any = None
        self._evaluations: Any = None
        self.writer: Any = None
        self.killed: Counter[str] = Counter()
        self.phases: Counter[str] = Counter()
        self._dead: set[int] = set()
        self._written = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Get hold of what a session has beside its launcher."""
        originals = {kind: kind.__init__ for kind in (Session, Evaluations, Writer)}

        def begun(name: str, original: Any) -> Any:
            def begin(one: Any, *arguments: Any, **more: Any) -> None:
                setattr(self, name, one)
                original(one, *arguments, **more)

            return begin

        for (kind, original), name in zip(originals.items(), ("_session", "_evaluations", "writer")):
            kind.__init__ = begun(name, original)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for kind, original in originals.items():
                kind.__init__ = original  # type: ignore[method-assign]

    def __call__(self, run: Run) -> None:
        self._run, launcher = run, wait_for(lambda: run.launcher)
        self._launcher = launcher
        wait_for(lambda: launcher.epoch_runs)
        for kind in self._kinds:
            time.sleep(self._generator.exponential(self._pause))
            pids = wait_for(lambda kind=kind: self._victims(kind), 120)
            waits = self._generator.random() < 0.8
            for pid in pids:
                kill(pid)
            self._dead.update(pids)
            before, self._written = self._steps(), self.writer.written
            self.killed[kind] += 1
            if waits or kind in ("writer", "evaluator", "fork server", "all at once"):
                wait_for(lambda kind=kind, pids=pids: self._successors(kind, pids), 120)
                wait_for(lambda before=before: self._steps() > before + 20, 120)
        wait_for(lambda: self._all_work() and self._steps() > 300, 120)
        before, version = self._steps(), launcher.version()
        wait_for(lambda: launcher.epoch_runs and launcher.version() > version + 3 and self._steps() > before + 50, 120)
        self._session._deadline = time.monotonic()  # the run is over by its time, which is a completion

    def _steps(self) -> float:
        return float(self._launcher._ground.ledger.total("steps"))

    def _victims(self, kind: str) -> list[int]:
        """The processes to be killed now; none where there is none of that kind."""
        one = {"writer": self._writers, "evaluator": self._evaluators, "tracker": self._trackers, "fork server": self._servers}
        if kind in one:
            return one[kind]()
        if kind == "all at once":
            return [*self._servers(), *self._trackers(), *self._writers(), *self._evaluators(), *self._run.pids().values()]
        workers, last = self._run.pids(), len(self._launcher.slots) - 1
        if kind == "learner":
            return self._noted(last, workers) if workers.get(last, 0) not in {0, *self._dead} else []
        candidates = [worker for worker, pid in workers.items() if pid not in self._dead and (worker != last or not self._learns)]
        return self._noted(int(self._generator.choice(candidates)), workers) if candidates else []

    def _noted(self, worker: int, pids: dict[int, int]) -> list[int]:
        granted = self._launcher.slots[worker].granted
        self.phases[PHASES[self._launcher._ground.board.stands(worker, PHASE)] if granted else "starting"] += 1
        return [pids[worker]]

    def _successors(self, kind: str, pids: list[int]) -> bool:
        if kind in ("fork server", "all at once"):
            return bool(self._servers()) and self._servers() != pids[:1] and self._all_work()
        if kind == "writer":
            # One that dies three times in a row without having written anything is given up: its successor has written.
            return bool(self._writers()) and self._writers() != pids and self.writer.written > self._written
        if kind == "evaluator":
            return bool(self._evaluators()) and self._evaluators() != pids
        return kind == "tracker" or self._all_work()

    def _all_work(self) -> bool:
        pids = self._run.pids()
        return all(slot.granted and pids.get(worker, 0) not in {0, *self._dead} for worker, slot in enumerate(self._launcher.slots))

    def _writers(self) -> list[int]:
        return [pid] if (pid := self.writer.process_id) else []

    def _evaluators(self) -> list[int]:
        process = self._evaluations._process
        try:
            return [process.pid] if process is not None and self._evaluations._connection is not None else []
        except ValueError:  # closed this instant
            return []

    def _trackers(self) -> list[int]:
        return [pid] if (pid := resource_tracker._resource_tracker._pid) else []

    def _servers(self) -> list[int]:
        return [pid] if (pid := forkserver._forkserver._forkserver_pid) else []


def environment(algo: str) -> Any:
    """Made anew in each process, and never as fast twice."""
    name = "Pendulum-v1" if algo == "td3" else "CartPole-v1"
    return lambda: Jitter(gymnasium.make(name), 0.002, 0.05)


def storm(folder: Path, algo: str, mode: str, count: int, pause: float = 0.05, **options: Any) -> str:
    """A run under so many kills; checks its books, and returns them as a line."""
    shared = set(os.listdir("/dev/shm"))
    weather = Storm(algo, count, pause, seed=len(mode) + 10 * len(algo))
    settings = {"workers": 3, "steps": 10**9, "max_failures": 10**6, "checkpoint_every": 5000, "evaluate_every": 200}
    settings |= {"evaluation_episodes": 1, **TOPOLOGIES[algo], **options}
    with patience(), weather.watching():
        run = train(folder, environment(algo), weather, algo=algo, mode=mode, hang_seconds=300.0, **settings)
    assert sum(weather.killed.values()) == count
    check_run(run, weather)
    check_reports(run, weather.writer)
    check_learning(run, algo)
    check_nothing_left(shared)
    return row(run, weather, algo, mode)


def check_run(run: Run, weather: Storm) -> None:
    """It came to its end, everybody was replaced, and what was learned in the end was evaluated."""
    summary, killed = run.summary, weather.killed
    assert summary["status"] == "completed"
    assert summary["evaluation_steps"] is not None and summary["evaluation_return"] is not None
    slots, together = len(run.launcher.slots), killed["fork server"] + killed["all at once"]
    alone = killed["worker"] + killed["learner"]
    assert alone <= summary["restarts"] <= alone + slots * together
    assert summary["steps"] == sum(run.column("steps")) or (goes_beyond(run) and summary["steps"] < sum(run.column("steps")))
    saved, arrays = read_part(newest(run.folder), "run")
    assert saved["steps"] == summary["steps"] or "state/used_steps" in arrays
    assert np.isfinite(arrays["parameters"]).all()


def goes_beyond(run: Run) -> bool:
    """Whether it has begun a generation beyond its end, which reports and ledger count and the summary does not."""
    return (run.summary["algo"], run.summary["mode"]) == ("es", "pipelined")


def check_reports(run: Run, writer: Writer) -> None:
    """Every report is there once and in order, for TensorBoard too; the last one says what the summary says."""
    assert writer.dropped == 0
    lines = lines_of(run.folder)
    assert len(lines) == writer.written, [line["step"] for line in lines]
    steps = [line["step"] for line in lines if "updates" in line]
    assert steps == sorted(steps)
    assert steps[-1] == run.summary["steps"] or (goes_beyond(run) and run.summary["steps"] < steps[-1] <= sum(run.column("steps")))
    seen = read_events(run.folder)
    assert [event.step for event in seen.Scalars("memory/rss_mb")] == [line["step"] for line in lines if "memory/rss_mb" in line]
    assert len(seen.Scalars("evaluation/return")) == sum("evaluation/return" in line for line in lines)
    assert json.loads((run.folder / "summary.json").read_text())["steps"] == run.summary["steps"]


def check_learning(run: Run, algo: str) -> None:
    """Nothing that was handed over is lost or counted twice."""
    if algo == "a3c":
        run.check_books(10)
    elif algo == "es":
        test_search_runs.check_books(run, TOPOLOGIES[algo]["population"])
    else:
        test_stream_runs.check_books(run)
        if algo == "td3":
            test_stream_runs.check_replay(test_stream_runs.learner_part(run))


def row(run: Run, weather: Storm, algo: str, mode: str) -> str:
    """The books as a row of a table."""
    summary = run.summary
    kills = ", ".join(f"{kind} {number}" for kind, number in sorted(weather.killed.items()))
    phases = ", ".join(f"{phase} {number}" for phase, number in sorted(weather.phases.items()))
    cells = [algo, mode, f"{sum(weather.killed.values())} ({kills})", phases, summary["restarts"], summary["steps"], summary["updates"]]
    return "| " + " | ".join(str(cell) for cell in [*cells, weather.writer.written, f"{summary['seconds']:.0f} s"]) + " |"


HEAD = "| | mode | kills | workers were | restarts | steps | updates | reports | |\n|---|---|---|---|---|---|---|---|---|"
