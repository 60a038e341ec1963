"""A study's report: report.html, which needs no other file and no network, the pictures in `figures/`, results.csv, and curves.

Curves of all runs of a variant together are written for TensorBoard, to `curves/VARIANT`: point it at the study's folder.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from asyncrl.errors import UserError
from asyncrl.store.durable_files import write_file
from asyncrl.studies.comparison import Task, tasks_of
from asyncrl.studies.curves import write_curves
from asyncrl.studies.figures import pictures_of
from asyncrl.studies.results import RunResult, results_of
from asyncrl.studies.study import Study
from asyncrl.studies.tables import AGES, HEADINGS, age_columns, cells, short, write_csv


@dataclass(frozen=True)
class Report:
    """What a study has found, and where it was written."""

    tasks: list[Task]
    results: list[RunResult]
    html: Path | None
    """None where the libraries for it are not installed."""


def write_report(study: Study, folder: Path, failures: dict[str, str]) -> Report:
    """Write the report of the runs that are done. `failures`: name of a run -> why it failed. Raises UserError where there is none."""
    results = results_of(study, folder)
    if not results:
        raise UserError(f"no run of the study in {str(folder)!r} is done: there is nothing to report")
    tasks = tasks_of(study, results)
    write_csv(folder / "results.csv", results)
    write_curves(folder / "curves", tasks)
    return Report(tasks, results, _write_html(study, folder, tasks, results, failures))


def _write_html(study: Study, folder: Path, tasks: list[Task], results: list[RunResult], failures: dict[str, str]) -> Path | None:
    try:
        import jinja2

        pictures = pictures_of(tasks)
    except ImportError:
        return None
    (folder / "figures").mkdir(exist_ok=True)
    for picture in pictures:
        write_file(folder / "figures" / f"{picture.name}.png", [picture.png])
    source = (resources.files("asyncrl.studies") / "report.html.jinja").read_text()
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = [(picture, base64.b64encode(picture.png).decode()) for picture in pictures]
    page = made.from_string(source).render(
        study=study,
        tasks=[(task, [cells(row, task) for row in task.rows], age_columns(task)) for task in tasks],
        headings=HEADINGS,
        age_headings=AGES,
        short=short,
        pictures=shown,
        failures=failures,
        done=len(results),
        planned=len(study.trials()),
        few=min(row.seeds for task in tasks for row in task.rows) < 2,
        settings=_settings(study),
        machine=_machine(folder, results),
    )
    path = folder / "report.html"
    write_file(path, [page.encode()])
    return path


def _settings(study: Study) -> dict[str, Any]:
    axes = {axis: ", ".join(values) for axis, values in study.vary.items()}
    rules = {f"where {rule.conditions}": rule.settings for rule in study.where}
    return {**study.experiment, **axes, "seeds": ", ".join(map(str, study.seeds)), "repeats": study.repeats, **rules}


def _machine(folder: Path, results: Sequence[RunResult]) -> str:
    """The machines and versions on which the runs were made, as their folders tell them."""
    told = []
    for result in results:
        data = json.loads((folder / "runs" / result.trial.name / "experiment.json").read_text())
        versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
        told.append(f"{data['machine']['cores']} cores, {data['machine']['system']}; {versions}")
    return " / ".join(dict.fromkeys(told))
