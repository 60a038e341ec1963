"""A run's folder and its experiment.json."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from asyncrl import __version__
from asyncrl.algos import ALGORITHMS, head_named
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment, RunOptions
from asyncrl.heads.choice import options_type_of
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.shared.arrays import free_bytes
from asyncrl.sources import names_code
from asyncrl.store.checkpoint import read_manifest, step_of
from asyncrl.store.json_files import standard_json, write_json_atomically

LIBRARIES = ("torch", "numpy", "numba", "gymnasium", "mujoco")

BEFORE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "normalize_returns": lambda values: False,
    "value_learning_rate": lambda values: values["learning_rate"],
}
"""Settings -> the value of a setting for runs that are older than it, whose experiment.json does not have it."""

SHAPES = ("observation_shape", "observation_dtype", "action_kind", "action_sizes", "action_shape")
"""The fields of an environment's spec that a network depends on. Bounds of actions may differ, since they are applied outside of it."""


def make_folder(experiment: Experiment) -> Path:
    """Make the run's folder. Raises UserError if it exists already or cannot be made."""
    base = Path(experiment.run.runs)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{experiment.algo}-{experiment.env_name}-{experiment.mode}-s{experiment.seed}")
    names = [experiment.run.name] if experiment.run.name else [f"{plain}-{stamp}"] + [f"{plain}-{stamp}-{i}" for i in range(2, 100)]
    for name in names:
        folder = base / name
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if experiment.run.name:
                raise UserError(
                    f"run folder {str(folder)!r} exists already (give another name, or continue it with `asyncrl resume`)"
                ) from None
        except OSError as error:
            raise UserError(f"run folder {str(folder)!r} can't be made: {error.strerror}") from None
    raise UserError(f"no free name for a run folder in {str(base)!r}; give one with --name")


