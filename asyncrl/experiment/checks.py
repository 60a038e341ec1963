"""What is wrong with an experiment, as far as can be said without its environment. Pure checks; nothing is made.

Names of heads and explorations are looked up by those who own them, when the experiment is wired.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
import typing
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncrl.algos import ALGORITHMS, head_named, unknown_algorithm
from asyncrl.errors import UserError
from asyncrl.experiment.simulated_times import Durations
from asyncrl.fields import AlgorithmOptions, Range, check_kind, hints_of
from asyncrl.heads.choice import options_type_of, role_under
from asyncrl.heads.options import LOG_STD
from asyncrl.processes.starting import usable_cores
from asyncrl.scheduler.delays import parse_delays

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


def check_experiment(experiment: Experiment, new: bool = True) -> None:
    """Raise UserError for the first thing that cannot work: one line, what was given and what is allowed.

    `new`: a run that makes its folder; a resumed one has it.
    """
    if not isinstance(experiment.algo, str) or experiment.algo not in ALGORITHMS:
        raise unknown_algorithm(experiment.algo, experiment.env)
    _check_options(experiment)
    for part in (experiment, experiment.options, experiment.network, experiment.network.head_options, experiment.run):
        check_fields(part)
    _check_environment(experiment)
    if experiment.run.pictures and not experiment.run.evaluation_episodes:
        raise UserError("pictures come with evaluations, of which there are none: evaluation_episodes = 0 (allowed: from 1, with pictures)")
    entry = ALGORITHMS[experiment.algo]
    experiment.network.head_options.check_role(role_under(entry.head, entry.searches, entry.learns_values), experiment.algo)
    for name, value in (("staleness", experiment.staleness), ("diagnose", experiment.run.diagnose)):
        if entry.searches and value:
            shown = f"{name} = {value} cannot be used with {experiment.algo}"
            raise UserError(f"{shown}: a search's late evaluations come of its mode, and are told in learn/late_used (allowed: 0)")
    check_engine(experiment)
    if experiment.whole and entry.topology != "actor_learner":
        allowed = ", ".join(name for name, other in ALGORITHMS.items() if other.topology == "actor_learner")
        raise UserError(f"whole cannot be used with {experiment.algo}, whose learner alone makes updates (allowed with {allowed})")
    if experiment.whole and experiment.run.simulate:
        raise UserError("whole cannot be used with simulate, where every update is whole by itself (allowed: one of them)")
    least = experiment.options.least_steps
    if experiment.steps < least:
        raise UserError(f"steps = {experiment.steps} is less than t_max = {least}: not even one rollout would fit")
    if new:
        check_run_folder(Path(experiment.run.runs), experiment.run.name)
        _check_threads(experiment.options.learner_threads)
        _check_start(experiment.network.initial_log_std)
    _ = experiment.modes  # raises where the text cannot be read
    if experiment.run.simulate:
        _check_simulated(experiment)
    else:
        check_processes(experiment.workers)
    parse_delays(experiment.run.delay, experiment.workers)


def check_engine(experiment: Experiment) -> None:
    """Sites on other machines evaluate candidates of searches; nothing else has an engine yet."""
    run, entry = experiment.run, ALGORITHMS[experiment.algo]
    if run.engine == "local":
        for name in ("address", "sites", "site_workers"):
            if getattr(run, name):
                raise UserError(f"{name} = {getattr(run, name)!r} says nothing with engine = local (allowed: with engine = ray)")
        return
    if not entry.searches:
        having = ", ".join(name for name, one in ALGORITHMS.items() if one.searches)
        raise UserError(f"engine = ray cannot be used with {experiment.algo} (allowed: local; algorithms with other engines: {having})")
    if run.simulate:
        raise UserError("engine = ray cannot be used with simulate, whose workers are in one process (allowed: local)")


def _check_options(experiment: Experiment) -> None:
    """The options are the algorithm's own, and the head's: those of another lack what it reads."""
    wanted, given = ALGORITHMS[experiment.algo].options_type, experiment.options
    if not isinstance(given, wanted):
        shown = f"options of type {type(given).__name__}"
        raise UserError(f"{shown} cannot be used with {experiment.algo} (allowed: {wanted.__name__})")
    of_head, chosen = options_type_of(head_named(experiment.algo, experiment.head)), experiment.network.head_options
    if type(chosen) is not of_head:
        shown = f"head_options of type {type(chosen).__name__}"
        raise UserError(f"{shown} cannot be used with head {experiment.head!r} (allowed: {of_head.__name__})")


def _check_simulated(experiment: Experiment) -> None:
    """All workers are in one process, so that their number has no limit but memory's."""
    Durations.parse(experiment.run.simulate)
    if experiment.run.record:
        raise UserError("record cannot be used with simulate, whose times are drawn (allowed: one of them)")
    if experiment.run.delay:
        raise UserError("delay cannot be used with simulate, whose times are drawn (allowed: slow:SHARE:FACTOR within simulate)")


def _check_environment(experiment: Experiment) -> None:
    """Its arguments and wrappers are kept in experiment.json, so that commands can make it again."""
    for one in experiment.wrapper:
        if not isinstance(one, str):
            raise UserError(f"wrapper = {one!r} cannot be used (allowed: module:class as a text; others in a function that makes it)")
    if not isinstance(experiment.env_kwargs, dict) or not all(isinstance(name, str) for name in experiment.env_kwargs):
        raise UserError(f"env_kwargs = {experiment.env_kwargs!r} cannot be used (allowed: a dict of arguments by name)")
    for name, value in experiment.env_kwargs.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            kept = "numbers, texts, lists and dicts of them; anything else in a function that makes the environment"
            raise UserError(f"env_kwargs: {name} = {value!r} cannot be kept (allowed: {kept})") from None


def _check_threads(threads: int) -> None:
    """Of a new run: one that is resumed may come from a machine with more cores."""
    cores = usable_cores()
    if threads > cores:
        raise UserError(f"learner_threads = {threads} cannot be used (allowed: whole numbers from 1 to {cores}, the usable cores)")


def _check_start(log_std: float) -> None:
    """Of a new run: one that began outside of what a policy can have goes on, and comes back in."""
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
    """Check types, numbers and choices of one frozen dataclass by its annotations. Fields that are nested dataclasses are left alone."""
    hints = hints_of(type(part))
    for field in dataclasses.fields(part):
        name, value, (hint, allowed) = field.name, getattr(part, field.name), hints[field.name]
        check_kind(name, value, hint, field.default)
        if allowed is not None and not (value is None and type(None) in typing.get_args(hint)):
            check_number(name, value, allowed, several=isinstance(value, tuple | list) and "tuple" in str(hint))


def check_number(name: str, value: Any, allowed: Range, several: bool = False) -> None:
    """Check a number, or each of several."""
    for item in value if several else (value,):
        if not allowed.allows(item):
            shown = repr(item) if isinstance(item, str) else item  # so that a number given as text is seen to be one
            given = f"{value} contains {shown}" if several else shown
            raise UserError(f"{name} = {given} cannot be used (allowed: {allowed})")


def check_named(options: AlgorithmOptions, named: Collection[str]) -> None:
    """Raise UserError for options that contradict what the user has named: of a default the options cannot tell that by themselves.

    `named`: names of options that were given, of switches those that were turned on.
    """
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
