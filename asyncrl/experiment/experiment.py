"""An experiment: all settings of a run, as a frozen dataclass. It imports nothing heavy, since the command line reads it for `--help`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from asyncrl.algos import ALGORITHMS, head_named
from asyncrl.fields import COUNT, COUNT_OR_ZERO, POSITIVE, STEPS, Engine, Range, Simulator
from asyncrl.heads.choice import options_type_of
from asyncrl.heads.options import NetworkOptions, chosen_or_default
from asyncrl.processes.starting import usable_cores
from asyncrl.scheduler.modes import Mode, parse_modes
from asyncrl.sources import absolute, described, name_of


@dataclass(frozen=True)
class RunOptions:
    """Settings of a run that do not affect what it learns."""

    runs: str = "runs"
    """Folder in which the run's own folder is made."""
    name: str | None = None
    """Name of the run's folder (default: <algo>-<env>-<mode>-s<seed>-<time>)."""
    checkpoint_every: Annotated[int, COUNT_OR_ZERO] = 0
    """Steps between checkpoints; 0 for one at the end only."""
    keep_checkpoints: Annotated[int, COUNT] = 3
    """How many of the newest checkpoints are kept (the best one is kept besides)."""
    evaluate_every: Annotated[int | None, COUNT_OR_ZERO] = None
    """Steps between greedy evaluations in a process of their own; 0 for none. none for a twentieth of the run, or seldomer: so that
    they take at most 2 % of the processors' time, where workers and learner leave no core free."""
    simulator: Simulator = "auto"
    """What steps environments: gymnasium, or a compiled simulator that gives the same numbers; auto takes one where there is one."""
    simulate: str = ""
    """How long rounds take on a virtual clock, such as exponential:1.0 or act=lognormal:1:0.5,compute=constant:0.2: then all workers, any
    number, are simulated in one process, deterministic to the bit in every mode. recorded:RUN for the times of a run with --record."""
    record: bool = False
    """Record how long acting, computing and applying took in the newest rounds of each worker, for --simulate recorded:RUN; and of
    actor-learners in bounded:K and async what every round was computed from, for asyncrl replay RUN."""
    evaluation_episodes: Annotated[int, COUNT_OR_ZERO] = 10
    """Greedy episodes of an evaluation; one evaluation follows the training. 0 for none."""
    pictures: bool = False
    """With evaluations, images for TensorBoard: a short video of a greedy episode, and what the policy prefers where its head tells."""
    report_seconds: Annotated[float, POSITIVE] = 1.0
    """Seconds between reports to TensorBoard, metrics.jsonl and the terminal."""
    quiet: bool = False
    """No live table in the terminal."""
    diagnose: Annotated[int, COUNT_OR_ZERO] = 0
    """Rounds of a worker (of a stream updates of the learner) between samples of what the age of parameters does: how far they have
    moved since they acted and, of actor-learners, the cosine between a late gradient and a fresh one; 0 for none. With them come
    every stream's lag in flight and in queue, and each worker's share."""
    delay: str = ""
    """What workers sleep in each round, as a slower machine or environment would have it: constant:S, exponential:MEAN,
    lognormal:MEAN:SIGMA or pareto:MEAN:SHAPE, in seconds; of workers 0 and 2 alone exponential:0.01@0,2; several joined by +."""
    pin_cores: bool = False
    """Keep worker i on core i modulo the number of cores; a learner on a core of its own, or on any where none is left."""
    hang_seconds: Annotated[float, POSITIVE] = 60.0
    """A worker that takes longer than this for a round is reported."""
    replace_hung: bool = False
    """Kill and replace a worker that hangs."""
    max_failures: Annotated[int | None, COUNT] = None
    """The run gives up when a worker fails so often in a row without completing a round, or workers raise so often at one place;
    none for 3, and for 2 where the same exception comes back at one place within a process's first minute."""
    engine: Engine = "local"
    """What carries the workers: this machine alone, or beside it the nodes of a cluster of Ray, for black-box search."""
    address: str = ""
    """Of the cluster, for engine ray: auto for one that this machine is part of, or HOST:PORT of its head; without it a Ray of its own."""
    sites: Annotated[int | None, COUNT] = None
    """Nodes that work for this run at most, for engine ray; none for as many as there are. Nodes that join later take places left."""
    site_workers: Annotated[int | None, COUNT] = None
    """Processes of each site, for engine ray; none for one for each of its node's cores."""


