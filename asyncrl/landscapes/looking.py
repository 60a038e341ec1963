"""A run's checkpoint, opened to look at what plays it: an episode is played, and at some of its steps somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
import numpy as np

from asyncrl.envs import closed_environments, kept_generators, make_env, seed_generators, unship
from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.learners.off_policy import OffPolicyLearner
from asyncrl.session.loading import load, load_learner
from asyncrl.topologies.players import player_of
from asyncrl.workers.plan import Task
from asyncrl.workers.player import GreedyPlayer, Snapshot

Seen = TypeVar("Seen")


class Watching(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that calls `see(step, action)` with what it is about to be given, at some steps of one episode."""

    def __init__(self, environment: gymnasium.Env[Any, Any]):
        super().__init__(environment)
        self._steps: Collection[int] = ()
        self._see: Callable[[int, Any], None] = lambda step, action: None
        self._step = 0

    def watch(self, steps: Collection[int], see: Callable[[int, Any], None]) -> None:
        """At these steps of the next episode."""
        self._steps, self._see, self._step = set(steps), see, 0

    def reset(self, **options: Any) -> Any:
        """Reset the environment; an episode that was watched is over."""
        if self._step:
            self._steps = ()
        self._step = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        """Step the environment."""
        if self._step in self._steps:
            self._see(self._step, action)
        self._step += 1
        return self.env.step(action)


@dataclass(frozen=True)
class Look:
    """What is looked at: `player` plays `snapshot` in `watching`; `learner` learned it by a replay, None where there is none."""

    folder: Path
    """The run's."""
    task: Task
    snapshot: Snapshot
    watching: Watching
    player: GreedyPlayer
    learner: OffPolicyLearner | None

    def along(self, count: int, see: Callable[[int, Any], Seen]) -> list[Seen]:
        """What `see(step, action)` returns at `count` steps evenly along one episode, before the environment is given the action.

        The episode is played twice, since its length is known after the first time. One of fewer steps is seen at each of them; where
        the environment does not repeat itself and the second one is shorter, at those that it has.
        """
        length = self.player.play(self.snapshot, 1).lengths[0]
        steps = np.unique(np.linspace(0, length - 1, count).round().astype(np.int64)).tolist()
        found: list[Seen] = []
        self.watching.watch(steps, lambda step, action: found.append(see(step, action)))
        self.player.play(self.snapshot, 1)
        return found


@contextmanager
def looking(
    folder: Path,
    env: EnvSource | None = None,
    network_function: Any = None,
    checkpoint: int | None = None,
    seed: int = 0,
    trust: bool = False,
) -> Iterator[Look]:
    """Open the checkpoint of so many steps, None for the newest, for one episode by `seed`; `trust`: as for `asyncrl.resume`.

    Afterwards the environments are closed, and the process's generators are where they were. Raises UserError for what does not fit.
    """
    task, snapshot = load(folder, env, network_function, checkpoint, trust)
    learner = load_learner(folder, task, snapshot)
    with kept_generators(), closed_environments():
        seed_generators(seed)
        watching = Watching(make_env(unship(task.env)))
        yield Look(folder, task, snapshot, watching, player_of(task, seed, environment=watching), learner)


def check_states(states: int) -> None:
    """Raise UserError for a number of states that cannot be used."""
    if states < 1:
        raise UserError(f"states = {states} cannot be used (allowed: whole numbers from 1)")
