"""`asyncrl.study`: run a study, or what its folder lacks of it, and write its report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from asyncrl.errors import UserError, unknown
from asyncrl.experiment.checks import check_number
from asyncrl.fields import COUNT, Engine
from asyncrl.store.json_files import read_json
from asyncrl.studies.far import OnRay
from asyncrl.studies.files import read_study, study_of
from asyncrl.studies.report import Report, write_report
from asyncrl.studies.running import Here, Where, check_trials, run_trials
from asyncrl.studies.study import Study


@dataclass(frozen=True)
class StudyResult:
    """What has come of a study."""

    status: str
    """completed | interrupted | failed (where a run has failed)"""
    folder: Path
    report: Report | None
    """None where no run is done."""
    failures: dict[str, str]
    """Name of a run -> why it failed."""


def study(
    given: str | Path | Mapping[str, Any] | Study,
    folder: str | Path | None = None,
    seeds: int | None = None,
    cores: int | None = None,
    changes: Mapping[str, Any] | None = None,
    report_only: bool = False,
    yes: bool = False,
    quiet: bool = False,
    engine: str = "local",
    address: str = "",
) -> StudyResult:
    """Run a study, as `asyncrl study` does; runs that its folder has are kept, so that it goes on where it was.

    `given`: the name of a ready study, a TOML file, the folder of a study, or the tables of such a file as a dict (see
    `asyncrl.studies.files`); `folder`: of the study (study/NAME without it); `seeds`: how many instead of its own; `cores`: how many to
    use; `changes`: other settings of the experiment, by name; `report_only`: run nothing; `yes`: also what takes days; `engine`: local, or
    ray, with which runs are made on the nodes of the cluster at `address`, as in `RunOptions`, each on one node.

    Raises UserError for a study that cannot be run, before anything is run.
    """
    made = _changed(_study(given), changes) if changes else _study(given)
    if seeds is not None:
        check_number("seeds", seeds, COUNT)
        made = study_of(made.name, {**made.described(), "seeds": seeds})
    if cores is not None:
        check_number("cores", cores, COUNT)
    begun = isinstance(given, str | Path) and Path(given).is_dir()
    place = Path(folder) if folder is not None else Path(given) if begun else Path("study") / made.name  # type: ignore[arg-type]
    if report_only:
        check_trials(made, place)
        failures = read_json(place / "failures.json") or {}
        return StudyResult("completed", place, write_report(made, place, failures), failures)
    if engine not in get_args(Engine):
        raise unknown("engine", engine, get_args(Engine))
    if address and engine == "local":
        raise UserError(f"address = {address!r} says nothing with engine = local (allowed: with engine = ray)")
    where: Callable[[], Where] = Here if engine == "local" else partial(OnRay, address)
    outcomes = run_trials(made, place, cores, yes, quiet, where)
    report = write_report(made, place, outcomes.failures) if outcomes.done else None
    status = "interrupted" if outcomes.interrupted else "failed" if outcomes.failures else "completed"
    return StudyResult(status, place, report, outcomes.failures)


def _study(given: str | Path | Mapping[str, Any] | Study) -> Study:
    if isinstance(given, Study):
        return given
    if isinstance(given, Mapping):
        return study_of(re.sub(r"[^A-Za-z0-9_.-]+", "-", str(given.get("title", ""))) or "study", given)
    if not Path(given).is_dir():
        return read_study(str(given))
    data = read_json(Path(given) / "study.json")
    if data is None:
        raise UserError(f"{str(given)!r} is not a study's folder: there is no study.json in it")
    return study_of(Path(given).resolve().name, data)


def _changed(made: Study, changes: Mapping[str, Any]) -> Study:
    """The study with other settings of its experiment; an axis that is among them has that one value, and is none any more."""
    data = made.described()
    data["experiment"] = {**data["experiment"], **changes}
    data["vary"] = {axis: values for axis, values in data["vary"].items() if axis not in changes}
    data["report"]["baseline"] = {axis: label for axis, label in made.baseline.items() if axis not in changes}
    return study_of(made.name, data)
