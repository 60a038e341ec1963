"""The files that describe studies, and the studies that come with the package.


    title = "Update modes at equal cores"
    seeds = 5                            # 0 to 4; or a list of seeds
    repeats = 1                          # runs of each seed: in sync all are alike, otherwise they tell what timing does

    [experiment]                         # anything that `train` takes
    algo = "a3c"
    env = "CartPole-v1"
    steps = 200_000

    [vary]                               # the axes: every combination is run
    mode = ["sync", "bounded:1", "async"]
    workers = [1, 2]

    [vary.optimizer]                     # an axis whose values are several settings at once
    rmsprop = {optimizer = "rmsprop", learning_rate = 7e-4}
    sgd = {optimizer = "sgd", learning_rate = 1e-2}

    [[where]]                            # settings of some of the runs
    is = {env = "HalfCheetah-v5"}
    set = {steps = 1_000_000}

    [report]
    baseline = {mode = "sync"}           # what others are compared with; the first value of every axis without it
    threshold = {CartPole-v1 = 475}      # of each environment, for steps and seconds to it
    measure = "training"                 # returns of the last 100 episodes; or "evaluation", with evaluate_every
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from asyncrl.errors import UserError, nearest, unknown
from asyncrl.studies.study import SEEDS, Rule, Settings, Study

KEYS = {"title": str, "seeds": (int, list), "repeats": int, "experiment": dict, "vary": dict, "where": list, "report": dict}
TYPES = {str: "text", dict: "a table", int: "a whole number", list: "a list", (int, list): "a whole number or a list"}
MEASURES = ("training", "evaluation")
REPORT = ("baseline", "threshold", "measure")
OWN = ("seed", "runs", "name", "quiet")
"""Settings of a run that the study itself sets."""


def ready_studies() -> dict[str, str]:
    """The studies that come with the package: name -> title."""
    return {name: str(tomllib.loads(_ready(name).read_text()).get("title", "")) for name in _ready_names()}


def _ready_names() -> list[str]:
    """modes, workers, ..., and those of the seeds as seeds/NAME."""
    places = {"": resources.files("asyncrl.studies") / "ready"}
    places["seeds/"] = places[""] / "seeds"
    files = [(prefix, entry.name) for prefix, place in places.items() for entry in place.iterdir() if entry.name.endswith(".toml")]
    return sorted((prefix + name.removesuffix(".toml") for prefix, name in files), key=lambda name: ("/" in name, name))


def _ready(name: str) -> Any:
    return resources.files("asyncrl.studies") / "ready" / f"{name}.toml"


def read_study(file: str) -> Study:
    """The study of a TOML file, or one that comes with the package, by its name.

    Raises UserError for a file that cannot be read or does not describe a study.
    """
    path = Path(file)
    known = file in _ready_names()
    if not known and not path.is_file():
        if path.suffix == ".toml" or ("/" in file and not file.startswith("seeds/")):
            raise UserError(f"there is no study {file!r} (allowed: a TOML file, the folder of a study, or {', '.join(_ready_names())})")
        raise unknown("study", file, [*_ready_names(), "FILE.toml"], most=20)
    try:
        data = tomllib.loads((_ready(file) if known else path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"study {file!r} cannot be read: {error}") from None
    return study_of(path.name.removesuffix(".toml"), data)


def study_of(name: str, data: Mapping[str, Any]) -> Study:
    """The study that tables describe as a file does. Raises UserError, which names the key that is wrong."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UserError(f"a study cannot be named {name!r} (allowed: letters, digits and _.-)")
    for key, value in data.items():
        if key not in KEYS:
            raise UserError(f"study {name!r}: {unknown('key', key, KEYS)}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise UserError(f"study {name!r}: {key} = {value!r} cannot be used (allowed: {TYPES[KEYS[key]]})")
    experiment = data.get("experiment", {})
    vary = {axis: _values(name, axis, values) for axis, values in data.get("vary", {}).items()}
    for needed in ("algo", "env"):
        if needed not in experiment and not any(all(needed in one for one in values.values()) for values in vary.values()):
            raise UserError(f"study {name!r} has no {needed} (allowed: one in [experiment], or several in [vary])")
    report = dict(data.get("report", {}))
    baseline, threshold, measure = report.pop("baseline", {}), report.pop("threshold", {}), report.pop("measure", MEASURES[0])
    if measure not in MEASURES:
        raise UserError(f"study {name!r}: {unknown('measure', measure, MEASURES)}")
    for key in report:
        raise UserError(f"study {name!r}: {unknown('key of [report]', key, REPORT)}")
    return Study(
        name=name,
        experiment=_without_own(name, experiment),
        vary=vary,
        seeds=_seeds(name, data.get("seeds", SEEDS)),
        repeats=_count(name, "repeats", data.get("repeats", 1)),
        where=tuple(_rule(name, one, experiment, vary) for one in data.get("where", ())),
        baseline=_baseline(name, baseline, vary),
        threshold=_thresholds(name, threshold),
        measure=measure,
        title=data.get("title", ""),
    )


def _without_own(name: str, settings: Settings) -> Settings:
    for own in OWN:
        if own in settings:
            instead = "seeds = ... above [experiment]" if own == "seed" else "the study sets it itself"
            raise UserError(f"study {name!r}: {own} cannot be set ({instead})")
    return dict(settings)


def _values(name: str, axis: str, values: Any) -> dict[str, Settings]:
    """label -> settings of one axis."""
    if axis in OWN:
        raise UserError(f"study {name!r}: {axis!r} cannot be an axis" + " (allowed: seeds = ...)" * (axis == "seed"))
    if isinstance(values, dict) and values and all(isinstance(settings, dict) for settings in values.values()):
        return {label: _without_own(name, settings) for label, settings in values.items()}
    if isinstance(values, list) and values:
        return {str(value): {axis: value} for value in values}
    allowed = "a list of values, or a table of named settings"
    raise UserError(f"study {name!r}: axis {axis!r} = {values!r} has no values (allowed: {allowed})")


def _seeds(name: str, given: Any) -> tuple[int, ...]:
    seeds = tuple(given) if isinstance(given, list) else tuple(range(_count(name, "seeds", given)))
    if not seeds or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds) or len({*seeds}) < len(seeds):
        raise UserError(f"study {name!r}: seeds = {given!r} cannot be used (allowed: a number, or a list of different ones from 0)")
    return seeds


