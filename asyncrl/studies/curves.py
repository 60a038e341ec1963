"""The learning curves of a study's variants for TensorBoard: one line for each, the mean of its runs with its interval."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asyncrl.monitor.events import EventFile, new_file_name
from asyncrl.studies.comparison import Row, Task
from asyncrl.studies.statistics import band

POINTS = 100
"""Of a curve."""


def write_curves(folder: Path, tasks: Sequence[Task]) -> None:
    """Write a folder for each task and variant, in place of those that are there."""
    shutil.rmtree(folder, ignore_errors=True)
    for task in tasks:
        for row in task.rows:
            _write(folder / _plain(task.name) / _plain(row.variant), row)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", name)


def _write(folder: Path, row: Row) -> None:
    """``return/mean`` by steps and, on the axis RELATIVE, by seconds of training; ``return/by_updates``."""
    folder.mkdir(parents=True)
    file = EventFile(folder / new_file_name(), {"variant": row.variant, "runs": len(row.runs)})
    for what, tag in (("steps", "return/mean"), ("updates", "return/by_updates")):
        points = np.linspace(0.0, min(run.curve[what][-1] for run in row.runs), POINTS)
        curves = np.array([run.returns_at(what, points) for run in row.runs])
        seconds = np.mean([np.interp(points, run.curve[what], run.curve["seconds"]) for run in row.runs], axis=0)
        low, high = band(curves)
        for at, point in enumerate(points):
            report = {"step": float(point), tag: float(curves[:, at].mean())}
            if len(curves) > 1:
                report |= {f"{tag}_low": float(low[at]), f"{tag}_high": float(high[at])}
            file.add_report(report, None, wall_time=float(seconds[at]))
    file.add_end("completed")
    file.close()
