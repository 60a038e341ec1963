"""The environment is made and reset once in the main process, so that what is wrong with it is said before anything is started."""

from __future__ import annotations

import traceback
from typing import Any

from asyncrl.envs import EnvironmentFault, checked_reset, closed_environments, kept_generators, make_env, seed_generators, ship, spec_of
from asyncrl.envs.compiled.registry import why_not
from asyncrl.envs.spec import EnvSpec
from asyncrl.envs.viewed import View
from asyncrl.errors import AsyncrlError, UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.processes.interrupts import interruptible
from asyncrl.processes.parcels import Parcel


def probed(experiment: Experiment) -> tuple[Parcel, EnvSpec, str]:
    """Make an experiment's environment once. Raises UserError for what is wrong with it: one line, and the traceback of its own code.

    Returns (what makes it, its spaces, why it has no compiled simulator or "").
    """
    viewed = experiment.frame_stack > 1 or bool(experiment.resize)
    source = View(experiment.environment, experiment.frame_stack, experiment.resize) if viewed else experiment.environment
    shipped = ship(source)
    with interruptible(), kept_generators(), closed_environments():
        seed_generators(experiment.seed)
        environment = _made(source)
        spec = spec_of(environment)
        _first_reset(environment, spec, experiment.env_name)
        reason = why_not(environment)
    return shipped, spec, reason or ""


def _made(source: Any) -> Any:
    try:
        return make_env(source)
    except EnvironmentFault as fault:
        raise UserError(f"{fault}\n{_traceback(fault.__cause__ or fault)}") from fault.__cause__


def _first_reset(environment: Any, spec: Any, name: str) -> None:
    try:
        checked_reset(environment, spec, 0)
    except AsyncrlError:
        raise
    except Exception as error:
        raise UserError(f"environment {name} (seed 0) raised {type(error).__name__} in reset: {error}\n{_traceback(error)}") from error


def _traceback(error: BaseException) -> str:
    """Of an exception in the user's code, without the frames of what called it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_globals.get("__package__", "").startswith("asyncrl"):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
