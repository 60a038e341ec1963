"""An experiment: all settings of a run, as a frozen dataclass. It imports nothing heavy, since the command line reads it for `--help`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asyncrl.algos.a3c import A3COptions
from asyncrl.heads.options import NetworkOptions
from asyncrl.processes.starting import usable_cores


@dataclass(frozen=True)
class RunOptions:
    """Settings of a run that do not affect what it learns."""

    runs: str = "runs"
    """Folder in which the run's own folder is made."""
    name: str | None = None
    """Name of the run's folder (default: <algo>-<env>-<mode>-s<seed>-<time>)."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 for one at the end only."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints are kept (the best one is kept besides)."""
    evaluate_every: int = 0
    """Steps between greedy evaluations in a process of their own; 0 for none."""
    evaluation_episodes: int = 10
    """Greedy episodes of an evaluation; one evaluation follows the training. 0 for none."""
    report_seconds: float = 1.0
    """Seconds between reports to TensorBoard, metrics.jsonl and the terminal."""
    quiet: bool = False
    """No live table in the terminal."""
    pin_cores: bool = False
    """Keep worker i on core i modulo the number of cores; a learner on a core of its own, or on any where none is left."""
    hang_seconds: float = 60.0
    """A worker that takes longer than this for a round is reported."""
    replace_hung: bool = False
    """Kill and replace a worker that hangs."""
    max_failures: int = 3
    """The run gives up when a worker fails so often in a row without completing a round, or workers raise so often at one place."""


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run."""

    algo: str
    env: str | Callable[[], Any]
    """A gymnasium id, or a function without arguments that makes an environment (Python API)."""
    mode: str = "async"
    """sync | pipelined | bounded:K | async, or a schedule such as async@0,sync@500000 (from which step on)."""
    workers: int = field(default_factory=usable_cores)
    """Processes that act and learn."""
    envs_per_worker: int = 1
    """Environments that each worker steps in turn."""
    steps: int = 500_000
    """Environment steps in all."""
    seconds: float | None = None
    """Stop after this many seconds of training, if that comes first."""
    seed: int = 0
    """Seed of every random stream."""
    head: str = "auto"
    """Policy head; auto picks the one that fits the action space."""
    explore: str = ""
    """Exploration per worker, for example entropy:0.01 or epsilon:0.1,0.01,0.5 (see `asyncrl list`)."""
    options: Any = field(default_factory=A3COptions)
    """Of the algorithm alone."""
    network: NetworkOptions = field(default_factory=NetworkOptions)
    run: RunOptions = field(default_factory=RunOptions)
    network_function: Callable[..., Any] | None = None
    """A network of the user's own (Python API): see `asyncrl.heads.policy.NetworkFunction`."""

    @property
    def env_name(self) -> str:
        """The environment's name in file names and messages: its id, or its function's name."""
        return self.env if isinstance(self.env, str) else getattr(self.env, "__qualname__", type(self.env).__name__)


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    status: str
    """completed | interrupted | failed"""
    folder: Path
    summary: dict[str, Any]
