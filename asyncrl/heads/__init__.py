"""Policy heads: what turns an observation into an action. One head is one file, and its line in `HEADS`.

    options      what the user may choose of a network
    layers       layers as compiled functions of arrays
    kernels      the MLP actor-critic, made of them: forward and written-out gradient
    rounds       the arrays that a worker acts and learns in
    networks     the same and others as torch modules over the same memory
    actions      what a head has decided, as the environment wants it
    categorical, gaussian   the heads of policies
    behaviour    what exploration makes of a policy
    action_values           the head of value learning
    squashed                the heads of policies that learn from a replay
    policy       network and head over one flat vector
    tower        the acting side of algorithms with a replay: a policy network alone
    structures, compact   layers of few parameters, and the dense vector that they stand for
    deterministic   policies of black-box search, over any structure of layers
    decisions       one step of such a policy as one compiled call
    virtual_batch   normalisation by a fixed batch, for them
    wide            networks with layers so wide that FFT is faster
"""

from typing import Any

from asyncrl.heads.action_values import ActionValueHead
from asyncrl.heads.categorical import CategoricalHead
from asyncrl.heads.gaussian import GaussianHead

HEADS: dict[str, Any] = {head.name: head for head in (CategoricalHead, GaussianHead, ActionValueHead)}
