"""The one process that writes a run's event file and metrics.jsonl."""

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
    """What travels to the writer: the flat report, the lags of its interval (LAG_BINS,) or None, time.time() of its making."""

    values: dict[str, float]
    lag_histogram: NDArray[np.float64] | None
    wall_time: float


class Open(NamedTuple):
    """The first message, to whoever begins or follows one that was killed."""

    confirmed: Sizes | None
    """How many bytes of both files were confirmed by the last answer; None where there was none."""


class End(NamedTuple):
    """The last message: how the run ended."""

    status: str


class Sizes(NamedTuple):
    """Bytes of both files."""

    events: int
    lines: int


class Answer(NamedTuple):
    """To each message: what kept it from being carried out, and how far the files have come; None where they could not be opened."""

    error: str | None
    sizes: Sizes | None


class Recorder:
    """Both files of a folder. They are opened at once, and after an error at the next report.

    Whoever follows a writer that was killed cuts off what was not confirmed, and is given it again.
    """

    def __init__(self, folder: str | os.PathLike[str], events_name: str, settings: Mapping[str, Any], after: int | None = None):
        """`after`: the step that a resumed run goes on from; what the files tell of later ones was another session's, and is given up."""
        self._after = after
        self._folder, self._events_name = Path(folder), events_name
        self._settings = settings
        self._confirmed: Sizes | None = None
        self._events: EventFile | None = None
        self._lines: GrowingFile | None = None

    @property
    def sizes(self) -> Sizes | None:
        """How far the files have come."""
        return None if self._events is None or self._lines is None else Sizes(self._events.size, self._lines.size)

    def open(self, confirmed: Sizes | None) -> None:
        """Go on after so many bytes of each file. Raises OSError."""
        self._confirmed = confirmed
        self._opened()

    def add(self, report: Report) -> None:
        """Write one report to both files; raises OSError where there is no room."""
        events, lines = self._opened()
        events.add_report(report.values, report.lag_histogram, report.wall_time)
        lines.write(json.dumps({name: _short(name, value) for name, value in report.values.items()}, allow_nan=False).encode() + b"\n")

    def close(self, status: str) -> None:
        """Write how the run ended and close both files."""
        events, lines = self._opened()
        try:
            events.add_end(status)
        finally:
            events.close()
            lines.close()

    def _opened(self) -> tuple[EventFile, GrowingFile]:
        # One at a time: a disk may have room for one file and not for the other.
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

    Ends after an `End`, or when the main process is gone (end of file on the connection).
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


def _short(name: str, value: float) -> float | int:
    # Counts (step, updates, episodes) read as whole numbers.
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
