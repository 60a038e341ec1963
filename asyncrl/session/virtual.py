"""What a simulated run needs beside others, and the record of a real run by which another can be simulated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from asyncrl.experiment.experiment import Experiment
from asyncrl.experiment.simulated_times import RECORD, Durations
from asyncrl.launcher import Crew, HostCrew
from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.shared.stages import RECORDED
from asyncrl.store.array_files import pieces
from asyncrl.store.durable_files import write_file
from asyncrl.topologies.topology import Topology
from asyncrl.workers.hosting import Hosting


def durations_of(experiment: Experiment) -> Durations | None:
    """How long the stages of a simulated run take; None for another. Raises UserError."""
    return Durations.parse(experiment.run.simulate).read() if experiment.run.simulate else None


def crew_of(experiment: Experiment, topology: Topology, durations: Durations | None) -> Callable[..., Crew]:
    """Who works: processes, or, with `durations`, virtual workers in one."""
    if durations is None:
        return Crew
    hosting = Hosting(
        memory=topology.memory,
        pipes=topology.pipes,
        durations=durations,
        seed=experiment.seed,
        workers=experiment.workers,
        seconds=experiment.seconds,
        draws_apart=not topology.task.simulated or topology.task.network_function is not None,
    )
    return partial(HostCrew, hosting=hosting)


def write_record(folder: Path, topology: Topology, workers: int) -> None:
    """Write a recorded run's durations, once nobody works any more. Raises OSError."""
    record = topology.memory.part("durations")
    arrays = {
        "seconds": record["seconds"],
        "rounds": np.minimum(record["rounds"][::WORDS_PER_LINE], RECORDED),
        "workers": np.array([workers]),
    }
    write_file(folder / RECORD, pieces(arrays))
