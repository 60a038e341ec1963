"""A run's checkpoint, ready to be played, and what learned in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.heads.tables import kept_tables
from asyncrl.learners.off_policy import OffPolicyLearner
from asyncrl.session.folder import other_environment, read_experiment
from asyncrl.shared.parameters import FLOATS_PER_LINE
from asyncrl.store.checkpoint import check, folder_of, newest, parts, read_part, sealed, step_of
from asyncrl.topologies.players import policy_of
from asyncrl.topologies.streams.learner import LEARNER_PART
from asyncrl.topologies.streams.plan import learner_of
from asyncrl.workers.plan import Task, task_of
from asyncrl.workers.player import Snapshot


def load(
    folder: Path, env: EnvSource | None, network_function: Any, step: int | None = None, trust: bool = False
) -> tuple[Task, Snapshot]:
    """The task and the snapshot of a run's checkpoint, for playing: of the newest, or of that of a `step`.

    `trust`: whether code that the folder names may be run.

    Raises UserError if they do not fit. What the user should know besides is warned of as said by the caller's caller.
    """
    experiment = read_experiment(folder, env, network_function, trust)
    checkpoint = checkpoint_of(folder, step)
    check_checkpoint(checkpoint, experiment)
    task = task_of(experiment)
    for note in other_environment(folder, checkpoint, experiment, task.spec):
        warnings.warn(note, UserWarning, stacklevel=3)
    return task, snapshot_of(checkpoint, task)


def snapshot_of(checkpoint: Path, task: Task) -> Snapshot:
    """What is played of a checkpoint. Raises UserError if it does not fit the task."""
    state, arrays = read_part(checkpoint, "run")
    size, observed = policy_of(task).size, task.spec.observation_size
    if not size <= arrays["parameters"].size < size + FLOATS_PER_LINE or arrays["normaliser"].shape[1] != observed:
        raise UserError(f"checkpoint {str(checkpoint)!r} does not fit the environment or the network: it has other shapes")
    limit = int(arrays["state/limit"][0]) if "state/limit" in arrays else 0
    return Snapshot(arrays["parameters"][:size], arrays["normaliser"], int(state["steps"]), limit, kept_tables(arrays))


def load_learner(folder: Path, task: Task, snapshot: Snapshot) -> OffPolicyLearner | None:
    """What learned by a replay in the run's `task`, as it stood when `snapshot` was taken, both from `load`; None without a replay.

    Raises UserError for a checkpoint without the learner's state, as earlier versions wrote them.
    """
    return learner_of(task, lambda: _learner_state(folder_of(folder, snapshot.steps)))


def _learner_state(checkpoint: Path) -> dict[str, Any]:
    if LEARNER_PART not in parts(checkpoint):
        raise UserError(f"checkpoint {str(checkpoint)!r} has no learner in it, so no values of actions (--checkpoint: another one)")
    return read_part(checkpoint, LEARNER_PART)[1]


def checkpoint_of(folder: Path, step: int | None) -> Path:
    """A run's newest checkpoint, or that of a step. Raises UserError where there is none."""
    return newest(folder) if step is None else _of_step(folder, step)


def check_checkpoint(checkpoint: Path, experiment: Experiment) -> None:
    """Raise UserError where a checkpoint is damaged, or of another algorithm."""
    algo = check(checkpoint).get("algo")
    if algo != experiment.algo:
        raise UserError(f"checkpoint {str(checkpoint)!r} is of algorithm {algo!r}, this run's is {experiment.algo!r}")


def _of_step(folder: Path, step: int) -> Path:
    there = {step_of(one): one for one in sealed(newest(folder).parent.parent)}
    if step not in there:
        raise UserError(f"checkpoint = {step} cannot be used (allowed: {', '.join(map(str, sorted(there)))}, the steps of this run's)")
    return there[step]
