"""Reports of a run: made from the ledger and the episode rings, for TensorBoard, metrics.jsonl, the terminal and the summary."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from asyncrl.experiment.experiment import Experiment
from asyncrl.monitor.aggregate import Aggregate
from asyncrl.monitor.console import Console
from asyncrl.monitor.memory import MemoryMeter
from asyncrl.monitor.writer import Writer
from asyncrl.processes.fork_server import Context
from asyncrl.shared.atomics import load_acquire
from asyncrl.topologies.topology import Topology
from asyncrl.workers.plan import episode_ring
from asyncrl.workers.player import Evaluation

DRAIN_SECONDS = 0.25
"""Longest interval between readings of the workers' episode rings, which drop the oldest episodes when they are full."""


class Reports:
    """Makes the reports that are due at every tick and passes them on. It does not wait for the disk or the terminal."""

    def __init__(
        self,
        context: Context,
        folder: Path,
        experiment: Experiment,
        topology: Topology,
        updates: int,
        title: str,
        resumes: bool = False,
    ):
        """`updates`: made before this session; `resumes`: whether there was an earlier session, whose last steps may be repeated."""
        settings = dataclasses.asdict(dataclasses.replace(experiment, env=experiment.env_name, network_function=None))
        for name in ("run", "network_function"):
            del settings[name]
        ground, labels, memory = topology.ground, topology.labels, topology.memory
        self._ground = ground
        self._every = experiment.run.report_seconds
        self._rings = [episode_ring(memory, worker) for worker in range(topology.task.workers)]
        self._topology, self._told = topology, memory.part("virtual").get("told")
        self._estate, self._parameter_figures = topology.estate, topology.parameter_figures
        self.aggregate = Aggregate(ground.ledger, labels, updates, topology.settings)
        self._writer: Writer | None = Writer(context, folder, settings, after=int(ground.ledger.total("steps")) if resumes else None)
        self._console = Console(title, experiment.steps, labels, experiment.seconds, experiment.run.quiet)
        self._memory = MemoryMeter()
        self._next = self._next_drain = 0.0

    def start(self) -> None:
        """Start the interval of the first report; called when training begins."""
        self._next = time.monotonic() + self._every

    def note(self, message: str) -> None:
        """Show a warning to the user."""
        self._console.note(message)

    def say(self, message: str) -> None:
        """Show a message to the user that is no warning."""
        self._console.say(message)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Report the result of an evaluation."""
        if self._writer is not None:
            alone = {} if evaluation.alone is None else {"evaluation/first_proposal_return": evaluation.alone}
            self._writer.send({"step": evaluation.steps, "evaluation/return": evaluation.mean, **alone})

    def tick(self, updates: int, restarts: list[int], last: bool = False) -> float:
        """Make a report if one is due, or the `last` one; returns the seconds until it should be called again.

        `updates`: made so far; `restarts[i]`: how often worker i was replaced.
        """
        now = time.monotonic()
        if now < self._next and not last:
            if now >= self._next_drain:
                self.drain()
            return min(self._next, self._next_drain) - now
        self._next = now + self._every
        if last:  # the time after the last round is not counted as training
            ended = float(self._ground.ledger.column(self._ground.ledger.read_all(), "ended").max())
            now = min(now, ended) if ended else now
        self.drain()
        of_parameters = {f"learn/{name}": value for name, value in self._parameter_figures().items()}
        report = {**self.aggregate.report(now, updates), **of_parameters, **self._simulated(), "memory/rss_mb": self._memory.read(now)}
        report |= self._topology.site_figures()
        if self._writer is not None:
            self._writer.send(report, self.aggregate.lag_histogram)
            for warning in self._writer.poll():
                self.note(warning)
        self._console.update(report, restarts)
        return min(self._every, DRAIN_SECONDS)

    def _simulated(self) -> dict[str, float]:
        """The virtual time of a simulated run, and the steps of one virtual second on average."""
        seconds = self._topology.virtual_seconds
        if seconds is None:
            return {}
        rate = {"simulated/steps_per_second": self._ground.ledger.total("steps") / seconds} if seconds > 0 else {}
        return {"simulated/seconds": seconds, **rate}

    def drain(self) -> None:
        """Read the episodes that have ended from the workers' rings, and count those that may be counted."""
        self._next_drain = time.monotonic() + DRAIN_SECONDS
        complete = self._estate.told_below()
        if complete is None and self._told is not None:
            complete = load_acquire(self._told, 0)
        for worker, ring in enumerate(self._rings):
            records = ring.drain()
            if len(records["order"]):
                self.aggregate.returns.hold(worker, records)
        self.aggregate.returns.release(complete)

    def summary(self, updates: int) -> dict[str, Any]:
        """The measured part of summary.json."""
        self.drain()
        self._memory.read(time.monotonic(), force=True)
        simulated = {name.replace("/", "_"): value for name, value in self._simulated().items()}
        return {**self.aggregate.summary(), **simulated, "updates": updates, "peak_rss_mb": self._memory.peak_mb}

    def close(self, status: str) -> None:
        """Close the console, and have the writer write its queue and end. Idempotent. `status`: how the run ended."""
        self._console.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            for warning in writer.close(5.0 if status == "completed" else 1.5, status):
                self.note(warning)

    def print_summary(self, summary: dict[str, Any], folder: Path) -> None:
        """Show the summary to the user, at the end."""
        self._console.print_summary(summary, str(folder))
