"""Environments by their ids: what gymnasium, or the module that registers an id, makes, and what is said where that fails."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
from gymnasium import error
from gymnasium.envs.registration import find_highest_version, get_env_id, load_env_creator, parse_env_id

from asyncrl.envs import atari
from asyncrl.envs.faults import in_one_line, not_made
from asyncrl.envs.offscreen import lacking
from asyncrl.errors import UserError, nearest, unknown
from asyncrl.sources import check_arguments

REGISTERED_BY = {"dm_control": "shimmy", atari.NAMESPACE: "ale_py"}
"""Namespace of ids -> the module that registers them when it is imported, so that it need not be named in front."""

EXTRAS = {
    "shimmy": "dmc",
    "dm_control": "dmc",
    "pybullet_envs_gymnasium": "bullet",
    "pybullet": "bullet",
    "gymnasium_robotics": "adroit",
    "ale_py": "atari",
}
"""Module -> the extra of ours that installs it."""


def from_id(name: str, render_mode: str | None, arguments: dict[str, Any]) -> Any:
    """The environment of an id, ``module:Id-v0`` with its module in front. Raises UserError where it cannot be made."""
    try:
        # gymnasium's warnings of old versions and incomplete ids would be printed by every worker
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"gymnasium\.envs\.registration")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"gymnasium\.")
            warnings.filterwarnings("ignore", module="glfw")  # dm_control looks for a screen as soon as it is imported
            creator = _import_entry_point(name)
            if arguments and creator is not None:
                check_arguments(creator, arguments, name, frozenset(inspect.signature(gymnasium.make).parameters))
            with _quiet_mujoco():
                chosen: dict[str, Any] = arguments if render_mode is None else {**arguments, "render_mode": render_mode}
                if atari.is_game(name):
                    return atari.game(name, **chosen)
                return gymnasium.make(name, disable_env_checker=True, **chosen)
    except (error.UnregisteredEnv, error.DeprecatedEnv) as problem:
        raise _unknown_id(name) from problem
    except error.DependencyNotInstalled as problem:
        raise UserError(f"environment {name!r} needs a package: {in_one_line(problem)}{_extra(name, str(problem))}") from problem
    except ModuleNotFoundError as problem:
        missing = problem.name or "?"
        package = missing.partition(".")[0]
        if package not in EXTRAS and ":" in name and name.startswith(missing):
            raise UserError(f"environment {name!r}: there is no module named {missing!r}") from problem
        raise _needs(name, package) from problem
    except (ImportError, error.Error) as problem:
        raise UserError(f"environment {name!r} cannot be made: {lacking(problem) or in_one_line(problem)}") from problem
    except UserError:
        raise
    except Exception as problem:  # whatever the module or the environment's constructor raises
        if lacks := lacking(problem):  # MuJoCo loads what MUJOCO_GL names as soon as it is imported
            raise UserError(f"environment {name!r} cannot be made: {lacks}") from problem
        raise not_made(name, problem) from problem


def _import_entry_point(name: str) -> Callable[..., Any] | None:
    """Import the module that an id needs, so that MuJoCo's log can be configured if it imports that; returns what makes it, if known."""
    module, _, short = name.rpartition(":")
    if ":" in module:
        raise error.Error("an id has at most one ':', as in 'module:Env-v0'")
    if ":" in name and not all(part.isidentifier() for part in module.split(".")):
        raise error.Error(f"{module!r} is no name of a module, as in 'module:Env-v0' or 'package.module:Env-v0'")
    if module := module or REGISTERED_BY.get(str(parse_env_id(short)[0]), ""):
        importlib.import_module(module)
    entry_point: Any = _entry_point(short)
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _entry_point(short: str) -> object:
    """The registered entry point of an id without module; None for unknown ids."""
    namespace, word, version = parse_env_id(short)
    found = gymnasium.registry.get(get_env_id(namespace, word, find_highest_version(namespace, word) if version is None else version))
    return found.entry_point if found is not None else None


@contextlib.contextmanager
def _quiet_mujoco() -> Iterator[None]:
    """Suppress MuJoCo's messages, on the terminal and in ./MUJOCO_LOG.TXT, about deprecated features in gymnasium's own models.

    Only while models are compiled, since later warnings, of unstable simulations, are for the user.
    """
    settings = getattr(sys.modules.get("mujoco"), "MjLogConfig", None)
    if settings is None:  # not loaded, or older than the setting
        yield
        return
    before, silent = settings.get(), settings.get()
    silent.logto_console = silent.logto_file = False
    silent.set()
    try:
        yield
    finally:
        before.set()


def _needs(name: str, package: str) -> UserError:
    """For an environment whose package is missing."""
    wanted = f"'asyncrl[{EXTRAS[package]}]'" if package in EXTRAS else package
    return UserError(f"environment {name!r} needs a package: run `pip install {wanted}`")


def check_id(source: Any) -> None:
    """Raise UserError for an id that nothing registers: at once, where it takes neither a module nor an environment to see it."""
    if isinstance(source, str) and ":" not in source and "/" not in source and source not in gymnasium.registry:
        with contextlib.suppress(error.Error):  # what is no id at all is told by who makes it
            if parse_env_id(source)[2] is not None:
                raise _unknown_id(source)


def _unknown_id(name: str) -> UserError:
    module, _, short = name.rpartition(":")
    namespace, word, version = parse_env_id(short)
    newest = find_highest_version(namespace, word)
    prefix = f"{module}:" if module else ""
    registered = list(gymnasium.registry.values())
    if version is not None and newest is not None:
        listed = ", ".join(prefix + spec.id for spec in registered if (spec.namespace, spec.name) == (namespace, word))
        meant = prefix + get_env_id(namespace, word, newest)
        return UserError(f"unknown environment {name!r}; did you mean {meant!r}? (allowed: {listed})")
    if namespace is not None and all(spec.namespace != namespace for spec in registered):
        if namespace in REGISTERED_BY:  # the module is there, and has not found what it registers
            return _needs(name, namespace)
        hint = "" if module else f"; if a package registers it, put its module in front, as in 'module:{name}'"
        meant = nearest(namespace, {spec.namespace for spec in registered if spec.namespace})
        return UserError(f"unknown environment {name!r}: nothing is registered under {namespace!r}{meant or hint}")
    inside = [spec for spec in registered if namespace in (None, spec.namespace)]
    newest_ids = {get_env_id(spec.namespace, spec.name, find_highest_version(spec.namespace, spec.name)) for spec in inside}
    if prefix:  # the module was imported, so its ids are in the registry
        return UserError(f"unknown environment {short!r} in module {module!r}{nearest(short, newest_ids)}")
    return unknown("environment", name, sorted(newest_ids))


def _extra(name: str, told: str) -> str:
    """The command to install the missing extra, if the error does not have it: gymnasium's extras are named like its folders."""
    folder = re.search(r"gymnasium\.envs\.(\w+)", str(_entry_point(name.rpartition(":")[2])))
    return "" if "pip install" in told or folder is None else f" (run `pip install \"gymnasium[{folder[1].replace('_', '-')}]\"`)"
