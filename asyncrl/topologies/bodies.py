"""Every process body, and what they load at first use. The fork server imports this once, for all processes of a program.

Kernels are shown to Numba here, and one is called: the first call of any makes Numba import half of itself (and scipy.linalg), which
takes longer than all the rest of a worker's start. Those of shared memory, which every process calls, are loaded if they were compiled
before. A process that is forked after that has all this already.
"""

from __future__ import annotations

import numpy as np
import torch

from asyncrl.learners import replays as replays
from asyncrl.learners import traces as traces
from asyncrl.monitor import recorder as recorder
from asyncrl.shared.compiled import load_kept, make_all
from asyncrl.shared.optimizers import norm
from asyncrl.topologies import players as players
from asyncrl.topologies.actor_learner import worker as actor_learner
from asyncrl.topologies.search import learner as search_learner
from asyncrl.topologies.search import worker as search_worker
from asyncrl.topologies.streams import actor as stream_actor
from asyncrl.topologies.streams import learner as stream_learner
from asyncrl.workers import evaluator as evaluator
from asyncrl.workers import hosting as hosting

BODIES = (
    actor_learner,
    search_learner,
    search_worker,
    stream_actor,
    stream_learner,
    evaluator,
    hosting,
    players,
    replays,
    traces,
    recorder,
    torch,
)
"""Modules that are loaded, so that nobody takes the imports for needless ones."""

make_all()
norm(np.zeros(1, np.float32))
load_kept("shared", "scheduler")
