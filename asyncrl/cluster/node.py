"""A site, on its own machine: workers of the search as they are, over shared memory of this machine, and a bridge in the learner's place.

The bridge puts the tickets that were offered into a window like the learner's, with the same numbers, and collects what is done. Since
numbers, generations and versions are those of the run, workers need not know where they are.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from asyncrl.cluster.bridge import Window
from asyncrl.cluster.engine import NUMBERS, Answer, Begun, Offer, Problem, SiteTask
from asyncrl.cluster.household import SiteCrew, SiteEstate, node_layout
from asyncrl.cluster.probe import digest_of
from asyncrl.errors import Hopeless, UserError
from asyncrl.experiment.experiment import RunOptions
from asyncrl.heads.tables import attach_tables, set_tables
from asyncrl.launcher import Launcher, Watch
from asyncrl.processes.starting import warm_up
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES
from asyncrl.scheduler.modes import parse_mode
from asyncrl.topologies import run_context
from asyncrl.topologies.search.evaluating import Best
from asyncrl.topologies.search.generations import place_of
from asyncrl.topologies.search.plan import Published, SearchPlan, SearchTask, ground_of, search_policy
from asyncrl.topologies.search.worker import run_search_worker
from asyncrl.topologies.topology import allocate
from asyncrl.workers.plan import EPISODE_SLOTS, episode_ring

TURN_SECONDS = 0.5
FOR_EVER = 2**60
"""A mark that is never reached: the epoch of a site ends when its place says so."""


class Node:
    """A site. Its methods may be called from several threads; a thread of its own, the bridge, looks after the workers."""

    def __init__(self, given: SiteTask):
        """Starts the workers. Raises whatever they raise, and what is wrong with the environment on this machine."""
        task: SearchTask = cloudpickle.loads(given.search)
        common = replace(task.common, workers=given.workers, delay="")
        self._task = task = replace(task, common=common)
        self._search = task.search(task.size)
        self._context = run_context()
        warm_up()
        self._memory, parking = allocate(node_layout(task, self._search), RunOptions())
        self._pipes = parking.carried()
        if task.function is None:
            head = search_policy(common).head
            attach_tables(head, self._memory)
            set_tables(head, given.tables)
        self.digest = digest_of(task, self._memory)
        self._ground = ground = ground_of(task, self._search, self._memory, self._pipes)
        ground.snapshots.pass_on(Published.empty(task, self._search).vector, 0)
        self._window = Window(ground)
        self._window.warm_up()
        estate = SiteEstate(ground)
        estate.window = self._window
        self._notes: list[str] = []
        self._problem: Problem | None = None
        watch = Watch(given.max_failures, math.inf, False, self._notes.append, lambda news: None, lambda worker: f"worker {worker}")
        self._launcher = Launcher(self._context, ground, estate, self._body_of, watch, SiteCrew)
        self._rings = [episode_ring(self._memory, worker) for worker in range(given.workers)]
        self._kept: dict[str, NDArray[Any]] = {"order": NUMBERS, "episode_return": np.zeros(0), "length": NUMBERS}
        self._told_best = -math.inf
        self._there = threading.Condition()
        self._mode, self._wanted = "", ""
        self._ends = False
        self._started = threading.Event()
        self._bridge = threading.Thread(target=self._guarded, name="asyncrl-bridge", daemon=True)
        self._bridge.start()
        self._started.wait()

    def _body_of(self, worker: int, generation: int) -> tuple[Callable[..., None], Any]:
        return run_search_worker, SearchPlan(self._task, worker, generation, self._memory, self._pipes, None)

    # Calls from the place that holds this site.

    def begun(self) -> Begun:
        """What the place wants to know first. Raises what has kept the workers from being built."""
        if self._problem is not None:
            kind = Hopeless if self._problem.hopeless else UserError if self._problem.of_the_user else RuntimeError
            raise kind(f"{self._problem.text}\n{self._problem.traceback}")
        return Begun(self.digest)

    def begin(self, mode: str) -> Answer:
        """Let the workers work in this mode, once they have ended what they had begun."""
        with self._there:
            self._wanted = mode
            self._wake()
            self._there.wait_for(lambda: self._mode == self._wanted or self._problem is not None)
        return self._answer()

    def offer(self, offer: Offer) -> Answer:
        """Take tickets, and the versions that they act on."""
        for version, vector in offer.vectors:
            self._ground.snapshots.pass_on(vector, version)
        self._window.forget(offer.forget)
        refused = self._window.put(offer.tickets)
        self._ground.parking.wake_all()
        return self._answer(refused)

    def records(self, seconds: float, gather: float) -> Answer:
        """What is done; waits for it, at most so many seconds, and then for what comes with it."""
        with self._there:
            self._there.wait_for(lambda: self._window.has_news() or self._is_told(), seconds)
            self._there.wait_for(lambda: self._window.is_done() or self._is_told(), gather)
        return self._answer()

    def _is_told(self) -> bool:
        """Whether there is something that the place must hear at once."""
        return self._problem is not None or bool(self._notes)

    def withdraw(self) -> Answer:
        """Leave every ticket that no worker has begun."""
        return self._answer(self._window.withdraw())

    def close(self) -> None:
        """End every process of the site."""
        self._ends = True
        self._wake()
        self._bridge.join(30.0)

    def _wake(self) -> None:
        self._ground.parking.wake(self._ground.learner)

    # The bridge.

    def _guarded(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - whatever has failed must reach the place
            text, _, trace = str(error).partition("\n")
            trace = "\n".join([trace, *getattr(error, "__notes__", [])]).strip() or traceback.format_exc()
            problem = Problem(text or type(error).__name__, trace, isinstance(error, UserError), isinstance(error, Hopeless))
        else:
            problem = Problem("the site was closed", "", False, False)
        with self._there:
            self._problem = problem
            self._there.notify_all()
        self._started.set()
        with contextlib.suppress(Exception):
            self._launcher.stop()

    def _serve(self) -> None:
        launcher = self._launcher
        launcher.start(self._check)
        self._started.set()
        while not self._ends:
            if self._wanted != self._mode:
                self._change_mode()
            launcher.turn(TURN_SECONDS)
            if self._window.has_news() or self._notes:
                with self._there:
                    self._there.notify_all()

    def _check(self) -> None:
        if self._ends:
            raise RuntimeError("the site was closed")

    def _change_mode(self) -> None:
        """Through the gate into the mode that is wanted; workers end what they have begun."""
        launcher, wanted = self._launcher, self._wanted
        if launcher.epoch_runs:
            launcher.request_gate()
            while not launcher.all_at_gate() and not self._ends:
                launcher.turn(TURN_SECONDS)
            launcher.close_epoch()
        launcher.open_gate(parse_mode(wanted), FOR_EVER)
        with self._there:
            self._mode = wanted
            self._there.notify_all()

    def _answer(self, dropped: NDArray[np.int64] = NUMBERS) -> Answer:
        with self._there:  # episodes of an evaluation are read by whoever takes its record
            numbers, records = self._window.collect()
            episodes = self._episodes(numbers)
            notes, self._notes[:] = tuple(self._notes), []
            ledger = self._ground.ledger
            rows = ledger.read_all()[:-1]
            seconds = tuple(float(ledger.column(rows, f"{name}_seconds").sum()) for name in ("environment", "act"))
            best = self._new_best() if self._task.space.of_function else None
        return Answer(numbers, records, episodes, dropped, seconds, self._idle(), best, notes, self._problem)  # type: ignore[arg-type]

    def _episodes(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Those of these evaluations; they are in the rings by then, those of others are kept."""
        drained = [ring.drain() for ring in self._rings]
        found = {name: np.concatenate([kept, *(one[name] for one in drained)]) for name, kept in self._kept.items()}
        mine = np.isin(found["order"] // place_of(1, 0), numbers)
        self._kept = {name: array[~mine][-EPISODE_SLOTS:] for name, array in found.items()}
        return {name: array[mine] for name, array in found.items()}

    def _idle(self) -> float:
        board, now = self._ground.board, time.monotonic_ns()
        acting = [worker for worker in range(self._ground.learner) if PHASES[board.stands(worker, PHASE)] == "acting"]
        return max(((now - board.stands(worker, HEARTBEAT)) / 1e9 for worker in acting), default=0.0)

    def _new_best(self) -> tuple[float, NDArray[np.float64]] | None:
        found = [best for best in (Best(self._memory, worker).get() for worker in range(self._ground.learner)) if best is not None]
        best = max(found, key=lambda one: one[0], default=None)
        if best is None or best[0] <= self._told_best:
            return None
        self._told_best = best[0]
        return best
