"""What is wrong with an experiment, as far as can be said without its environment. Pure checks; nothing is made.

Names of heads and explorations are looked up by those who own them, when the experiment is wired.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import re
import typing
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError, unknown
from asyncrl.fields import Range, check_kind
from asyncrl.processes.starting import usable_cores

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from asyncrl.experiment.experiment import Experiment


FILES, FILES_PER_WORKER = 25, 5
"""Open files of the main process, measured: pipes, connections and sentinels of the workers, and those of the helpers."""

MOST_WORKERS = 120
"""A fork server is handed at most 256 files for a process, two of them for every worker's place to sleep."""

MOST_TICKETS = 1_000_000
"""Evaluations of a generation, and generations of a history; far beyond what is of use, and what a list of them takes no time for."""

MOST_STEPS = 10**15
"""Up to here floating-point numbers count every step, and so many updates beside them."""

COUNT = Range(1, whole=True)
COUNT_OR_NONE = Range(0, whole=True)
POSITIVE = Range(0, open_low=True)
NOT_NEGATIVE = Range(0)
PROBABILITY = Range(0, 1)
DECAY = Range(0, 1, open_high=True)

# Every number of an experiment, by the name of its field. An algorithm that brings new numbers adds its lines.
RANGES: dict[str, Range] = {
    "workers": COUNT,
    "envs_per_worker": Range(1, 10_000, whole=True),
    "steps": Range(1, MOST_STEPS, whole=True),
    "seconds": POSITIVE,
    "seed": COUNT_OR_NONE,
    "t_max": COUNT,
    "gamma": PROBABILITY,
    "gae_lambda": PROBABILITY,
    "entropy_weight": NOT_NEGATIVE,
    "value_weight": NOT_NEGATIVE,
    "max_gradient_norm": NOT_NEGATIVE,
    "learning_rate": POSITIVE,
    "rmsprop_decay": DECAY,
    "optimizer_epsilon": POSITIVE,
    "momentum": DECAY,
    "adam_betas": DECAY,
    "target_every": COUNT,
    "reward_scale": Range(),
    "reward_clip": NOT_NEGATIVE,
    "hidden": COUNT,
    "recurrent": COUNT_OR_NONE,
    "initial_log_std": Range(),
    "conjugate_steps": COUNT,
    "damping": NOT_NEGATIVE,
    "backtracks": COUNT_OR_NONE,
    "value_learning_rate": POSITIVE,
    "value_epochs": COUNT_OR_NONE,
    "value_batch": COUNT,
    "batch_units": COUNT,
    "rho_bar": POSITIVE,
    "c_bar": POSITIVE,
    "clip_range": POSITIVE,
    "n_step": Range(1, 10_000, whole=True),
    "replay": COUNT,
    "replay_ratio": POSITIVE,
    "batch": COUNT,
    "warm_up": COUNT_OR_NONE,
    "tau": Range(0, 1, open_low=True),
    "priority_alpha": NOT_NEGATIVE,
    "priority_beta": PROBABILITY,
    "learner_threads": COUNT,
    "policy_learning_rate": POSITIVE,
    "critic_learning_rate": POSITIVE,
    "policy_delay": COUNT,
    "target_noise": NOT_NEGATIVE,
    "target_noise_clip": NOT_NEGATIVE,
    "temperature": POSITIVE,
    "temperature_learning_rate": POSITIVE,
    "target_entropy": Range(),
    "population": Range(0, MOST_TICKETS, whole=True),
    "sigma": POSITIVE,
    "max_lag": Range(0, MOST_TICKETS, whole=True),
    "episodes": COUNT,
    "survival_bonus": Range(),
    "action_bins": COUNT_OR_NONE,
    "rank": COUNT,
    "virtual_batch": COUNT_OR_NONE,
    "weight_decay": NOT_NEGATIVE,
    "max_speed": POSITIVE,
    "epochs": COUNT,
    "clip": POSITIVE,
    "mean_kl": POSITIVE,
    "max_kl": POSITIVE,
    "top": COUNT_OR_NONE,
    "sigma_learning_rate": NOT_NEGATIVE,
    "shape_learning_rate": NOT_NEGATIVE,
    "elite": Range(0, 1, open_low=True),
    "extra_std": NOT_NEGATIVE,
    "extra_decay": COUNT_OR_NONE,
    "smoothing": DECAY,
    "checkpoint_every": COUNT_OR_NONE,
    "keep_checkpoints": COUNT,
    "evaluate_every": COUNT_OR_NONE,
    "evaluation_episodes": COUNT_OR_NONE,
    "report_seconds": POSITIVE,
    "hang_seconds": POSITIVE,
    "max_failures": COUNT,
}


