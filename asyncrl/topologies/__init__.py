"""Topologies: the parts of a run that depend on which processes act and which update.

    topology       the contract
    players        greedy play of what a run has learned
    actor_learner  every worker acts and updates (A3C and kin)
    streams        actors hand experience to one learner (IMPALA, TD3, SAC)
    search         workers evaluate candidates, one learner updates (ES and kin)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from asyncrl.algos import ALGORITHMS
from asyncrl.experiment.experiment import Experiment
from asyncrl.processes.fork_server import Context
from asyncrl.processes.starting import context
from asyncrl.topologies.topology import Topology

BODIES = "asyncrl.topologies.bodies"


class _Kind(NamedTuple):
    """Where the main process finds the parts of a topology: ``file:name`` in this folder, imported at first use."""

    topology: str
    """A `Topology`, built once per session from the experiment."""
    essential_part: str = ""
    """Name of the part of a checkpoint without which a run cannot go on. Earlier versions of asyncrl did not save it when a stream's
    learner had died."""


TOPOLOGIES = {
    "actor_learner": _Kind("actor_learner.topology:ActorLearnerTopology"),
    "streams": _Kind("streams.topology:StreamTopology", "streams.learner:LEARNER_PART"),
    "search": _Kind("search.topology:SearchTopology"),
}
"""Keyed by `asyncrl.algos.entries.AlgorithmEntry.topology`."""


def run_context() -> Context:
    """How the processes of a run are started: with the modules of all of them loaded already (`bodies`)."""
    return context([BODIES])


def essential_part(algo: str) -> str | None:
    """The part of a checkpoint without which a run of this algorithm cannot go on; None where there is none."""
    place = _kind(algo).essential_part
    return _find(place) if place else None


def topology_of(experiment: Experiment) -> Topology:
    """Build the topology that the experiment's algorithm needs. Raises UserError for what can't work with its environment."""
    topology: Topology = _find(_kind(experiment.algo).topology)(experiment)
    return topology


def _kind(algo: str) -> _Kind:
    """The topology that carries this algorithm out."""
    return TOPOLOGIES[ALGORITHMS[algo].topology]


def _find(place: str) -> Any:
    """What stands at ``file:name`` in this folder."""
    file, _, name = place.partition(":")
    return getattr(import_module(f"{__package__}.{file}"), name)
