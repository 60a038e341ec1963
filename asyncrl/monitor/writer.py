"""The main process's side of the writer process: queues reports and sends them, without ever waiting for the disk."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import WorkerFailed
from asyncrl.monitor.events import new_file_name
from asyncrl.monitor.recorder import Answer, End, Open, Report, Sizes, writer_main
from asyncrl.processes.fork_server import Child, Context
from asyncrl.processes.interrupts import held
from asyncrl.processes.starting import start

MOST_DEATHS = 3
"""After so many deaths in a row, without a report written in between, the writer process is not started again."""

MOST_PATIENCE = 6
"""How many times its seconds closing takes at most, where reports are still being written."""


class Writer:
    """Queues reports and sends them to the writer process one at a time, each after the answer to the one before.

    So at most one message is in the pipe, and sending cannot block. While the writer process is slow or stopped, reports
    wait in the queue; if more than `most_queued` wait, the oldest is dropped and counted. If the process cannot write (a full
    disk), a warning is given once and it tries again with each new report. If it dies, a warning is given and a new one is
    started, which continues the same files and gets the report that the dead one had not confirmed. Neither stops a run.

    Used by one thread. `context` starts the process.
    """

    def __init__(
        self,
        context: Context,
        folder: str | os.PathLike[str],
        settings: Mapping[str, Any],
        most_queued: int = 100,
        after: int | None = None,
    ):
        """`folder`: must exist; `settings`: for the page HPARAMS, may be nested; `after`: the step at which a resumed run continues."""
        self._after = after
        self._context = context
        self._folder = os.fspath(folder)
        self._settings = dict(settings)
        self._queue: deque[Report] = deque()
        self._most_queued = most_queued
        self._awaiting: Open | Report | End | None = None
        self._warned_of_error = False
        self._warnings: list[str] = []
        self._events_name = new_file_name()
        self._confirmed: Sizes | None = None
        self._deaths = self._starts = 0
        self._process: Child | None = None
        self._connection: Connection | None = None
        self.dropped = 0
        """How many reports were lost."""
        self.written = 0
        """How many reports the writer process has confirmed."""
        self._start()

    @property
    def process_id(self) -> int | None:
        """The process id of the writer process; None if there is none, after `close` or after too many deaths."""
        return self._process.pid if self._process is not None else None

    def send(self, report: Mapping[str, float], lag_histogram: NDArray[np.float64] | None = None) -> None:
        """Queue a report for writing. Returns at once, whatever state the writer process is in.

        `report` must have the name "step"; values that are not finite are left out, since standard JSON cannot express them.
        `lag_histogram` [LAG_BINS]: how often each lag occurred in its interval.
        """
        values = {name: float(value) for name, value in report.items() if math.isfinite(value)}
        self._queue.append(Report(values, lag_histogram, time.time()))
        self._advance()
        while len(self._queue) > (self._most_queued if self._process is not None else 0):
            self._queue.popleft()
            self.dropped += 1

    def poll(self) -> list[str]:
        """Receive answers, send waiting reports, and return the warnings for the user that are new since the last call."""
        self._advance()
        warnings, self._warnings = self._warnings, []
        return warnings

    def close(self, seconds: float = 5.0, status: str = "completed") -> list[str]:
        """Have the waiting reports written and end the process; returns the last warnings.

        It is killed after `seconds`. Of a completed run, whose end nobody waits for at a keyboard, it has so long for each report, and
        MOST_PATIENCE times as long in all, to begin too: on a busy machine reports may be waiting that a killed process has left behind.
        `status`: how the run ended, for the page HPARAMS.
        """
        deadline = time.monotonic() + seconds
        latest = time.monotonic() + MOST_PATIENCE * seconds if status == "completed" else deadline
        while self._process is not None and time.monotonic() < deadline:
            starts, written = self._starts, self.written
            self._send_next()
            if self._awaiting is None:
                self._send(End(status))
            ending = isinstance(self._awaiting, End)
            if self._starts == starts:
                self._wait(deadline)
            if self._starts > starts:  # the process died: its replacement gets the full time
                deadline = time.monotonic() + seconds
            elif ending and self._awaiting is None:
                break
            elif self.written > written or isinstance(self._awaiting, Open):
                deadline = max(deadline, min(time.monotonic() + seconds, latest))
        self._end(deadline)
        if self.dropped:
            self._warnings.append(f"{self.dropped} reports are missing in the event file and metrics.jsonl of {self._folder}")
        return self.poll()

    def _advance(self) -> None:
        while self._connection is not None and self._awaiting is not None:
            try:
                if not self._connection.poll():
                    return
                self._answered(self._connection.recv())
            except (EOFError, OSError):
                self._died()
            self._send_next()
        self._send_next()

    def _send_next(self) -> None:
        while self._queue and self._awaiting is None and self._connection is not None:
            self._send(self._queue.popleft())

    def _send(self, message: Open | Report | End) -> None:
        assert self._connection is not None
        self._awaiting = message
        try:
            self._connection.send(message)
        except OSError:
            self._died()

    def _answered(self, answer: Answer) -> None:
        message, self._awaiting = self._awaiting, None
        error, self._confirmed = answer.error, answer.sizes or self._confirmed
        if isinstance(message, Report):
            self._deaths = 0
        if error is None:
            self.written += isinstance(message, Report)
            return
        self.dropped += isinstance(message, Report)
        if not self._warned_of_error:
            self._warned_of_error = True
            self._warnings.append(f"cannot write reports to {self._folder}: {error}; training goes on, reports are lost while this lasts")

    def _wait(self, deadline: float) -> None:
        """Wait for the next answer, at most until `deadline`."""
        left = deadline - time.monotonic()
        if left > 0 and self._connection is not None:
            with suppress(OSError):  # _advance gets the same error and handles it
                self._connection.poll(left)
            self._advance()

    def _start(self) -> None:
        self._starts += 1
        arguments = (self._folder, self._events_name, self._settings, self._after)
        with held():
            self._process, self._connection = start(self._context, writer_main, "asyncrl-writer", arguments)
        self._send(Open(self._confirmed))

    def _died(self) -> None:
        """Handle the death of the process: queue the unconfirmed report again, and start a new process or give up."""
        assert self._process is not None
        assert self._connection is not None
        if isinstance(self._awaiting, Report):
            self._queue.appendleft(self._awaiting)
        self._awaiting = None
        self._process.kill()  # also if only the connection was closed: two processes must not write to one file
        self._process.join(0.2)
        code = self._process.exitcode
        reason = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        self._deaths += not self._process.lost  # a process that is lost with the fork server did not fail by itself
        self._release()
        if self._deaths == MOST_DEATHS:
            self._give_up(f"died {MOST_DEATHS} times in a row ({reason})")
            return
        self._warnings.append(f"the process that writes reports died ({reason}) and is started again")
        try:
            self._start()
        except (OSError, WorkerFailed) as error:
            self._give_up(f"cannot be started again ({error})")

    def _give_up(self, why: str) -> None:
        self._release()
        self.dropped += len(self._queue)
        self._queue.clear()
        self._warnings.append(f"the process that writes reports {why}; training goes on without reports")

    def _end(self, deadline: float) -> None:
        if self._process is None:
            return
        self._process.join(max(0.0, deadline - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join(1.0)
            self._warnings.append("the process that writes reports did not finish in time and was killed")
        self.dropped += len(self._queue) + isinstance(self._awaiting, Report)
        self._queue.clear()
        self._awaiting = None
        self._release()

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._process = None
