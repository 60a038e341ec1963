"""One ticket that is played here and on a site: where processors or libraries give other bits, the digests differ."""

from __future__ import annotations

import hashlib

import numpy as np

from asyncrl.envs import closed_environments, kept_generators, seed_generators
from asyncrl.shared.arrays import SharedArrays
from asyncrl.topologies.search.evaluating import PolicyEvaluator
from asyncrl.topologies.search.learner import LearnerState
from asyncrl.topologies.search.plan import Published, SearchTask

PROBE_STEPS = 1000
"""An episode of the probe is cut here."""
CANDIDATES = 4


def digest_of(task: SearchTask, memory: SharedArrays) -> str:
    """What this machine makes of the first candidates of a search, and of an episode of the first; `memory`: with the head's tables.

    Of a function that is minimised only the candidates: each of its calls is one of those that the user has allowed. Raises whatever the
    environment raises.
    """
    state = LearnerState(task, task.size)
    state.begin()
    published = Published.empty(task, state.search)
    state.publish(published)
    candidate = np.zeros(task.size, task.space.dtype)
    found = hashlib.blake2b(published.search.tobytes(), digest_size=16)
    for ticket in range(min(CANDIDATES, state.search.tickets)):
        state.search.candidate(published.search, 0, ticket, candidate)
        found.update(candidate.tobytes())
    if task.function is None:
        state.search.candidate(published.search, 0, 0, candidate)
        published.limit[0] = min(published.limit[0] or PROBE_STEPS, PROBE_STEPS)
        with kept_generators(), closed_environments():
            evaluator = PolicyEvaluator(task, memory, lambda: None)
            evaluator.published(published)
            seed_generators(task.common.seed, 0, 0)
            outcome = evaluator.evaluate(candidate, (0, 0))
        found.update(repr(outcome).encode())
        observed = evaluator.observed
        found.update(np.concatenate([[observed.count], observed.mean, observed.square]).tobytes())
    return found.hexdigest()
