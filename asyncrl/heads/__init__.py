"""Policy heads: what turns an observation into an action. One head is one file, and its line in `HEADS`.

    options      what the user may choose of a network
    kernels      the MLP actor-critic, compiled: forward and written-out gradient
    networks     the same and others as torch modules over the same memory
    categorical, gaussian   the heads of policies
    action_values           the head of value learning
    policy       network and head over one flat vector
    structures, compact   layers of few parameters, and the dense vector that they stand for
    deterministic   policies of black-box search; decisions, virtual_batch and wide are its parts
"""

from typing import Any

from asyncrl.heads.action_values import ActionValueHead
from asyncrl.heads.categorical import CategoricalHead
from asyncrl.heads.gaussian import GaussianHead

HEADS: dict[str, Any] = {head.name: head for head in (CategoricalHead, GaussianHead, ActionValueHead)}
