"""The process that writes a run's event file and metrics.jsonl, and the messages between it and the main process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.monitor.events import EventFile
from asyncrl.processes.starting import leave_signals_to_main
from asyncrl.store.growing_files import GrowingFile, keep_lines_to


class Report(NamedTuple):
    """A message to the writer: the flat report, the histogram of lag [LAG_BINS] of its interval or None, and the time.time() of it."""

    values: dict[str, float]
    lag_histogram: NDArray[np.float64] | None
    wall_time: float


class Open(NamedTuple):
    """The first message to a writer process, which may be the replacement of one that was killed."""

    confirmed: Sizes | None
    """How many bytes of both files the last answer has confirmed; None if there was no answer."""


class End(NamedTuple):
    """The last message: how the run ended."""

    status: str


class Sizes(NamedTuple):
    """Sizes of both files in bytes."""

    events: int
    lines: int


class Answer(NamedTuple):
    """The answer to a message: the error, if it failed, and the sizes of the files, which are None if they could not be opened."""

    error: str | None
    sizes: Sizes | None


class Recorder:
    """Writes both files of a folder. They are opened at once, or after an error at the next report.

    The replacement of a writer that was killed cuts off what was not confirmed; the main process sends that again.
    """

    def __init__(self, folder: str | os.PathLike[str], events_name: str, settings: Mapping[str, Any], after: int | None = None):
        """`after`: the step at which a resumed run continues; reports of later steps, of an earlier session, are removed."""
        self._after = after
        self._folder, self._events_name = Path(folder), events_name
        self._settings = settings
        self._confirmed: Sizes | None = None
        self._events: EventFile | None = None
        self._lines: GrowingFile | None = None

    @property
    def sizes(self) -> Sizes | None:
        """Sizes of the files; None while they are not both open."""
        return None if self._events is None or self._lines is None else Sizes(self._events.size, self._lines.size)

    def open(self, confirmed: Sizes | None) -> None:
        """Open both files and continue after the `confirmed` bytes of each. Raises OSError."""
        self._confirmed = confirmed
        self._opened()

    def add(self, report: Report) -> None:
        """Write one report to both files. Raises OSError, for example if the disk is full."""
        events, lines = self._opened()
        events.add_report(report.values, report.lag_histogram, report.wall_time)
        lines.write(json.dumps({name: _number(name, value) for name, value in report.values.items()}, allow_nan=False).encode() + b"\n")

    def close(self, status: str) -> None:
        """Write how the run ended and close both files."""
        events, lines = self._opened()
        try:
            events.add_end(status)
        finally:
            events.close()
            lines.close()

    def _opened(self) -> tuple[EventFile, GrowingFile]:
        # Each file separately: a full disk may have room for one and not for the other.
        known = self._confirmed
        if self._events is None:
            self._events = EventFile(self._folder / self._events_name, self._settings, self._after, known.events if known else 0)
        if self._lines is None:
            if known is None and self._after is not None:
                keep_lines_to(self._folder / "metrics.jsonl", self._after)
            self._lines = GrowingFile(self._folder / "metrics.jsonl", whole_lines=True, keep=known.lines if known else None)
        return self._events, self._lines


def writer_main(folder: str, events_name: str, settings: Mapping[str, Any], after: int | None, connection: Connection) -> None:
    """Body of the writer process: answers each message with an `Answer`.

    Returns after an `End` message, or when the main process has ended (end of file on the connection).
    """
    leave_signals_to_main()
    recorder = Recorder(folder, events_name, settings, after)
    try:
        while True:
            message = connection.recv()
            error = _carry_out(recorder, message)
            connection.send(Answer(error, recorder.sizes))
            if isinstance(message, End):
                return
    except (EOFError, ConnectionError):
        _carry_out(recorder, End("interrupted"))


def _number(name: str, value: float) -> float | int:
    # Counts (step, updates, episodes) are written as integers.
    return int(value) if "/" not in name and value.is_integer() else value


def _carry_out(recorder: Recorder, message: Open | Report | End) -> str | None:
    try:
        if isinstance(message, Open):
            recorder.open(message.confirmed)
        elif isinstance(message, End):
            recorder.close(message.status)
        else:
            recorder.add(message)
    except OSError as error:
        return f"{error.strerror or error}"
    return None
