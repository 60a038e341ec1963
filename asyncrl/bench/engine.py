"""How fast a compiled simulator is alone, on the actions of a policy: the limit that no run of that policy can pass.

Other actions cost an engine more or less, so the actions are those of the policy that a run has ended with: some episodes are played
with it and kept, and every process steps them again in compiled code, with nothing but the simulator. Resets are not timed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.rollout import Actor
from asyncrl.bench.processes import rate_of_processes
from asyncrl.envs import GymnasiumStepping, kept_generators, make_env, spec_of, unship
from asyncrl.envs.compiled.registry import simulator_of
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.processes.parcels import Parcel
from asyncrl.session.loading import load
from asyncrl.shared.calling import STEPPED, address_of, steps
from asyncrl.shared.compiled import njit
from asyncrl.topologies.players import player_of, policy_of
from asyncrl.workers.plan import Task
from asyncrl.workers.player import Snapshot

RECORDED = 2000
"""Steps that are kept, at least."""
ROLLOUT = 16

Episodes = list[NDArray[np.float32]]
"""Actions [steps, A] of each episode, which begins with the reset by its place in the list as seed."""


@njit(cache=True, nogil=True, error_model="numpy")
def _again(simulate, words, numbers, actions, observation):  # type: ignore[no-untyped-def]
    """Step actions[n, A] from the state in words[W] and numbers[F], whatever comes of it; observation[D] is scratch."""
    for t in range(actions.shape[0]):
        steps(simulate, (words, numbers, actions[t], observation))


class _Tape(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Keeps the actions of every episode."""

    def __init__(self, environment: Any):
        super().__init__(environment)
        self.episodes: list[list[NDArray[np.float32]]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.episodes.append([])
        return self.env.reset(seed=len(self.episodes) - 1)

    def step(self, action: Any) -> Any:
        self.episodes[-1].append(np.array(action, np.float32).reshape(-1))
        return self.env.step(action)

    @property
    def steps(self) -> int:
        """Of all episodes."""
        return sum(map(len, self.episodes))


def engine_rate(folder: Path, environment: Any, workers: int, seconds: float) -> float:
    """Steps per second of so many processes that step the simulator alone, on the actions of the run's policy in its `environment`."""
    task, snapshot = load(folder, environment, None)
    with kept_generators():
        return rate_of_processes(repeat, (task.env, recorded(task, snapshot)), workers, seconds)


def recorded(task: Task, snapshot: Snapshot) -> Episodes:
    """Episodes of the policy of a snapshot: of a stochastic one its draws, of a search's the greedy ones."""
    tape, policy = _Tape(make_env(unship(task.env))), policy_of(task)
    try:
        if isinstance(policy, SearchPolicy):
            while tape.steps < RECORDED:
                player_of(task, tape.steps, environment=tape).play(snapshot, 1)
        else:
            stepping = GymnasiumStepping([tape], policy.spec)
            actor = Actor(stepping, policy, snapshot.vector, ROLLOUT, [], np.random.default_rng(0))
            actor.rounds.normaliser[:] = snapshot.normaliser
            policy.head.begin(snapshot.vector)
            actor.reset([0])
            while tape.steps < RECORDED:
                actor.collect(0, 0.0)
    finally:
        tape.close()
    start = np.float32(task.spec.action_start[0] if task.spec.action_start else 0)
    return [np.stack(episode) - start for episode in tape.episodes if episode]


def repeat(given: tuple[Parcel, Episodes], rank: int, seconds: float, ready: Any) -> float:
    """Steps per second of one process: step the episodes again and again. `ready()` is called before the clock runs."""
    env, episodes = given
    environment = make_env(unship(env))
    simulator = simulator_of(environment)
    observation = np.zeros(spec_of(environment).observation_shape, np.float32)
    again = simulator.words, simulator.numbers
    address = address_of(type(simulator).simulate, (*again, episodes[0][0], observation), STEPPED)
    _again(address, *again, episodes[0][:0], observation)
    ready()
    spent, done, place = 0.0, 0, rank
    while spent < seconds:
        place = (place + 1) % len(episodes)
        environment.reset(seed=place)
        simulator.adopt()
        began = time.perf_counter()
        _again(address, *again, episodes[place], observation)
        spent += time.perf_counter() - began
        done += len(episodes[place])
    environment.close()
    return done / spent
