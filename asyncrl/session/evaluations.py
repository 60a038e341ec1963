"""Greedy evaluations during and after training, in one evaluator process."""

from __future__ import annotations

import contextlib
import time
from multiprocessing import connection as mp_connection
from multiprocessing.connection import Connection
from typing import Any

from asyncrl.processes.fork_server import Context
from asyncrl.processes.interrupts import held, interruptible
from asyncrl.processes.starting import start, stop_all, usable_cores
from asyncrl.session.reports import Reports
from asyncrl.topologies import essential_part
from asyncrl.topologies.players import player_of
from asyncrl.topologies.topology import Topology
from asyncrl.workers.evaluator import MakeArtist, run_evaluator
from asyncrl.workers.messages import Drawn, Failed, Ready
from asyncrl.workers.plan import Task
from asyncrl.workers.player import Evaluation, Snapshot

MOST_DEATHS = 3
"""After so many deaths of the evaluator in a row, without an evaluation in between, the present evaluation is left out; after so many
while it drew there are no more pictures."""

TIMES = 20
"""Evaluations of a run whose user names no other number."""
SHARE = 0.02
"""Of the workers' processor time, what these may take: in `sync` all wait for the worker that is held up, so it may cost half as much
again."""
START_SECONDS = 1.5
"""Processor seconds that the process takes until it can evaluate; a run that is too short for that evaluates at its end only."""
PICTURES_SECONDS = 3.0
"""Processor seconds that its first pictures take besides, which load the libraries that draw."""


