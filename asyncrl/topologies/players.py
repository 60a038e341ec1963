"""How what a run has learned is played: one function for every topology."""

from __future__ import annotations

from typing import Any

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import BlackBox, Streamed
from asyncrl.heads.policy import Policy
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.topologies.search.plan import search_policy
from asyncrl.topologies.search.player import SearchPlayer
from asyncrl.topologies.streams.plan import stream_policy
from asyncrl.workers.plan import Task
from asyncrl.workers.player import GreedyPlayer, PolicyPlayer


def player_of(task: Task, seed: int, render_mode: str | None = None, environment: Any = None) -> GreedyPlayer:
    """What plays the task's policy in this process; in `environment`, or in one that it makes."""
    policy = policy_of(task)
    if isinstance(policy, SearchPolicy):
        return SearchPlayer(task, policy, seed, render_mode, environment)
    return PolicyPlayer(task, policy, seed, render_mode, environment)


def policy_of(task: Task) -> Policy | SearchPolicy:
    """The policy that the task's algorithm learns, without numbers. Raises UserError for a head or a network that does not fit."""
    entry = ALGORITHMS[task.algo]
    if isinstance(entry, BlackBox):
        return search_policy(task)
    return stream_policy(task) if isinstance(entry, Streamed) else task.policy()
