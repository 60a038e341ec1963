"""Topologies: what of a run depends on who acts and who updates, as the main process sees it.

    topology       the contract
    players        greedy play of what a run has learned
    actor_learner  every worker acts and updates (A3C and kin)
    streams        actors hand experience to one learner (IMPALA, TD3, SAC)
    search         workers evaluate candidates, one learner updates (ES and kin)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import BlackBox, Streamed
from asyncrl.processes.fork_server import Context
from asyncrl.processes.starting import context
from asyncrl.topologies.topology import Topology

BODIES = "asyncrl.topologies.bodies"

if TYPE_CHECKING:
    from asyncrl.experiment.experiment import Experiment


def run_context() -> Context:
    """How the processes of a run are started: with every body loaded already."""
    return context([BODIES])


def essential_part(algo: str) -> str | None:
    """The part of a checkpoint without which a run cannot go on; earlier versions lost it with a stream's learner."""
    from asyncrl.topologies.streams.learner import LEARNER_PART

    return LEARNER_PART if isinstance(ALGORITHMS[algo], Streamed) else None


def topology_of(experiment: Experiment) -> Topology:
    """Build the topology that the experiment's algorithm needs. Raises UserError for what can't work with its environment."""
    entry = ALGORITHMS[experiment.algo]
    if isinstance(entry, BlackBox):
        from asyncrl.topologies.search.topology import SearchTopology

        return SearchTopology(experiment)
    if isinstance(entry, Streamed):
        from asyncrl.topologies.streams.topology import StreamTopology

        return StreamTopology(experiment)
    from asyncrl.topologies.actor_learner.topology import ActorLearnerTopology

    return ActorLearnerTopology(experiment)
