"""Greedy play of a deterministic policy that a search has found, and the observations that virtual batch normalisation needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.compiled_episodes import episode_runner
from asyncrl.envs import CheckedEnvironment, make_env, seed_generators, unship
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tables import set_tables
from asyncrl.topologies.search.limits import evaluation_limit
from asyncrl.workers.plan import Task
from asyncrl.workers.player import Evaluation, GreedyPlayer, Newest, Snapshot

EPISODE_SEEDS, REFERENCE_SEEDS = 1, 2
"""What a stream of random numbers is for: part of its key."""


class SearchPlayer(GreedyPlayer):
    """Plays the point that a search has reached, without perturbations, in this process."""

    def __init__(self, task: Task, policy: SearchPolicy, seed: int, render_mode: str | None = None, environment: Any = None):
        """`environment`: used instead of one that it makes."""
        self.environment = make_env(unship(task.env), render_mode) if environment is None else environment
        self.head, self._player = policy.head, policy.player()
        self.energy = "" if policy.head.decides else policy.head.energy  # whose outputs are then no distribution
        self._reference = None
        if task.network.virtual_batch:
            self._reference = reference_observations(task, CheckedEnvironment(make_env(unship(task.env)), task.spec))
        simulated = task.simulated and environment is None and render_mode is None
        self._runner = episode_runner(CheckedEnvironment(self.environment, task.spec), self._player, simulated, evaluates=True)
        self._seed = seed

    def newest(self) -> Newest:
        return Newest(self._player.scores, self._player.dense, None)

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        """The same seed gives the same episodes; where training cuts its episodes, much later these are cut too (`evaluation_limit`)."""
        self._player.normaliser[:] = snapshot.normaliser
        set_tables(self.head, snapshot.tables)
        if self._reference is not None:
            self._player.reference(self._reference)
        self._player.set(snapshot.vector)
        seed_generators(self._seed)
        seeds = np.random.SeedSequence((self._seed, EPISODE_SEEDS)).generate_state(episodes)
        played = [self._runner.run(int(seed), evaluation_limit(snapshot.limit)) for seed in seeds]
        return Evaluation(snapshot.steps, [one.episode_return for one in played], [one.length for one in played])


def reference_observations(task: Task, environment: CheckedEnvironment) -> NDArray[np.float32] | None:
    """Observations [n, D] of random actions, the same in every process: for virtual batch normalisation. None without it."""
    count = task.network.virtual_batch
    if not count:
        return None
    rows = np.zeros((count, task.spec.observation_size), np.float32)
    seeds = np.random.SeedSequence((task.seed, REFERENCE_SEEDS)).generate_state(2)
    seed_generators(task.seed)
    actions = environment.environment.action_space
    actions.seed(int(seeds[0]))
    rows[0] = environment.reset(int(seeds[1]))
    for row in rows[1:]:
        row[:], _, ended = environment.step(actions.sample())
        if ended:
            row[:] = environment.reset(None)
    return rows
