"""The contract of a topology, and what all of them do alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import RunOptions
from asyncrl.launcher.contract import Estate, SharedGround
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.shared.arrays import SharedArrays, free_bytes, offsets_of, prefixed
from asyncrl.shared.parking import HostedParking, Parking, PipesToCarry
from asyncrl.shared.stages import RecordedStages, virtual_layout
from asyncrl.workers.plan import Task
from asyncrl.workers.player import Snapshot

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Seat:
    """Where a worker process is put."""

    worker: int
    generation: int
    """Processes that had this slot before, over all sessions of the run."""
    core: int | None
    restore_from: Path | None
    """A checkpoint's folder, for the first process of a resumed run."""
    run_folder: Path


class Topology(Protocol):
    """Built once per session, before anything is started. Implementations subclass it, and inherit what they need not have."""

    task: Task
    """What is learned."""
    ground: SharedGround
    """The shared words that every topology has."""
    estate: Estate
    """How the dead are settled."""
    memory: SharedArrays
    """The shared memory of the run."""
    pipes: PipesToCarry
    """Of its parking, as every process is handed them."""
    labels: list[str]
    """Exploration setting of each worker."""
    settings: list[str] | None = None
    """Exploration settings, where they are not the workers'."""
    size: int
    """Parameters."""
    head_name: str
    """The policy head."""

    @property
    def spec(self) -> EnvSpec | None:
        """The environment's spaces; None for a function."""
        return self.task.env_spec

    @property
    def virtual_seconds(self) -> float | None:
        """The time on the virtual clock, over all sessions of the run; None where the run is not simulated."""
        clock = self.memory.part("virtual")
        return float(clock["now"][0]) if clock else None

    @property
    def steps(self) -> int:
        """Steps that the present parameters are made from."""

    def name_of(self, worker: int) -> str:
        """What the user is told of a place."""
        return f"worker {worker}" if worker < self.task.workers else "the learner"

    def body_of(self, seat: Seat) -> tuple[Callable[..., None], Any]:
        """What a worker process runs, and what it is handed."""

    def begin(self) -> None:
        """The first state, in shared memory."""

    def restore(self, state: dict[str, Any], arrays: Arrays, folder: Path) -> None:
        """Take up what `gather` gave, and what else the checkpoint has in `folder`. Raises UserError where it does not fit."""

    def gather(self) -> tuple[dict[str, Any], Arrays]:
        """Everything in shared memory that a checkpoint keeps; JSON and arrays. All workers are at the gate, or dead."""

    def complete(self, folder: Path) -> None:
        """Write the parts of a checkpoint that a dead process owes, and that can be told from shared memory. Raises OSError.

        By default there are none.
        """
        return

    def saved_bytes(self, steps: int) -> int:
        """About how many bytes a checkpoint has after so many steps, where that can be much; else 0, which is the default."""
        return 0

    def beyond_the_end(self) -> dict[str, int]:
        """How much of summary.json's figures is what workers had begun for a version that the completed run does not come to.

        Empty in modes that are not deterministic, where everything that was played is told; and by default.
        """
        return {}

    def record_lacks(self, folder: Path) -> str:
        """What the record of a run's rounds in its `folder` lacks, once nobody works any more, for the user; by default nothing."""
        return ""

    def head_figures(self) -> dict[str, float]:
        """What the policy's head tells of the whole run (`Head.figures`), for summary.json; by default nothing."""
        return {}

    def site_figures(self) -> dict[str, float]:
        """What is told of sites on other machines since the last call, for reports; by default nothing."""
        return {}

    def site_summary(self) -> list[dict[str, float | None]]:
        """What each site on another machine has done, for summary.json; by default there are none."""
        return []

    def parameter_figures(self) -> dict[str, float]:
        """What the present parameters say of the policy by themselves (`Head.parameter_figures`), for reports; by default nothing."""
        return {}

    def parts(self) -> list[int]:
        """Workers that write a part of a checkpoint themselves."""

    def snapshot(self) -> Snapshot:
        """What an evaluation needs, as of now."""

    def close(self) -> None:
        """Give back the memory and the pipes that the system lends for as long as the run lasts. Once all processes have ended."""
        self.ground.parking.close()
        self.memory.close()


def copies_bytes(task: Task, size: int) -> int:
    """What workers need of their own for injected staleness; `size`: of a vector."""
    return task.workers * OldCopies.bytes_of(task.staleness, size)


def check_memory(layout: Any, beside: int) -> None:
    """Raise UserError where there is too little memory for what is shared and, of the processes' own, `beside` bytes.

    Without any of their own the shared memory says so itself, when it is allocated.
    """
    if beside and offsets_of(layout)[1] + beside > (free := free_bytes(None)):
        needed = f"{offsets_of(layout)[1]:,} bytes to share and about {beside:,} of the processes' own are needed"
        raise UserError(f"too little memory: {needed}, {free:,} are free on this machine; use a smaller network or fewer workers")


def allocate(layout: Any, run: RunOptions) -> tuple[SharedArrays, Parking]:
    """The shared memory, and the places where its processes sleep. Of a run that is simulated or recorded, with what that needs."""
    places = layout["board/base"][0][0]
    width = layout["ledger/entries"][0][2]
    simulated = {**prefixed("virtual", virtual_layout(places)), "ledger/totals": ((width,), np.float64)} if run.simulate else {}
    recorded = prefixed("durations", RecordedStages.layout(places)) if run.record else {}
    memory = SharedArrays.allocate({**layout, **simulated, **recorded})
    try:
        return memory, (HostedParking if simulated else Parking).allocate(memory["parking/sleeping"])
    except BaseException:
        memory.close()
        raise


def check_shapes(arrays: Arrays, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError where a checkpoint's arrays lack one of these names, or have it in another shape."""
    for name, shape in wanted.items():
        if name not in arrays or arrays[name].shape != shape:
            given = arrays[name].shape if name in arrays else None
            raise UserError(f"the checkpoint does not fit: {name} has shape {given}, this run needs {shape}")
