"""The runs of a study: the experiment that each is, how many cores it keeps busy, and whether it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asyncrl.api import experiment_of
from asyncrl.errors import UserError
from asyncrl.experiment.checks import check_experiment
from asyncrl.experiment.defaults import settled
from asyncrl.experiment.experiment import Experiment
from asyncrl.session.folder import recorded_settings, settings_of
from asyncrl.store.json_files import read_json, standard_json
from asyncrl.studies.study import Trial
from asyncrl.topologies import essential_part

REPORT_SECONDS = 0.1
"""Between reports of a run, unless a study says otherwise: runs are short, and curves are made of them."""

NOT_COMPARED = ("runs", "engine", "address", "sites", "site_workers")
"""Settings by which a run that is done may differ from the study: where it was made."""


def experiment_for(trial: Trial, runs: Path) -> Experiment:
    """What is run, in a folder within `runs`. Raises UserError for what cannot work, as far as can be said without an environment."""
    settings = {"report_seconds": REPORT_SECONDS, **trial.settings}
    algo, env = settings.pop("algo"), settings.pop("env")
    made = experiment_of(algo, env, seed=trial.seed, runs=str(runs), name=trial.name, quiet=True, **settings)
    check_experiment(made, new=False)
    return made


def is_done(trial: Trial, runs: Path) -> bool:
    """Whether its run is complete. Raises UserError if there is a complete one that was given other settings."""
    folder = runs / trial.name
    if summary_of(folder).get("status") != "completed":
        return False
    recorded = _flat(standard_json(recorded_settings(folder)))
    wanted = _flat(standard_json(settings_of(settled(experiment_for(trial, runs))[0])))
    for name, value in wanted.items():
        if name not in NOT_COMPARED and recorded.get(name) != value:
            raise UserError(
                f"{str(folder)!r} was run with {name} = {recorded.get(name)!r}, the study has {value!r} "
                "(allowed: another --folder, or remove that run)"
            )
    return True


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of all parts by their own names."""
    nested = {name: value for name, value in settings.items() if isinstance(value, dict) and name != "env_kwargs"}
    rest = {name: value for name, value in settings.items() if name not in nested}
    return rest | {name: value for part in nested.values() for name, value in _flat(part).items()}


def cores_of(experiment: Experiment, cores: int) -> int:
    """How many of so many cores a run keeps busy: one for each worker, and one for a learner that works beside them.

    Virtual workers share one process.
    """
    if experiment.run.simulate:
        return 1
    return min(experiment.workers + (essential_part(experiment.algo) is not None), cores)


def summary_of(folder: Path) -> dict[str, Any]:
    """A run's summary.json; empty where there is none, or none that can be read."""
    data = read_json(folder / "summary.json")
    return data if isinstance(data, dict) else {}
