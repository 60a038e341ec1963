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
from asyncrl.monitor.files import GrowingFile
from asyncrl.processes import leave_signals_to_main


class Report(NamedTuple):
    """What travels to the writer: the flat report, the lags of its interval (LAG_BINS,) or None, time.time() of its making."""

    values: dict[str, float]
    lag_histogram: NDArray[np.float64] | None
    wall_time: float
    again: bool = False
    """Whether it was under way when a writer died, and may have been written."""


class End(NamedTuple):
    """The last message: how the run ended."""

    status: str


class Recorder:
    """Both files of a folder. They are opened at the first report, and after an error at the next one.

    Whoever follows a writer that was killed goes on with both, and leaves out what that one has written of the last report.
    """

    def __init__(self, folder: str | os.PathLike[str], events_name: str, settings: Mapping[str, Any]):
        self._folder, self._events_name = Path(folder), events_name
        self._settings = settings
        self._events: EventFile | None = None
        self._lines: GrowingFile | None = None

    def add(self, report: Report) -> None:
        """Write one report to both files; raises OSError where there is no room."""
        events, lines = self._open()
        events.add_report(report.values, report.lag_histogram, report.wall_time, report.again)
        line = json.dumps({name: _short(name, value) for name, value in report.values.items()}, allow_nan=False).encode() + b"\n"
        if not (report.again and lines.ends_with(line)):
            lines.write(line)

    def close(self, status: str) -> None:
        """Write how the run ended and close both files."""
        events, lines = self._open()
        try:
            events.add_end(status)
        finally:
            events.close()
            lines.close()

    def _open(self) -> tuple[EventFile, GrowingFile]:
        # One at a time: a disk may have room for one file and not for the other.
        if self._events is None:
            self._events = EventFile(self._folder / self._events_name, self._settings)
        if self._lines is None:
            self._lines = GrowingFile(self._folder / "metrics.jsonl", whole_lines=True)
        return self._events, self._lines


def writer_main(folder: str, events_name: str, settings: Mapping[str, Any], connection: Connection) -> None:
    """Body of the writer process: answers each message with None, or with the error that kept it from being written.

    Ends after an `End`, or when the main process is gone (end of file on the connection).
    """
    leave_signals_to_main()
    recorder = Recorder(folder, events_name, settings)
    try:
        while True:
            message = connection.recv()
            connection.send(_carry_out(recorder, message))
            if isinstance(message, End):
                return
    except (EOFError, ConnectionError):
        _carry_out(recorder, End("interrupted"))


def _short(name: str, value: float) -> float | int:
    # Counts (step, updates, episodes) read as whole numbers.
    return int(value) if "/" not in name and value.is_integer() else value


def _carry_out(recorder: Recorder, message: Report | End) -> str | None:
    try:
        if isinstance(message, End):
            recorder.close(message.status)
        else:
            recorder.add(message)
    except OSError as error:
        return f"{error.strerror or error}"
    return None
