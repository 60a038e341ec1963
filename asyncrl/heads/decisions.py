"""One step of a deterministic policy as one compiled call: observation -> network -> action.

All take observation[D] and normaliser[3, D] as `Player.act` is given them, plan and vector of `kernels` (the policy tower
alone), and work: the observation as the policy sees it [D], the scores [P], then scratch of the hidden layers. The `take_`
functions are the last part alone, for scores [P] of any network.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from asyncrl.heads.kernels import INPUTS, POLICY_OUTPUTS, policy_forward
from asyncrl.heads.layers import normalise


@njit(cache=True, nogil=True, error_model="numpy")
def see(observation, normaliser, seen):  # type: ignore[no-untyped-def]
    """seen[1, D] = the observation as the policy sees it; False where it has another size or is not finite."""
    if observation.size != seen.size:
        return False
    for d in range(seen.size):
        seen[0, d] = observation[d]  # float32 before it is shifted and scaled, as everywhere
    return normalise(seen, normaliser, seen)


@njit(cache=True, nogil=True, error_model="numpy")
def _score(observation, normaliser, plan, vector, work):  # type: ignore[no-untyped-def]
    """Write the scores; False for a useless observation."""
    inputs, outputs = plan[INPUTS], plan[POLICY_OUTPUTS]
    seen = work[:inputs].reshape(1, inputs)
    if not see(observation, normaliser, seen):
        return False
    policy_forward(plan, vector, seen, work[inputs + outputs :], work[inputs : inputs + outputs].reshape(1, outputs))
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def take_choice(scores):  # type: ignore[no-untyped-def]
    """Index of the highest score, of equal ones the first."""
    best = 0
    for k in range(1, scores.size):
        if scores[k] > scores[best]:
            best = k
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def take_choices(scores, sizes, start, action):  # type: ignore[no-untyped-def]
    """action[C] = start + the best choice of each component, with sizes[C] choices."""
    at = 0
    for c in range(sizes.size):
        action[c] = start[c] + take_choice(scores[at : at + sizes[c]])
        at += sizes[c]


@njit(cache=True, nogil=True, error_model="numpy")
def take_values(scores, bounds, squash, action):  # type: ignore[no-untyped-def]
    """action[C] within bounds[2, C]: where both are finite, scores in [-1, 1] are scaled to them."""
    for c in range(action.size):
        u = np.float64(scores[c])
        low, high = bounds[0, c], bounds[1, c]
        if low > -np.inf and high < np.inf:
            within = math.tanh(u) if squash else min(max(u, -1.0), 1.0)
            u = low + 0.5 * (within + 1.0) * (high - low)
        action[c] = min(max(u, low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def take_bins(scores, bounds, bins, action):  # type: ignore[no-untyped-def]
    """action[C]: of so many values from bound to bound, evenly spaced, the one with the best score."""
    for c in range(action.size):
        share = take_choice(scores[c * bins : (c + 1) * bins]) / (bins - 1)
        low, high = bounds[0, c], bounds[1, c]
        action[c] = min(max(low + share * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def act_choice(observation, normaliser, plan, vector, work):  # type: ignore[no-untyped-def]
    """The best choice, or -1 for a useless observation."""
    if not _score(observation, normaliser, plan, vector, work):
        return -1
    return take_choice(work[plan[INPUTS] : plan[INPUTS] + plan[POLICY_OUTPUTS]])


@njit(cache=True, nogil=True, error_model="numpy")
def act_choices(observation, normaliser, plan, vector, work, sizes, start, action):  # type: ignore[no-untyped-def]
    """Write the action; False for a useless observation."""
    if not _score(observation, normaliser, plan, vector, work):
        return False
    take_choices(work[plan[INPUTS] :], sizes, start, action)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def act_values(observation, normaliser, plan, vector, work, bounds, squash, action):  # type: ignore[no-untyped-def]
    """Write the action; False for a useless observation."""
    if not _score(observation, normaliser, plan, vector, work):
        return False
    take_values(work[plan[INPUTS] :], bounds, squash, action)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def act_bins(observation, normaliser, plan, vector, work, bounds, bins, action):  # type: ignore[no-untyped-def]
    """Write the action; False for a useless observation."""
    if not _score(observation, normaliser, plan, vector, work):
        return False
    take_bins(work[plan[INPUTS] :], bounds, bins, action)
    return True
