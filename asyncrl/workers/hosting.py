"""The host: one process in which all workers of a simulated run are, and its learner, each with the body that it has in a real run."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection as mp_connection
from multiprocessing.connection import Connection
from typing import Any

import psutil

from asyncrl.errors import UserError
from asyncrl.experiment.simulated_times import Durations
from asyncrl.processes.starting import settle_in
from asyncrl.scheduler.board import OPENED, PHASE, PHASES, REQUEST, Board
from asyncrl.shared.arrays import SharedArrays, free_bytes
from asyncrl.shared.parking import RECHECK_SECONDS, PipesToCarry
from asyncrl.shared.turns import Turns, VirtualParking
from asyncrl.workers.belongings import Belongings
from asyncrl.workers.leaving import live, to_stderr
from asyncrl.workers.line import Line
from asyncrl.workers.messages import Failed, Note, Ready

FIRST, MEASURED = 2, 8
"""The memory that a worker takes is measured by so many, after the first ones, with which libraries are loaded."""

QUIET = [PHASES.index(name) for name in ("starting", "at the gate", "saving")]
"""Phases outside of rounds."""

Bodies = Sequence[tuple[Callable[..., None], Any]]
"""What each place runs, and what it is handed: see `asyncrl.topologies.topology.Topology.body_of`."""


@dataclass(frozen=True)
class Hosting:
    """What the host is handed beside its workers' shares."""

    memory: SharedArrays
    """With the arrays of `virtual_layout`."""
    pipes: PipesToCarry
    """The same object that the workers' shares have."""
    durations: Durations
    seed: int
    workers: int
    seconds: float | None
    """Virtual seconds after which nobody goes on before the launcher has asked for the gate."""
    draws_apart: bool
    """Whether code of the user's that may draw from the process's own generators runs in rounds. Without that each worker still has its
    own of these, but only where it is built and saved."""


class _Ended(Exception):
    """A worker has failed, and has told the launcher: without it the others' run is not the one that was asked for."""


class Host:
    """The process's side: a line for each worker, and what of the process belongs to whoever has the turn."""

    def __init__(self, bodies: Bodies, hosting: Hosting, connection: Connection):
        self._hosting, self._connection = hosting, connection
        memory = hosting.memory
        self._board = Board(memory.part("board"))
        self._turns = Turns(memory["virtual/now"], self._enter, self._listen)
        draws = partial(hosting.durations.draws, hosting.seed, hosting.workers)
        sleeping, pipes = memory["parking/sleeping"], hosting.pipes.pipes
        hosting.pipes.own = VirtualParking(sleeping, pipes, self._turns, draws, memory["virtual/rounds"])
        self._pipe = pipes[0][0]
        self._belongings = Belongings()
        self._built, self._taken = 0, 0
        self._lines = [Line(place, self._send, self._turns.wait) for place in range(len(bodies))]
        for place, (body, plan) in enumerate(bodies):
            self._turns.add(place, partial(body, plan, self._lines[place]))

    def run(self) -> int:
        """The exit code, once every worker's work is done or one has failed."""
        try:
            self._turns.limit = self._limit()
            self._turns.run()
        except _Ended:
            return 1
        return 0

    def _enter(self, place: int) -> None:
        """Let what a process has once be the worker's."""
        self._belongings.enter(place, self._hosting.draws_apart or self._board.stands(place, PHASE) in QUIET)

    def _listen(self, seconds: float) -> None:
        """See `Turns`."""
        if seconds > 0 and self._connection in mp_connection.wait([self._connection, self._pipe], min(seconds, RECHECK_SECONDS)):
            place, message = self._connection.recv()
            self._lines[place].inbox.append(message)
        try:
            while os.read(self._pipe, 64):
                if seconds == 0:
                    self._turns.wake_all()
        except BlockingIOError:
            self._turns.limit = self._limit()

    def _limit(self) -> float:
        asked = self._board.order(REQUEST) > self._board.order(OPENED)
        return math.inf if asked or self._hosting.seconds is None else self._hosting.seconds

    def _send(self, told: tuple[int, Any]) -> None:
        self._connection.send(told)
        if isinstance(told[1], Ready):
            self._weigh()
        elif isinstance(told[1], Failed):
            raise _Ended

    def _weigh(self) -> None:
        """Raise UserError where what the first workers take says that there is too little memory for all of them."""
        self._built += 1
        if self._built == len(self._lines):
            gc.collect()
            gc.freeze()  # what so many workers are made of need not be looked through again and again
        if self._built not in (FIRST, FIRST + MEASURED):
            return
        taken, before = psutil.Process().memory_info().rss, self._taken
        self._taken = taken
        if before:
            check_memory((taken - before) / MEASURED, len(self._lines) - self._built, free_bytes(None))


def check_memory(each: float, left: int, free: int) -> None:
    """Raise UserError where `left` more workers of so many bytes do not fit into what is free."""
    if each * left > free:
        raise UserError(
            f"too little memory: a virtual worker takes about {each:,.0f} bytes, {left} more need {each * left:,.0f}, {free:,} are free "
            "(allowed: fewer workers, or an environment and a network that take less)"
        )


def run_host(bodies: Bodies, hosting: Hosting, connection: Connection) -> None:
    """Process body of the host. Each body is given a `Line` for a connection."""

    def work() -> int:
        settle_in(None)
        return Host(bodies, hosting, connection).run()

    def tell(text: str) -> None:
        try:
            connection.send((0, Note(text)))
        except OSError:
            to_stderr(text)

    live(work, tell)