class Evaluations:
    """Sends snapshots of the parameters to the evaluator process and receives the evaluations, one at a time.

    The next snapshot is taken when the previous evaluation is done and the next is due; where the user has not said how often that is,
    also only when it can be afforded. An evaluator that was killed is started
    again and gets the same snapshot once more; after one that has raised an exception there are no further evaluations. Where there are
    pictures, an evaluation is done when they are drawn, so that their time counts; the death of who draws them costs those alone.
    """

    def __init__(self, context: Context, task: Task, episodes: int, seed: int, artist: MakeArtist | None = None):
        """`artist`: makes what draws each snapshot after it was evaluated; None for no pictures."""
        self._context, self._task, self._episodes, self._seed = context, task, episodes, seed
        self._artist = artist
        self._draws, self._lost_drawing = False, 0
        self._process: Any = None
        self._connection: Connection | None = None
        self._ready = False
        self._under_way: Snapshot | None = None
        self._sent = False
        self._next = 0
        self._deaths = self._ended = 0
        self._left_out = False
        self._failed = episodes == 0
        self._first_tick: float | None = None
        self._spent = self._spent_by_dead = self._dearest = 0.0
        self.newest: Evaluation | None = None

    def tick(self, every: int | None, topology: Topology, reports: Reports) -> None:
        """Receive messages, and start an evaluation if one is due. Does not wait.

        There is one every `every` steps (0: none); of None, every twentieth of the run, as far as it can be afforded.
        """
        while self._connection is not None and self._has_news(0.0):
            self._receive(reports)
        if every == 0 or self._failed or (every is None and not self._affordable()):
            return
        every = every or max(self._task.target_steps // TIMES, 1)
        following = (topology.steps // every + 1) * every
        if self._left_out:
            self._next, self._left_out = following, False
        if (self._under_way is not None or topology.steps >= self._next) and self._advance(topology):
            self._next = following

    def _affordable(self) -> bool:
        """Whether an evaluation would leave the processor time of all of them within their share of what has passed."""
        now = time.monotonic()
        self._first_tick = self._first_tick or now
        if self._under_way is not None:
            return True
        processes = self._task.workers + (essential_part(self._task.algo) is not None)
        share = 1.0 if processes < usable_cores() else SHARE * min(processes, usable_cores())
        cost = self._dearest
        if self._connection is None:
            cost = START_SECONDS + (PICTURES_SECONDS if self._artist is not None else 0.0)
        return self._spent_by_dead + self._spent + cost <= share * (now - self._first_tick)

    def final(self, topology: Topology, reports: Reports) -> Evaluation | None:
        """Evaluate the final parameters and wait for the result. Raises KeyboardInterrupt if that is interrupted."""
        if self._under_way is not None:
            self._finish(topology, reports)
        self._finish(topology, reports)
        return self.newest

    def _finish(self, topology: Topology, reports: Reports) -> None:
        """Wait until one more evaluation is done or left out."""
        ended = self._ended
        while self._ended == ended and not self._failed:
            self._advance(topology)
            with interruptible():
                self._has_news(None)
            self._receive(reports)

    def _advance(self, topology: Topology) -> bool:
        """Start the process, or send it the snapshot to evaluate. Does not wait. Returns whether a new snapshot was taken."""
        taken = False
        if self._connection is None:
            self._start()
        elif self._ready and not self._sent:
            taken = self._under_way is None
            self._under_way = self._under_way or topology.snapshot()
            self._sent = True
            with contextlib.suppress(OSError):  # it has just died, which its sentinel reports
                self._connection.send(self._under_way)
        return taken

    def _start(self) -> None:
        arguments = (player_of, self._artist, self._task, self._seed + 1_000_003, self._episodes)
        with held():
            self._process, self._connection = start(self._context, run_evaluator, "asyncrl-evaluator", arguments)

    def _has_news(self, seconds: float | None) -> bool:
        """Whether there is a message, or the process is dead. (A program that it has started may keep the connection open.)"""
        assert self._connection is not None
        return bool(mp_connection.wait([self._connection, self._process.sentinel], seconds))

    def _receive(self, reports: Reports) -> None:
        """Receive one message, or handle the death of the process."""
        assert self._connection is not None
        try:
            message = self._connection.recv() if self._connection.poll() else None
        except (EOFError, ConnectionResetError):
            message = None
        if isinstance(message, Ready):
            self._ready = True
        elif isinstance(message, Evaluation):
            self._deaths, self.newest = 0, message
            reports.evaluated(message)
            self._draws = self._artist is not None
            if not self._draws:
                self._done(message.processor_seconds)
        elif isinstance(message, Drawn):
            for note in message.notes:
                reports.note(note)
            self._draws, self._lost_drawing = False, 0
            self._done(message.processor_seconds)
        elif isinstance(message, Failed):
            self._failed = True
            reports.note(f"evaluation stopped: {message.text}")
            self.close()
        else:
            self._lost(reports)

    def _done(self, processor_seconds: float) -> None:
        """The snapshot under way is evaluated, and drawn; `processor_seconds`: that its process has taken in all."""
        self._under_way, self._sent = None, False
        self._ended += 1
        if self._spent:  # the first has the start of the process in it
            self._dearest = max(self._dearest, processor_seconds - self._spent)
        self._spent = processor_seconds

    def _lost(self, reports: Reports) -> None:
        self._process.join(1.0)
        counts = not self._process.lost  # a process that is lost with the fork server is no failure of the user's code
        self.close()
        if self._draws:
            self._draws, self._under_way = False, None
            self._ended += 1
            self._lost_drawing += counts
            if self._lost_drawing == MOST_DEATHS:
                self._artist = None
            rest = "there are no more" if self._artist is None else "those of this evaluation are left out"
            reports.note(f"the evaluator was killed while it drew pictures; {rest}")
            return
        self._deaths += counts
        if self._deaths < MOST_DEATHS:
            reports.note("the evaluator was killed; another one is started")
        else:
            reports.note(f"the evaluator was killed {self._deaths} times in a row; this evaluation is left out")
            self._under_way, self._deaths = None, 0
            self._ended, self._left_out = self._ended + 1, True

    def close(self) -> None:
        """End the process. Idempotent."""
        connection, self._connection = self._connection, None
        self._ready = self._sent = False
        self._spent_by_dead, self._spent = self._spent_by_dead + self._spent, 0.0
        if connection is not None:
            connection.close()
            stop_all([self._process], 1.0)
            self._process.close()
