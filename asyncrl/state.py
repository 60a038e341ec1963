"""The state of a run that lies in shared memory: begun, restored, saved."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.checkpoint import begin, folder_of, is_sealed, parts, prune, seal, write_part
from asyncrl.errors import UserError
from asyncrl.launcher import Launcher
from asyncrl.monitor.aggregate import Aggregate
from asyncrl.scheduler.pace import Ground
from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.workers.evaluator import Snapshot
from asyncrl.workers.plan import Task, normalises
from asyncrl.workers.standardiser import Standardiser


class RunState:
    """Everything that all workers share, as the main process sees it. Writes it only while no worker runs."""

    def __init__(self, ground: Ground, task: Task):
        self._ground = ground
        self._task = task
        self.saved_steps = 0
        self.generations = 0
        """Processes per slot that earlier sessions of this run had: random streams are never used twice."""
        self._best = -np.inf
        self._best_steps: int | None = None

    @property
    def steps(self) -> int:
        """Steps whose round was published, of all workers."""
        return int(self._ground.ledger.total("steps"))

    def begin(self, vector: NDArray[np.float32]) -> None:
        """Start from these parameters."""
        self._ground.parameters.vectors[:, : vector.size] = vector

    def restore(self, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Take up a checkpoint's part "run". Raises UserError where it does not fit this experiment."""
        parameters, ledger, board = self._ground.parameters, self._ground.ledger, self._ground.board
        shapes = {
            "parameters": parameters.vectors[0].shape,
            "statistics": parameters.statistics[0].shape,
            "own_statistics": parameters.own_statistics.shape,
            "ledger": (ledger.workers, ledger.width),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise UserError(f"the checkpoint does not fit: {name} has shape {arrays[name].shape}, this run needs {shape}")
        current = state["rounds"] & 1
        parameters.vectors[current], parameters.statistics[current] = arrays["parameters"], arrays["statistics"]
        parameters.own_statistics[:] = arrays["own_statistics"]
        board.applied[::WORDS_PER_LINE] = state["rounds"]
        for worker in range(ledger.workers):
            record = arrays["ledger"][worker].copy()
            ledger.column(record, "started")[:] = 0.0
            ledger.column(record, "ended")[:] = 0.0
            ledger.publish(worker, record)
        self.saved_steps, self.generations = self.steps, state["generations"]
        if state["best"] is not None:
            self._best, self._best_steps = state["best"]

    def current(self) -> NDArray[np.float32]:
        """The current parameters [padded N]. In rounds modes whole; in place it may mix updates."""
        board, vectors = self._ground.board, self._ground.parameters.vectors
        for _ in range(5):
            version = board.applied_by_all()
            copy = vectors[version & 1].copy()
            if board.applied_by_all() == version:
                break
        return copy

    def snapshot(self) -> Snapshot:
        """What an evaluation needs, as of now."""
        normaliser = np.zeros((3, self._task.spec.observation_size), np.float32)
        if normalises(self._task):
            Standardiser(self._ground.ledger, normaliser).refresh(list(self._ground.ledger.read_all()))
        return Snapshot(self.current()[: self._ground.parameters.size], normaliser, self.steps)

    def save(self, run: Path, launcher: Launcher, monitor: Aggregate, manifest: dict[str, Any], keep: int) -> list[int]:
        """Write the checkpoint of this step. All workers are at the gate, or gone; returns those whose part is missing.

        Raises OSError where the disk does not take it; then nothing of it is left.
        """
        steps = self.steps
        if steps == 0 or is_sealed(folder_of(run, steps)):
            return []
        folder = begin(run, steps)
        try:
            return self._write(folder, run, launcher, monitor, manifest, keep)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _write(
        self, folder: Path, run: Path, launcher: Launcher, monitor: Aggregate, manifest: dict[str, Any], keep: int
    ) -> list[int]:
        steps = self.steps
        launcher.save_workers(steps)
        board, parameters, ledger = self._ground.board, self._ground.parameters, self._ground.ledger
        rounds = board.applied_by_all()
        vector, statistics = parameters.buffer(rounds)
        state = {
            "steps": steps,
            "rounds": rounds,
            "mode": str(board.mode()),
            "generations": self.generations + max(slot.generation for slot in launcher.slots),
            "monitor": monitor.state(),
            "target_steps": self._task.target_steps,
            "saved_at": time.time(),
        }
        arrays: dict[str, NDArray[Any]] = {
            "parameters": vector,
            "statistics": statistics,
            "own_statistics": parameters.own_statistics,
            "ledger": ledger.read_all(),
            "normaliser": self.snapshot().normaliser,
        }
        score = monitor.summary()["return_mean_last_100"]
        best, best_steps = (score, steps) if score is not None and score > self._best else (self._best, self._best_steps)
        state["best"] = None if best_steps is None else [best, best_steps]
        write_part(folder, "run", state, arrays)
        written = parts(folder)
        seal(folder, {**manifest, "steps": steps})
        self.saved_steps = steps
        self._best, self._best_steps = best, best_steps  # only now: a checkpoint that failed is not the best
        prune(run, keep, None if self._best_steps is None else folder_of(run, self._best_steps))
        return [worker for worker in range(ledger.workers) if f"worker-{worker}" not in written]
