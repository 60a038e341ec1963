"""The state of a whole run: restoring it from a checkpoint and saving it. The topology determines its content."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from asyncrl.launcher import Launcher
from asyncrl.monitor.aggregate import Aggregate
from asyncrl.store.checkpoint import begin, drop_after, folder_of, is_sealed, parts, prune, seal, write_part
from asyncrl.topologies.topology import Arrays, Topology


class RunState:
    """The state that all workers share, which the main process reads and writes only while no worker runs."""

    def __init__(self, topology: Topology, target_steps: int):
        self._topology = topology
        self._target_steps = target_steps
        self._clock = [name for name in topology.memory if name.startswith("virtual/") or name == "ledger/totals"]
        self.saved_steps = 0
        self.generations = 0
        """The largest number of processes per slot in earlier sessions, by which new processes get new random streams."""
        self._best = -np.inf
        self._best_steps: int | None = None

    @property
    def steps(self) -> int:
        """The number of steps that the present parameters were learned from."""
        return self._topology.steps

    def restore(self, state: dict[str, Any], arrays: Arrays, folder: Path) -> None:
        """Restore a checkpoint: `state`, `arrays` of its part "run", and other parts in `folder`. Raises UserError if it does not fit."""
        self._topology.restore(state, arrays, folder)
        for name in self._clock:
            self._topology.memory[name][:] = arrays[name]
        self.saved_steps, self.generations = self.steps, state["generations"]
        if state["best"] is not None:
            self._best, self._best_steps = state["best"]

    def save(self, run: Path, launcher: Launcher, monitor: Aggregate, manifest: dict[str, Any], keep: int) -> str:
        """Write the checkpoint of the present step, while all workers are at the gate or have ended.

        Returns a text for the user about parts that are missing, or "". Raises OSError if it cannot be written; then it is removed.
        """
        steps = self.steps
        if steps == 0 or is_sealed(folder_of(run, steps)):
            return ""
        folder = begin(run, steps)
        try:
            return self._write(folder, run, launcher, monitor, manifest, keep)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _write(self, folder: Path, run: Path, launcher: Launcher, monitor: Aggregate, manifest: dict[str, Any], keep: int) -> str:
        steps = self.steps
        launcher.save_workers(steps)
        self._topology.complete(folder)
        shared, arrays = self._topology.gather()
        state = {
            **shared,
            "steps": steps,
            "generations": self.generations + max(slot.generation for slot in launcher.slots),
            "mode": str(self._topology.ground.board.mode()),
            "monitor": monitor.returns.state(),
            "target_steps": self._target_steps,
            "saved_at": time.time(),
        }
        score = monitor.returns.summary()["return_mean_last_100"]
        best, best_steps = (score, steps) if score is not None and score > self._best else (self._best, self._best_steps)
        state["best"] = None if best_steps is None else [best, best_steps]
        write_part(folder, "run", state, {**arrays, **{name: self._topology.memory[name] for name in self._clock}})
        written = parts(folder)
        seal(folder, {**manifest, "steps": steps})
        self.saved_steps = steps
        self._best, self._best_steps = best, best_steps  # only now, since a checkpoint that could not be written is not the best
        drop_after(run, steps)
        prune(run, keep, None if self._best_steps is None else folder_of(run, self._best_steps))
        missing = ", ".join(str(worker) for worker in self._topology.parts() if f"worker-{worker}" not in written)
        return missing and (
            f"lacks the episodes of worker {missing}; if the run is resumed from it, they begin anew, with new random streams"
        )