def check_room(folder: Path, experiment: Experiment, saved_bytes: Callable[[int], int], newest: Path | None = None) -> None:
    """Raise UserError if the disk of `folder` has no room for the checkpoints that will exist at the same time.

    `saved_bytes(steps)`: the size of a checkpoint after so many steps. `newest`: the newest checkpoint of a run that is resumed,
    whose checkpoints will be removed for new ones.
    """
    run, done, there = experiment.run, 0, 0
    if newest is not None:
        done, there = step_of(newest), len(list(newest.parent.iterdir()))
    every, steps = run.checkpoint_every, experiment.steps
    at_once = max(max(run.keep_checkpoints, 1) + 2 - there, 1)  # those kept, the best, and the one being written
    marks = [steps, *(range((steps - 1) // every * every, done, -every)[: at_once - 1] if every else ())]
    needed = sum(saved_bytes(mark) for mark in marks)
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = free_bytes(str(place))
    if needed > free:
        raise UserError(
            f"the run's checkpoints need {needed:,} bytes on the disk of {str(place)!r}, {free:,} are free "
            "(allowed: a smaller --replay, fewer --keep-checkpoints, another disk with --runs)"
        )


def write_experiment(folder: Path, experiment: Experiment, more: dict[str, Any]) -> None:
    """Write experiment.json: every setting, versions of libraries, the machine, and the values of `more`."""
    write_json_atomically(
        folder / "experiment.json",
        {
            "format": 1,
            "settings": settings_of(experiment),
            "env_is_function": not isinstance(experiment.env, str),
            "network_is_function": experiment.network_function is not None,
            "versions": {"asyncrl": __version__, "python": sys.version.split()[0], **_versions()},
            "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
            **more,
        },
    )


def settings_of(experiment: Experiment) -> dict[str, Any]:
    """Every setting as experiment.json has it: functions are left out, or told by their names."""
    recorded = experiment.env if isinstance(experiment.env, str) else experiment.env_name
    settings = dataclasses.asdict(dataclasses.replace(experiment, env=recorded, network_function=None))
    del settings["network_function"]
    return settings


def check_folder(folder: str | Path) -> None:
    """Raise UserError for what is no run's folder."""
    path = Path(folder) / "experiment.json"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{str(folder)!r} is not a run's folder: there is no experiment.json in it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} can't be read: {type(error).__name__}: {error}") from None


def read_experiment(folder: Path, env: Any = None, network_function: Any = None, trust: bool = False) -> Experiment:
    """The experiment of a run's folder, with `env` in place of the environment that it names.

    Raises UserError if it is no run's folder, needs a function that was not given, or names code that would be run: a folder may come
    from others, and only `trust` says that it may decide what is run.
    """
    experiment, data = _recorded(folder)
    for kind, given in (("env", env), ("network", network_function)):
        if data.get(f"{kind}_is_function") and given is None:
            raise UserError(f"the {kind} of this run is a function of yours; continue from Python and pass {kind}=...")
    if env is not None:
        experiment = dataclasses.replace(experiment, env=env, env_kwargs={}, wrapper=())
    elif not trust and (code := [str(name) for name in (experiment.env, *experiment.wrapper) if names_code(name)]):
        raise UserError(
            f"run {str(folder)!r} names code that would be run: {', '.join(code)} (allowed: --trust to run it, --env for an environment "
            "of your own; from Python trust=True, env=...)"
        )
    return dataclasses.replace(experiment, network_function=network_function)


def recorded_settings(folder: Path) -> dict[str, Any]:
    """Every setting of a run's folder, as `settings_of`; what its version of asyncrl had not yet is as it was then.

    Raises UserError as `read_experiment` does for what cannot be read. Nothing that the folder names is run.
    """
    return settings_of(_recorded(folder)[0])


def _recorded(folder: Path) -> tuple[Experiment, dict[str, Any]]:
    """(the experiment of a run's folder, with functions by their names; all that experiment.json says)."""
    check_folder(folder)
    path = Path(folder) / "experiment.json"
    try:
        data = _read(path)
        settings = dict(data["settings"])
        options_type = ALGORITHMS[settings["algo"]].options_type
        of_head = options_type_of(head_named(settings["algo"], settings["head"]))
        settings["network"] = _with_head_options(settings["network"], of_head)
        parts = {"options": options_type, "network": NetworkOptions, "run": RunOptions}
        made = {name: _rebuild(kind, settings.pop(name)) for name, kind in parts.items()}
        experiment: Experiment = _rebuild(Experiment, {**settings, **made})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} can't be read: {type(error).__name__}: {error}") from None
    return experiment, data


def recorded_spec(folder: Path) -> EnvSpec:
    """The environment's spaces as a run's folder tells them, for who needs no environment.

    Raises UserError where the run has none, or where the environment itself says what its actions are like.
    """
    spec = _read(Path(folder) / "experiment.json").get("spec")
    if spec is None:
        raise UserError(f"run {str(folder)!r} has no policy: it minimised a function")
    if spec.pop("action_features", None) is not None:
        raise UserError(f"the environment of run {str(folder)!r} says itself what its actions are like; pass env=...")
    try:
        return EnvSpec(**{name: _tuples(value) for name, value in spec.items()})
    except TypeError as error:
        raise UserError(f"the spaces in {str(folder / 'experiment.json')!r} can't be read: {error}") from None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def other_environment(folder: Path, checkpoint: Path, experiment: Experiment, spec: EnvSpec | None) -> list[str]:
    """Warnings for the user if the environment, described by `spec`, is not the one that the run's checkpoint was made with.

    Raises UserError if the learned parameters do not fit its spaces.
    """
    data = _read(Path(folder) / "experiment.json")
    name, own, recorded = experiment.env_name, read_manifest(checkpoint).get("env"), data.get("spec")
    if spec is None or recorded is None:
        return []
    found = standard_json(spec.described())
    different = [field for field in found if field in recorded and found[field] != recorded[field]]
    for field in different:
        if field in SHAPES:
            raise UserError(
                f"environment {name!r} does not fit run {str(folder)!r}, which was made with {own!r}: "
                f"{field} is {found[field]!r}, the run's is {recorded[field]!r}"
            )
    notes = [] if name == own else [f"the run was made with environment {own!r}; it goes on with {name!r}, whose spaces fit"]
    return notes + [f"{field} of environment {name!r} is not what the run was made with" for field in different]


def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    if data["format"] > 1:
        raise UserError(f"{str(path)!r} was written by a newer version of asyncrl (format {data['format']}, this one reads 1)")
    return data


def _with_head_options(network: dict[str, Any], kind: type[HeadOptions]) -> dict[str, Any]:
    """The settings of a network with the options of its head, of type `kind`, as they were.

    Runs from before heads had options of their own have none, or have `implicit` instead, whatever the head: those that the head has
    not it never read.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    old = {name: value for name, value in network.get("implicit", {}).items() if name in known}
    rest = {name: value for name, value in network.items() if name not in ("implicit", "head_options")}
    return {**rest, "head_options": _rebuild(kind, network.get("head_options", old))}


def _rebuild(kind: type, values: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise UserError(f"experiment.json has settings that this version does not know: {', '.join(sorted(unknown))}")
    values = {**{name: value(values) for name, value in BEFORE.items() if name in known - set(values)}, **values}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
