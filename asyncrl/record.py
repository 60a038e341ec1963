"""A run's folder and its experiment.json."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from asyncrl import __version__
from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError
from asyncrl.experiment import Experiment, RunOptions
from asyncrl.heads.options import NetworkOptions
from asyncrl.monitor.files import write_json_atomically

LIBRARIES = ("torch", "numpy", "numba", "gymnasium", "mujoco")


def env_name(experiment: Experiment) -> str:
    """How the environment is called in names and messages."""
    env = experiment.env
    return env if isinstance(env, str) else getattr(env, "__qualname__", type(env).__name__)


def make_folder(experiment: Experiment) -> Path:
    """Make the run's folder; an existing one is refused."""
    base = Path(experiment.run.runs)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{experiment.algo}-{env_name(experiment)}-{experiment.mode}-s{experiment.seed}")
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


def write_experiment(folder: Path, experiment: Experiment, more: dict[str, Any]) -> None:
    """experiment.json: every setting, versions, machine."""
    settings = dataclasses.asdict(dataclasses.replace(experiment, env=env_name(experiment), network_function=None))
    del settings["network_function"]
    write_json_atomically(
        folder / "experiment.json",
        {
            "format": 1,
            "settings": settings,
            "env_is_function": not isinstance(experiment.env, str),
            "network_is_function": experiment.network_function is not None,
            "versions": {"asyncrl": __version__, "python": sys.version.split()[0], **_versions()},
            "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
            **more,
        },
    )


def read_experiment(folder: Path, env: Any = None, network_function: Any = None) -> Experiment:
    """The experiment of a run's folder. Raises UserError where it is not one, or needs a function that was not given."""
    path = Path(folder) / "experiment.json"
    try:
        data = json.loads(path.read_text())
        if data["format"] > 1:
            raise UserError(f"{str(path)!r} was written by a newer version of asyncrl (format {data['format']}, this one reads 1)")
        settings = dict(data["settings"])
        options_type = ALGORITHMS[settings["algo"]].options_type
        parts = {"options": options_type, "network": NetworkOptions, "run": RunOptions}
        made = {name: _rebuild(kind, settings.pop(name)) for name, kind in parts.items()}
        experiment = _rebuild(Experiment, {**settings, **made})
    except FileNotFoundError:
        raise UserError(f"{str(folder)!r} is not a run's folder: there is no experiment.json in it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} can't be read: {type(error).__name__}: {error}") from None
    for kind, given in (("env", env), ("network", network_function)):
        if data.get(f"{kind}_is_function") and given is None:
            raise UserError(f"the {kind} of this run is a function of yours; continue from Python and pass {kind}=...")
    if env is not None:
        experiment = dataclasses.replace(experiment, env=env)
    return dataclasses.replace(experiment, network_function=network_function)


def _rebuild(kind: type, values: dict[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise UserError(f"experiment.json has settings that this version does not know: {', '.join(sorted(unknown))}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