@dataclass(frozen=True)
class Experiment:
    """Everything that determines a run."""

    algo: str
    env: str | Callable[..., Any]
    """A gymnasium id, file.py:function or module:function, or a function that makes an environment (Python API)."""
    mode: str = "async"
    """sync | pipelined | bounded:K | async, or a schedule such as async@0,sync@500000 (from which step on)."""
    workers: Annotated[int, COUNT] = field(default_factory=usable_cores)
    """Processes that act and learn."""
    envs_per_worker: Annotated[int, Range(1, 10_000, whole=True)] = 1
    """Environments that each worker steps in turn."""
    steps: Annotated[int, STEPS] = 500_000
    """Environment steps in all."""
    seconds: Annotated[float | None, POSITIVE] = None
    """Stop after this many seconds of training, if that comes first; of a simulated run virtual ones."""
    seed: Annotated[int, COUNT_OR_ZERO] = 0
    """Seed of every random stream."""
    head: str = "auto"
    """Policy head; auto picks the one that fits the action space."""
    explore: str = ""
    """Exploration per worker, for example entropy:0.01 or epsilon:0.1,0.01,0.5 (see `asyncrl list`)."""
    options: Any = None  # None: an `options_type` of the algorithm's entry with its defaults
    """Of the algorithm alone."""
    network: NetworkOptions = field(default_factory=NetworkOptions)
    run: RunOptions = field(default_factory=RunOptions)
    network_function: Callable[..., Any] | None = None
    """A network of the user's own (Python API): see `asyncrl.heads.policy.NetworkFunction`."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, by name."""
    wrapper: tuple[str, ...] = ()
    """Wrappers around the environment, the innermost first, each as module:class or file.py:class."""
    frame_stack: Annotated[int, Range(1, 100, whole=True)] = 1
    """Images of which an observation is made, the newest last (Atari's games have four by themselves)."""
    resize: str = ""
    """HEIGHTxWIDTH to which images are shrunk, such as 84x84."""
    staleness: Annotated[int, Range(0, 10_000, whole=True)] = 0
    """Versions by which the parameters that act, and of actor-learners those by which gradients are computed, are older than the
    newest; updates are of the newest all the same. It adds to the lag of the mode and costs no throughput."""
    whole: bool = False
    """Of actor-learners in bounded:K and async: every update is made on a copy and put in place at once, so that none is lost or mixed
    with another, and `asyncrl replay` repeats a run with --record to the bit."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", absolute(self.env))
        wrappers = (self.wrapper,) if isinstance(self.wrapper, str) else self.wrapper
        object.__setattr__(self, "wrapper", tuple(map(absolute, wrappers)))
        if not isinstance(self.algo, str) or self.algo not in ALGORITHMS:
            return
        if self.options is None:
            object.__setattr__(self, "options", ALGORITHMS[self.algo].options_type())
        chosen = chosen_or_default(self.network.head_options, options_type_of(head_named(self.algo, self.head)))
        if chosen is not self.network.head_options:
            object.__setattr__(self, "network", replace(self.network, head_options=chosen))

    @cached_property
    def modes(self) -> tuple[tuple[int, Mode], ...]:
        """The update modes that `mode` stands for: (step from which on it holds, mode), from step 0 on. Raises UserError."""
        return tuple(parse_modes(self.mode))

    @property
    def env_name(self) -> str:
        """The environment's name in file names and messages: its id, or its function's name."""
        return name_of(self.env)

    @property
    def environment(self) -> Any:
        """What makes the environment, with its arguments and wrappers: see `asyncrl.envs.make.EnvSource`."""
        return described(self.env, self.env_kwargs, self.wrapper)


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    status: str
    """completed | interrupted | failed"""
    folder: Path
    summary: dict[str, Any]