def check_experiment(experiment: Experiment, new: bool = True) -> None:
    """Raise UserError for the first thing that cannot work: one line, what was given and what is allowed.

    `new`: a run that makes its folder; a resumed one has it.
    """
    if not isinstance(experiment.algo, str) or experiment.algo not in ALGORITHMS:
        raise unknown("algorithm", experiment.algo, ALGORITHMS)
    for part in (experiment, experiment.options, experiment.network, experiment.run):
        check_fields(part)
    t_max = getattr(experiment.options, "t_max", 1)
    if experiment.steps < t_max:
        raise UserError(f"steps = {experiment.steps} is less than t_max = {t_max}: not even one rollout would fit")
    if new:
        check_run_folder(Path(experiment.run.runs), experiment.run.name)
        _check_threads(getattr(experiment.options, "learner_threads", 1))
        _check_start(experiment.network.initial_log_std)
    _check_mode(experiment.mode)
    check_processes(experiment.workers)


def _check_mode(mode: str) -> None:
    from asyncrl.scheduler.modes import parse_modes

    parse_modes(mode)


def _check_threads(threads: int) -> None:
    """Of a new run: one that is resumed may come from a machine with more cores."""
    cores = usable_cores()
    if threads > cores:
        raise UserError(f"learner_threads = {threads} cannot be used (allowed: whole numbers from 1 to {cores}, the usable cores)")


def _check_start(log_std: float) -> None:
    """Of a new run: one that began outside of what a policy can have goes on, and comes back in."""
    from asyncrl.heads.options import LOG_STD

    check_number("initial_log_std", log_std, Range(*LOG_STD))


def check_processes(workers: int) -> None:
    """Check that so many processes can be started and watched: each takes a few open files of the main process."""
    if workers > MOST_WORKERS and "forkserver" in multiprocessing.get_all_start_methods():
        raise UserError(f"workers = {workers} cannot be used (allowed: at most {MOST_WORKERS}, which is what a fork server can be handed)")
    if resource is None:
        return
    needed, allowed = FILES + FILES_PER_WORKER * workers, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        raise UserError(
            f"too many open files: {workers} workers need about {needed}, {allowed} are allowed (raise the limit with `ulimit -n`)"
        )


def check_fields(part: Any) -> None:
    """Check types, numbers and choices of one frozen dataclass. Fields that are nested dataclasses are left alone."""
    hints = typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):
        name, value, hint = field.name, getattr(part, field.name), hints[field.name]
        check_kind(name, value, hint, field.default)
        if name in RANGES and not (value is None and type(None) in typing.get_args(hint)):
            check_number(name, value, RANGES[name], several=isinstance(value, tuple | list) and "tuple" in str(hint))


def check_number(name: str, value: Any, allowed: Range, several: bool = False) -> None:
    """Check a number, or each of several."""
    for item in value if several else (value,):
        if not allowed.allows(item):
            given = f"{value} contains {item}" if several else value
            raise UserError(f"{name} = {given} cannot be used (allowed: {allowed})")


def check_named(options: Any, named: Collection[str]) -> None:
    """Raise UserError for options that contradict what the user has named: of a default the options cannot tell that by themselves.

    `named`: names of options that were given, of switches those that were turned on.
    """
    if hasattr(options, "check_named"):
        options.check_named(named)


def check_run_folder(runs: Path, name: str | None) -> None:
    """Check that a run's folder can be made and does not exist yet. The default name is free of clashes by itself."""
    if name is not None:
        if not re.fullmatch(r"[^/\\\0]+", name) or name in (".", "..") or len(name.encode()) > 255:
            raise UserError(f"name = {name!r} cannot be used (allowed: one folder's name, without slashes; `runs` says where it is made)")
        if os.path.lexists(runs / name):
            raise UserError(f"the run's folder {str(runs / name)!r} exists already (give another name, or `asyncrl resume {runs / name}`)")
    present = next(folder for folder in (runs, *runs.absolute().parents) if os.path.exists(folder))
    if not present.is_dir():
        raise UserError(f"runs = {str(runs)!r} cannot be used: {str(present)!r} is not a folder")
    if not os.access(present, os.W_OK | os.X_OK):
        raise UserError(f"runs = {str(runs)!r} cannot be used: {str(present)!r} is not writable")