def _count(name: str, key: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise UserError(f"study {name!r}: {key} = {given!r} cannot be used (allowed: whole numbers from 1)")
    return given


def _rule(name: str, given: Any, experiment: Settings, vary: dict[str, dict[str, Settings]]) -> Rule:
    if not isinstance(given, dict) or set(given) != {"is", "set"} or not all(isinstance(part, dict) for part in given.values()):
        raise UserError(f"study {name!r}: a [[where]] has is = {{...}} and set = {{...}} (given: {given!r})")
    known = {*experiment, *(setting for values in vary.values() for settings in values.values() for setting in settings)}
    for condition in given["is"]:
        if condition not in known:
            raise UserError(f"study {name!r}: [[where]] asks for {condition!r}, which no run sets{nearest(condition, known)}")
    return Rule(dict(given["is"]), _without_own(name, given["set"]))


def _baseline(name: str, given: Any, vary: dict[str, dict[str, Settings]]) -> dict[str, str]:
    if not isinstance(given, dict):
        raise UserError(f'study {name!r}: baseline = {given!r} cannot be used (allowed: a table such as {{mode = "sync"}})')
    for axis, label in given.items():
        if axis not in vary:
            raise UserError(f"study {name!r}: {unknown('axis of the baseline', axis, vary)}")
        if str(label) not in vary[axis]:
            raise UserError(f"study {name!r}: {unknown(f'value of {axis} in the baseline', str(label), vary[axis])}")
    return {axis: str(given.get(axis, next(iter(values)))) for axis, values in vary.items()}


def _thresholds(name: str, given: Any) -> dict[str, float]:
    if not isinstance(given, dict) or any(isinstance(value, bool) or not isinstance(value, int | float) for value in given.values()):
        raise UserError(f"study {name!r}: threshold = {given!r} cannot be used (allowed: a table such as {{CartPole-v1 = 475}})")
    return {env: float(value) for env, value in given.items()}
