"""The evaluator: plays greedy episodes on snapshots of the parameters, in a process of its own."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.episodes import LONGEST_EPISODE, endless
from asyncrl.actors.rollout import Actor
from asyncrl.envs import make_env, seed_generators, seed_process, unship
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.rounds import TEMPERATURE
from asyncrl.heads.tables import Tables, set_tables
from asyncrl.processes.starting import settle_in
from asyncrl.workers.leaving import live, to_stderr
from asyncrl.workers.messages import Failed, Ready
from asyncrl.workers.plan import Task


@dataclass(frozen=True)
class Snapshot:
    """What is evaluated: parameters [N], the observations' normaliser [3, D], and at how many steps they were taken."""

    vector: NDArray[np.float32]
    normaliser: NDArray[np.float32]
    steps: int
    limit: int = 0
    """Steps of a training episode, where a search cuts them; 0: none."""
    tables: Tables = field(default_factory=dict)
    """Copies of the tables of the policy's head, by name."""


@dataclass(frozen=True)
class Evaluation:
    """Greedy episodes of one snapshot: undiscounted returns and lengths."""

    steps: int
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))


class Playing(Protocol):
    """Plays greedy episodes in this process."""

    environment: Any

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        """The same seed gives the same episodes."""


class Evaluated(Protocol):
    """A task that can be played."""

    @property
    def shipped(self) -> bytes:
        """What makes the environment, from `asyncrl.envs.ship`."""

    @property
    def spec(self) -> EnvSpec | None:
        """The environment's spaces."""

    @property
    def size(self) -> int:
        """Parameters."""

    def player(self, seed: int, render_mode: str | None = None, environment: Any = None) -> Playing:
        """What plays it; `environment` instead of one that it makes."""


class Player:
    """Plays greedy episodes of a stochastic policy."""

    def __init__(self, task: Task, seed: int, render_mode: str | None = None, environment: Any = None):
        policy = task.policy()
        self._vector = np.zeros(policy.size, np.float32)
        self.environment = make_env(unship(task.env), render_mode) if environment is None else environment
        self._done: list[tuple[float, int]] = []
        generator = np.random.default_rng(seed)
        self._actor = Actor([self.environment], policy, self._vector, 1, [], generator, on_episode=self._ended)
        self._actor.rounds.knobs[TEMPERATURE] = 0.0
        self._seed = seed

    def _ended(self, episode_return: float, length: int) -> None:
        self._done.append((episode_return, length))

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        """The same seed gives the same episodes."""
        self._vector[:] = snapshot.vector
        self._actor.rounds.normaliser[:] = snapshot.normaliser
        set_tables(self._actor.policy.head, snapshot.tables)
        self._done.clear()
        actor = self._actor
        actor.episode_returns[0], actor.episode_lengths[0] = 0.0, 0
        seed_generators(self._seed)
        actor.reset([self._seed])
        actor.forget_all()
        while len(self._done) < episodes:
            actor.collect(0, 0.0)
            if actor.episode_lengths[0] >= LONGEST_EPISODE:
                raise UserError(endless(evaluates=True))
        returns, lengths = zip(*self._done[:episodes])
        return Evaluation(snapshot.steps, list(returns), list(lengths))


def run_evaluator(task: Evaluated, seed: int, episodes: int, connection: Connection) -> None:
    """Process body: evaluate every snapshot that comes, until the connection ends."""
    live(lambda: _evaluate(task, seed, episodes, connection), to_stderr)


def _evaluate(task: Evaluated, seed: int, episodes: int, connection: Connection) -> int:
    """The exit code."""
    try:
        settle_in(None)
        seed_process(seed)
        player = task.player(seed)
        connection.send(Ready([]))
        while (snapshot := _next(connection)) is not None:
            connection.send(player.play(snapshot, episodes))
    except Exception as error:  # noqa: BLE001 - whatever an environment raises must reach the main process
        text = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):
            connection.send(Failed(str(error) or type(error).__name__, text, 0, type(error).__name__, isinstance(error, UserError)))
        return 1
    return 0


def _next(connection: Connection) -> Snapshot | None:
    """The snapshot that comes next; None when the main process has hung up."""
    try:
        snapshot: Snapshot = connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    return snapshot
