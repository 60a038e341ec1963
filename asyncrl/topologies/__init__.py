"""Topologies: what of a run depends on who acts and who updates, as the main process sees it.

    topology       the contract
    actor_learner  every worker acts and updates (A3C and kin)
    streams        actors hand experience to one learner (IMPALA, TD3, SAC)
    search         workers evaluate candidates, one learner updates (ES and kin)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from asyncrl.algos import ALGORITHMS
from asyncrl.experiment.experiment import Experiment
from asyncrl.processes.fork_server import Context
from asyncrl.processes.starting import context
from asyncrl.topologies.actor_learner.topology import ActorLearnerTopology, actor_learner_task
from asyncrl.topologies.search.topology import SearchTopology, search_task
from asyncrl.topologies.streams.learner import LEARNER_PART
from asyncrl.topologies.streams.topology import StreamTopology, stream_task
from asyncrl.topologies.topology import Topology
from asyncrl.workers.evaluator import Evaluated

BODIES = "asyncrl.topologies.bodies"


class _Kind(NamedTuple):
    """What a topology is made of, as the main process sees it."""

    topology: Callable[[Experiment], Topology]
    """Built once per session. Raises UserError for what can't work with the experiment's environment."""
    task: Callable[[Experiment], Evaluated]
    """What the experiment learns, in a form that can be played. Makes the environment once."""
    essential_part: str | None = None
    """The part of a checkpoint without which a run cannot go on; earlier versions lost it with a stream's learner."""


TOPOLOGIES: dict[str, _Kind] = {
    "actor_learner": _Kind(ActorLearnerTopology, actor_learner_task),
    "streams": _Kind(StreamTopology, stream_task, LEARNER_PART),
    "search": _Kind(SearchTopology, search_task),
}
"""By the name that `asyncrl.algos.entries.AlgorithmEntry.topology` has."""


def run_context() -> Context:
    """How the processes of a run are started: with every body loaded already."""
    return context([BODIES])


def kind_of(algo: str) -> _Kind:
    """The topology that carries this algorithm out."""
    return TOPOLOGIES[ALGORITHMS[algo].topology]


def task_of(experiment: Experiment) -> Evaluated:
    """What the experiment learns, in a form that can be played."""
    return kind_of(experiment.algo).task(experiment)


def essential_part(algo: str) -> str | None:
    """The part of a checkpoint without which a run of this algorithm cannot go on."""
    return kind_of(algo).essential_part


def topology_of(experiment: Experiment) -> Topology:
    """Build the topology that the experiment's algorithm needs. Raises UserError for what can't work with its environment."""
    return kind_of(experiment.algo).topology(experiment)
