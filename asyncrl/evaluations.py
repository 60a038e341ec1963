"""Greedy evaluations during and after training, by one evaluator process."""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from asyncrl.interrupts import held, interruptible
from asyncrl.processes import start, stop_all
from asyncrl.reports import Reports
from asyncrl.topologies.topology import Topology
from asyncrl.workers.evaluator import Evaluated, Evaluation, run_evaluator
from asyncrl.workers.messages import Failed, Ready


class Evaluations:
    """At most one snapshot is under way; the next is taken when that one is done and its time has come.

    An evaluator that was killed is started again when the next evaluation is due; one that raised is not.
    """

    def __init__(self, context: BaseContext, task: Evaluated, episodes: int, seed: int):
        self._context, self._task, self._episodes, self._seed = context, task, episodes, seed
        self._process: Any = None
        self._connection: Connection | None = None
        self._ready = False
        self._busy = False
        self._next = 0
        self._failed = episodes == 0
        self.newest: Evaluation | None = None

    def tick(self, every: int, topology: Topology, reports: Reports) -> None:
        """Take in what has come; start an evaluation if one is due every so many steps (0: never). Waits for nothing."""
        while self._connection is not None and self._connection.poll():
            self._receive(reports)
        if not every or self._failed or self._busy or topology.steps < self._next:
            return
        if self._connection is None:
            self._start()
        elif self._ready:
            self._next = (topology.steps // every + 1) * every
            self._send(topology, reports)

    def final(self, topology: Topology, reports: Reports) -> Evaluation | None:
        """Evaluate what was learned in the end, and wait for it. Raises KeyboardInterrupt where that is cut short."""
        while self._busy:
            self._wait_and_receive(reports)
        if self._failed:
            return self.newest
        if self._connection is None:
            self._start()
        while self._connection is not None and not self._ready:
            self._wait_and_receive(reports)
        if self._ready:
            self._send(topology, reports)
        while self._busy:
            self._wait_and_receive(reports)
        return self.newest

    def _wait_and_receive(self, reports: Reports) -> None:
        assert self._connection is not None
        with interruptible():
            self._connection.poll(None)
        self._receive(reports)

    def _start(self) -> None:
        arguments = (self._task, self._seed + 1_000_003, self._episodes)
        with held():
            self._process, self._connection = start(self._context, run_evaluator, "asyncrl-evaluator", arguments)

    def _send(self, topology: Topology, reports: Reports) -> None:
        assert self._connection is not None
        try:
            self._connection.send(topology.snapshot())
            self._busy = True
        except OSError:
            self._lost(reports)

    def _receive(self, reports: Reports) -> None:
        assert self._connection is not None
        try:
            message = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._lost(reports)
            return
        if isinstance(message, Ready):
            self._ready = True
        elif isinstance(message, Evaluation):
            self._busy = False
            self.newest = message
            reports.evaluated(message.steps, message.mean)
        elif isinstance(message, Failed):
            self._failed = True
            reports.note(f"evaluation stopped: {message.text}")
            self.close()

    def _lost(self, reports: Reports) -> None:
        reports.note("the evaluator was killed; the next evaluation starts another")
        self.close()

    def close(self) -> None:
        """End the process. Idempotent."""
        connection, self._connection = self._connection, None
        self._ready = self._busy = False
        if connection is not None:
            connection.close()
            stop_all([self._process], 1.0)
            self._process.close()
