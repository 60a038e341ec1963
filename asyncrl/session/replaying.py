"""A recorded run once more, update by update (`asyncrl replay`), and how what it comes to compares with what the run came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import connection as mp_connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos import ALGORITHMS
from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError, WorkerFailed
from asyncrl.experiment.checks import check_number
from asyncrl.experiment.experiment import Experiment
from asyncrl.fields import Range
from asyncrl.processes.interrupts import held
from asyncrl.processes.starting import start, stop_all
from asyncrl.session.folder import read_experiment
from asyncrl.store.array_files import pieces
from asyncrl.store.checkpoint import check, read_part, sealed
from asyncrl.store.durable_files import write_file
from asyncrl.topologies import run_context, topology_of
from asyncrl.topologies.actor_learner.replaying import ReplayShare, run_replay
from asyncrl.topologies.actor_learner.story import Story, read_story
from asyncrl.topologies.topology import Seat, Topology
from asyncrl.workers.messages import Failed

LEARNED = ("parameters", "statistics", "target", "own_statistics")
"""Arrays of a checkpoint that updates change."""


@dataclass(frozen=True)
class Replayed:
    """What a replay came to."""

    version: int
    """Updates that were repeated."""
    last: int
    """Updates in the record."""
    steps: int
    """Of the environments, in the rounds that were repeated."""
    whole: bool
    """Whether updates of the run were whole."""
    checkpoint: Path | None
    """The checkpoint of the run that this version was compared with; None where there is none of this version."""
    exact: bool | None
    """Whether all that updates change is the same to the bit."""
    drift: float | None
    """Norm of the difference of the parameters, relative to the norm of the run's own."""
    largest: float | None
    """Largest difference of a parameter."""
    parameters: NDArray[np.float32]
    """[N], as repeated."""
    notes: tuple[str, ...] = ()
    """What the record lacks."""


def replay(
    run: str | Path,
    until: int | None = None,
    save: str | Path | None = None,
    env: EnvSource | None = None,
    network_function: Any = None,
    trust: bool = False,
) -> Replayed:
    """Repeat a run with --record in one process, in the order in which its updates became versions; and compare it with a checkpoint.

    `until`: the version to stop at; None for all. `save`: a safetensors file for what was repeated: parameters [N], the optimizer's
    statistics [S, N], the target network [N] where there is one, `version` [1] and `steps` [1]. `env`, `network_function` and `trust` as
    in `resume`. Raises UserError for a run that cannot be repeated, WorkerFailed where its environment raises.
    """
    folder = Path(run)
    experiment = read_experiment(folder, env, network_function, trust)
    check_replayable(folder, experiment)
    topology = topology_of(_quietly(experiment))
    try:
        recorded = replace(topology.task, whole=experiment.whole)
        _check_tables(folder, topology)
        story = read_story(folder, recorded)
        if until is not None:
            check_number("until", until, Range(0, story.last, whole=True))
        topology.begin()
        plans = [topology.body_of(Seat(worker, 0, None, None, folder))[1] for worker in range(experiment.workers)]
        version = _repeat(ReplayShare(folder, recorded, plans, story.last if until is None else until))
        _, arrays = topology.gather()
        size, notes = topology.size, (*story.notes, *_lacks(folder, story))
        steps = topology.steps
        found = _compared(_checkpoint_at(folder, *(("version", version) if story.whole else ("steps", steps))), arrays)
        if save is not None:
            _save(Path(save), arrays, size, version, steps)
        return Replayed(version, story.last, steps, story.whole, *found, arrays["parameters"][:size].copy(), notes)
    finally:
        topology.close()


def check_replayable(folder: Path, experiment: Experiment) -> None:
    """Raise UserError for a run of a kind that is not repeated by a record."""
    what = f"run {str(folder)!r} can't be repeated by a record"
    able = [name for name, entry in ALGORITHMS.items() if entry.topology == "actor_learner"]
    if experiment.algo not in able:
        raise UserError(f"{what}: none is made of {experiment.algo} (allowed: {', '.join(able)})")
    if any(mode.delay is not None for _, mode in experiment.modes):
        why = "sync and pipelined give the same bits when the run is made again"
        raise UserError(f"{what}: its mode is {experiment.mode}, and {why} (allowed: bounded:K, async)")
    if experiment.run.simulate:
        raise UserError(f"{what}: it is simulated, and gives the same bits when it is made again (allowed: real workers)")
    if not experiment.run.record:
        raise UserError(f"run {str(folder)!r} was not recorded (allowed: the folder of a run with --record)")


def _quietly(experiment: Experiment) -> Experiment:
    """The same without what has no effect on what is learned. Updates of one process are whole without any doing."""
    return replace(experiment, whole=False, run=replace(experiment.run, record=False, diagnose=0, delay=""))


def _check_tables(folder: Path, topology: Topology) -> None:
    if topology.memory.part("tables") or topology.memory.part("caches"):
        why = f"workers share tables of head {topology.head_name}, and what they read there is not recorded"
        raise UserError(f"run {str(folder)!r} can't be repeated: {why} (allowed: a head without tables)")


def _repeat(share: ReplayShare) -> int:
    """Have a process of its own do it, which is started as those of the run were; returns the version that it came to."""
    with held():
        process, connection = start(run_context(), run_replay, "asyncrl-replay", (share,))
    try:
        mp_connection.wait([connection, process.sentinel])
        try:
            told = connection.recv() if connection.poll() else None
        except (EOFError, ConnectionResetError):
            told = None
    finally:
        stop_all([process], 1.0)
        connection.close()
    if isinstance(told, Failed):
        raise UserError(told.text) if told.of_the_user else WorkerFailed(f"the replay failed: {told.text}\n{told.traceback}")
    if told is None:
        raise WorkerFailed(f"the process of the replay ended (code {process.exitcode})")
    return int(told)


def _compared(
    checkpoint: Path | None, arrays: Mapping[str, NDArray[Any]]
) -> tuple[Path | None, bool | None, float | None, float | None]:
    """(the checkpoint, whether `arrays` are its bits, relative norm of the difference, largest difference)."""
    if checkpoint is None:
        return None, None, None, None
    theirs = read_part(checkpoint, "run")[1]
    exact = all(np.array_equal(arrays[name], theirs[name]) for name in LEARNED if name in theirs)
    own, difference = theirs["parameters"].astype(np.float64), arrays["parameters"].astype(np.float64) - theirs["parameters"]
    return checkpoint, exact, float(np.linalg.norm(difference) / np.linalg.norm(own)), float(np.abs(difference).max())


def _checkpoint_at(folder: Path, name: str, number: int) -> Path | None:
    """The checkpoint whose state has this number of that name, checked: `version` of whole updates, `steps` of others."""
    for checkpoint in sealed(folder):
        if read_part(checkpoint, "run")[0].get(name) == number:
            check(checkpoint)
            return checkpoint
    return None


def _lacks(folder: Path, story: Story) -> list[str]:
    """A line where a run of whole updates went on after the record ends."""
    made = max([read_part(one, "run")[0].get("version", 0) for one in sealed(folder)[-1:]], default=0)
    if not story.whole or made <= story.last:
        return []
    return [f"the record ends with version {story.last:,}, the run's newest checkpoint is of version {made:,}"]


def _save(file: Path, arrays: Mapping[str, NDArray[Any]], size: int, version: int, steps: int) -> None:
    """Write what was repeated. Raises OSError."""
    kept = {name: np.ascontiguousarray(arrays[name][..., :size]) for name in LEARNED if name in arrays and arrays[name].size}
    write_file(file, pieces({**kept, "version": np.array([version]), "steps": np.array([steps])}))
