"""A study from its first run to its report.

The folder of a study has `study.json`, a folder of each run in `runs/`, `failures.json` where runs have failed, `log.txt` with what runs
have printed, and the report. A study that is started again goes on where it was: runs that are done are kept; one that was under way is
made again from its beginning, since seconds of a run in two parts could not be compared with the others'.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from asyncrl.envs.ids import check_id
from asyncrl.errors import UserError
from asyncrl.processes.interrupts import Interrupts
from asyncrl.processes.starting import usable_cores
from asyncrl.sources import name_of
from asyncrl.store.json_files import write_json_atomically
from asyncrl.studies.forecast import Forecast
from asyncrl.studies.lanes import Lane, Outcome, first_ready
from asyncrl.studies.progress import Progress
from asyncrl.studies.study import Study, Trial
from asyncrl.studies.trials import cores_of, experiment_for, is_done

TURN_SECONDS = 0.5
"""How often the progress is shown anew while nothing ends."""


class Where(Protocol):
    """Where a study's runs are made."""

    cores: int
    """That there are in all."""
    most: int
    """That one run can have."""

    def lane(self, log: Path) -> Lane:
        """A process that makes runs there; `log`: the file to which its output goes."""

    def close(self) -> None:
        """When all are made."""


class Here(Where):
    """On this machine."""

    def __init__(self) -> None:
        self.cores = self.most = usable_cores()

    def lane(self, log: Path) -> Lane:
        return Lane(log)

    def close(self) -> None:
        """Nothing is to be given back."""


@dataclass
class Outcomes:
    """What has come of a study's runs."""

    folder: Path
    done: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    """Name of a run -> why it failed."""
    interrupted: bool = False


def check_trials(study: Study, folder: Path) -> list[Trial]:
    """The study's runs. Raises UserError for the first setting that cannot be used, before anything is run or written."""
    trials = study.trials()
    environments = set()
    for trial in trials:
        try:
            experiment = experiment_for(trial, folder / "runs")
            if isinstance(experiment.env, str) and experiment.env not in environments:
                environments.add(experiment.env)
                check_id(experiment.env)
        except UserError as error:
            raise UserError(f"study {study.name!r}, run {trial.name}: {error}") from None
    return trials


def run_trials(
    study: Study, folder: Path, cores: int | None = None, yes: bool = False, quiet: bool = False, place: Callable[[], Where] = Here
) -> Outcomes:
    """Make the runs of a study that its folder lacks, at most `cores` cores' worth at a time (None: all that are usable).

    `yes`: also where it would take days; `place`: where they are made, on this machine or on a cluster. Raises UserError for a study that
    cannot be run.
    """
    trials = check_trials(study, folder)
    runs = folder / "runs"
    missing = [trial for trial in trials if not is_done(trial, runs)]
    outcomes = Outcomes(folder, done=len(trials) - len(missing))
    if not missing:
        return outcomes
    with contextlib.closing(place()) as where:
        forecast = Forecast(missing, runs, cores or where.cores)
        forecast.check(yes)
        _begin(study, folder)
        with Interrupts() as interrupts, Progress(study.title or study.name, len(trials), outcomes.done, quiet) as progress:
            _Schedule(missing, runs, cores or where.cores, where, forecast, outcomes, progress).run(interrupts)
            interrupts.answered = True
    write_json_atomically(folder / "failures.json", outcomes.failures)
    return outcomes


def _begin(study: Study, folder: Path) -> None:
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        write_json_atomically(folder / "study.json", _without_functions(study.described()))
    except OSError as error:
        raise UserError(f"the study's folder {str(folder)!r} can't be made: {error.strerror}") from None


def _without_functions(data: Any) -> Any:
    """The same with functions by their names: a study of functions goes on from Python alone."""
    if isinstance(data, dict):
        return {name: _without_functions(value) for name, value in data.items()}
    return name_of(data) if callable(data) else data


class _Schedule:
    """Gives the runs to lanes in their order, as many at a time as there are cores for."""

    def __init__(
        self, trials: Sequence[Trial], runs: Path, cores: int, where: Where, forecast: Forecast, outcomes: Outcomes, progress: Progress
    ):
        self._waiting = [(trial, cores_of(experiment_for(trial, runs), min(cores, where.most))) for trial in trials]
        self._runs, self._free, self._where = runs, cores, where
        self._forecast, self._outcomes, self._progress = forecast, outcomes, progress
        self._lanes: list[Lane] = []

    def run(self, interrupts: Interrupts) -> None:
        """Make all runs, or as many as there are until an interruption."""
        try:
            while (self._waiting and not interrupts.seen) or self._busy():
                self._fill(interrupts)
                if interrupts.seen:
                    self._interrupt()
                for lane in first_ready(self._lanes, TURN_SECONDS):
                    self._ended(lane)
                self._progress.show(self._outcomes, [lane.busy.trial.name for lane in self._busy()], self._forecast.left(self._waiting))
        finally:
            for lane in self._lanes:
                lane.interrupt()
            for lane in self._lanes:
                lane.close()

    def _busy(self) -> list[Lane]:
        return [lane for lane in self._lanes if lane.busy is not None]

    def _fill(self, interrupts: Interrupts) -> None:
        """Begin runs while there are cores for the next of them."""
        while not interrupts.seen:
            fitting = next((entry for entry in self._waiting if entry[1] <= self._free), None)
            if fitting is None:
                return
            self._forecast.check_disk(len(self._waiting))
            self._waiting.remove(fitting)
            trial, cores = fitting
            shutil.rmtree(self._runs / trial.name, ignore_errors=True)  # what an attempt that did not come to its end has left
            self._free -= cores
            self._lane().begin(experiment_for(trial, self._runs), _Work(trial, cores))

    def _lane(self) -> Lane:
        """A lane without work; a new one where there is none."""
        self._lanes = [lane for lane in self._lanes if lane.busy is not None or lane.alive]
        free = next((lane for lane in self._lanes if lane.busy is None), None)
        if free is None:
            free = self._where.lane(self._outcomes.folder / "log.txt")
            self._lanes.append(free)
        return free

    def _interrupt(self) -> None:
        self._outcomes.interrupted = True
        for lane in self._busy():
            if not lane.busy.told:
                lane.busy.told = True
                lane.interrupt()

    def _ended(self, lane: Lane) -> None:
        work, outcome = lane.busy, lane.outcome()
        self._free += work.cores
        if outcome.status == "completed":
            self._outcomes.done += 1
            self._forecast.took(work.trial, time.monotonic() - work.began)
        elif outcome.status == "failed" and not work.told:  # a lane that is interrupted while it starts just ends
            self._failed(work.trial, outcome)

    def _failed(self, trial: Trial, outcome: Outcome) -> None:
        self._outcomes.failures[trial.name] = outcome.problem
        self._progress.note(f"run {trial.name} failed: {outcome.problem.strip().splitlines()[-1]}")


@dataclass
class _Work:
    trial: Trial
    cores: int
    began: float = field(default_factory=time.monotonic)
    told: bool = False
    """Whether it was interrupted."""

