"""What a worker's exploration makes of its policy pi: the policy mu that acts, and what of mu's score function is pi's.

    temperature    pi is drawn at that temperature, and that is mu
    epsilon        mu = (1 - epsilon) pi + epsilon uniform
    action noise   belongs to the environment: what counts as the action is what pi drew, before the noise

Each worker's rollout is on the policy mu, so its gradient is that of mu's return:  d log mu(a) = share(a) d log pi(a),  where share
is the probability that pi drew the action a and not the uniform distribution. Where epsilon is 0 it is 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.head import Head
from asyncrl.heads.rounds import EPSILON, KNOBS, TEMPERATURE


def own_share(
    head: Head, policy_output: NDArray[np.float32], vector: NDArray[np.float32], action: Any, temperature: float, epsilon: float
) -> NDArray[np.float32]:
    """The share [N] of action[N, C] that was drawn from policy_output[N, P]; vector: the head's own parameters end it."""
    if epsilon >= 1.0:
        return np.zeros(len(action), np.float32)
    own, mixed = np.empty((2, len(action)), np.float32)
    knobs = np.zeros(KNOBS)
    knobs[TEMPERATURE] = temperature
    head.log_prob(policy_output, vector, action, knobs, own)
    knobs[EPSILON] = epsilon
    head.log_prob(policy_output, vector, action, knobs, mixed)
    share: NDArray[np.float32] = np.exp(np.minimum(own - mixed + np.float32(np.log1p(-epsilon)), np.float32(0.0)))
    return share
