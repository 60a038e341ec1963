"""Greedy play of what has been learned: what is played, what comes of it, and the player of stochastic policies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.actors.rollout import Actor
from asyncrl.envs import GymnasiumStepping, make_env, seed_generators, unship
from asyncrl.envs.compiled.stepping import CompiledStepping
from asyncrl.envs.faults import LONGEST_EPISODE, endless
from asyncrl.errors import UserError
from asyncrl.heads.head import Head
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import ALONE, TEMPERATURE
from asyncrl.heads.tables import Tables, set_tables
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
    alone: float | None = None
    """Mean return of as many episodes of the head's first proposal, without the critic's choice, where `Head.can_play_alone`."""

    processor_seconds: float = 0.0
    """That the evaluator's process had taken in all when it was done."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))


class Newest(NamedTuple):
    """What a player has computed at its newest step."""

    output: NDArray[np.float32]
    """[P] of the network."""
    vector: NDArray[np.float32]
    """Parameters as the head reads them."""
    value: float | None
    """v(s); None where the policy has none, or one that depends on what came before."""
    observation: NDArray[np.float32] | None = None
    """[D] as the network was given it, normalised where the run's are; None under black-box search."""


class GreedyPlayer(Protocol):
    """Plays greedy episodes in this process. Each topology has one; `topologies.players` chooses."""

    environment: Any
    head: Head
    energy: str
    """What the head's energies are; "" where it has none."""

    def newest(self) -> Newest:
        """Of the newest step: to be called by the environment when it is given the action."""

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        """The same seed gives the same episodes."""

    def play_alone(self, snapshot: Snapshot, episodes: int) -> Evaluation | None:
        """The same of the head's first proposals alone; None where it has none."""
        return None


class PolicyPlayer(GreedyPlayer):
    """Plays greedy episodes of a stochastic policy, as actor-learners and streams have them."""

    def __init__(self, task: Task, policy: Policy, seed: int, render_mode: str | None = None, environment: Any = None):
        """`environment`: used instead of one that it makes."""
        self._vector = np.zeros(policy.size, np.float32)
        self.environment = make_env(unship(task.env), render_mode) if environment is None else environment
        self._done: list[tuple[float, int]] = []
        generator = np.random.default_rng(seed)
        kind = CompiledStepping if task.simulated and environment is None and render_mode is None else GymnasiumStepping
        self._stepping = kind([self.environment], policy.spec, self._ended)
        self._actor = Actor(self._stepping, policy, self._vector, 1, [], generator)
        self._actor.rounds.knobs[TEMPERATURE] = 0.0
        self.head, self.energy = policy.head, policy.head.energy
        self._seed = seed

    def newest(self) -> Newest:
        actor, policy = self._actor, self._actor.policy
        output, value = actor.rounds.policy_output[0], None
        if policy.has_value and not policy.memory_size:
            import torch

            with torch.inference_mode():
                value = float(policy.module(actor.dense, None)[0](torch.from_numpy(actor.rounds.observation[0]))[1][0])
        return Newest(output, actor.dense, value, actor.rounds.observation[0, 0])

    def _ended(self, episode_return: float, length: int) -> None:
        self._done.append((episode_return, length))

    def play_alone(self, snapshot: Snapshot, episodes: int) -> Evaluation | None:
        if not self.head.can_play_alone:
            return None
        knobs = self._actor.rounds.knobs
        knobs[ALONE] = 1.0
        try:
            return self.play(snapshot, episodes)
        finally:
            knobs[ALONE] = 0.0

    def play(self, snapshot: Snapshot, episodes: int) -> Evaluation:
        self._vector[:] = snapshot.vector
        self._actor.rounds.normaliser[:] = snapshot.normaliser
        set_tables(self._actor.policy.head, snapshot.tables)
        self._actor.policy.head.begin(self._vector)
        self._done.clear()
        actor, stepping = self._actor, self._stepping
        stepping.episode_returns[0], stepping.episode_lengths[0] = 0.0, 0
        seed_generators(self._seed)
        actor.reset([self._seed])
        actor.forget_all()
        while len(self._done) < episodes:
            actor.collect(0, 0.0)
            if stepping.episode_lengths[0] >= LONGEST_EPISODE:
                raise UserError(endless(evaluates=True))
        returns, lengths = zip(*self._done[:episodes])
        return Evaluation(snapshot.steps, list(returns), list(lengths))
