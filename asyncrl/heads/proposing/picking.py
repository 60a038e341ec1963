"""One step of heads that propose actions, compiled: noise on the proposals, the nearest items, and what the critic picks.

A stored action is  [a (C) | proposals (K * C)]  of a Box, and  [f (C) | proposals (K * C) | their items (K) | the item]  of items with C
features, f those of the item that is taken. Items are written as float32, which holds every whole number up to 16,777,216.
"""

from __future__ import annotations

import numpy as np

from asyncrl.heads.networks.following import critic_values
from asyncrl.heads.networks.layers import FAST
from asyncrl.shared.compiled import njit

MOST_ITEMS = 2**24


@njit(cache=True, nogil=True, error_model="numpy")
def disturbed(proposals, extra_noise, noise, uniform, adds, stored):  # type: ignore[no-untyped-def]
    """stored[K * C] = proposals[K, C], with extra_noise[K * C ..] where it `adds`; or uniform, from noise[K * C ..] in [0, 1)."""
    actors, components = proposals.shape
    for i in range(actors):
        for c in range(components):
            at = i * components + c
            if uniform:
                stored[at] = 2.0 * noise[at] - 1.0
            elif adds:
                stored[at] = min(max(proposals[i, c] + extra_noise[at], -1.0), 1.0)
            else:
                stored[at] = proposals[i, c]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def nearest(features, half_squares, queries, found):  # type: ignore[no-untyped-def]
    """found[K] = the items nearest to queries[K, F], the first of equally near ones; three queries in one pass over the items.

    features[N, F], half_squares[N].
    """
    last = queries.shape[0] - 1
    for i in range(0, last + 1, 3):
        j, k = min(i + 1, last), min(i + 2, last)
        x, y, z = queries[i], queries[j], queries[k]
        best_x = best_y = best_z = np.float32(-np.inf)
        for n in range(features.shape[0]):
            item, half = features[n], half_squares[n]
            to_x = to_y = to_z = np.float32(0.0)
            for c in range(item.size):
                to_x += x[c] * item[c]
                to_y += y[c] * item[c]
                to_z += z[c] * item[c]
            if to_x - half > best_x:
                best_x, found[i] = to_x - half, n
            if to_y - half > best_y:
                best_y, found[j] = to_y - half, n
            if to_z - half > best_z:
                best_z, found[k] = to_z - half, n


@njit(cache=True, nogil=True, error_model="numpy")
def picked(critic, vector, observation, candidates, scratch):  # type: ignore[no-untyped-def]
    """The number of candidates[K, C] of which the critic says most at observation[D]; the first of equal ones."""
    pairs, work, used, values = scratch
    size = observation.size
    for i in range(candidates.shape[0]):
        pairs[i, :size] = observation
        pairs[i, size:] = candidates[i]
    critic_values(critic, vector, pairs, work, used, values)
    best = 0
    for i in range(1, candidates.shape[0]):
        if values[i, 0] > values[best, 0]:
            best = i
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def take_of_box(best, extra_noise, adds, bounds, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[C] of its own proposals, with extra_noise[C] where it `adds`, and bounded[C], the same within bounds[2, C]."""
    components = bounded.size
    for c in range(components):
        a = np.float64(action[components + best * components + c])
        if adds:
            a = min(max(a + extra_noise[c], -1.0), 1.0)
        action[c] = a
        low, high = bounds[0, c], bounds[1, c]
        bounded[c] = min(max(low + 0.5 * (action[c] + 1.0) * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def take_of_items(features, item, found, action):  # type: ignore[no-untyped-def]
    """Write into an action its item's features, the items found[K] of the proposals, and the item."""
    components, actors = features.shape[1], found.size
    action[:components] = features[item]
    at = components * (1 + actors)
    for i in range(actors):
        action[at + i] = found[i]
    action[at + actors] = item


@njit(cache=True, nogil=True, error_model="numpy")
def decide(critic, vector, observation, items, bounds, adds, uniform, draws, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Complete action[A], whose proposals are there, and of a Box bounded[C]: what the critic vector[V] says most of is taken.

    Where it is `uniform`, it is the first proposal, which is uniform then; of items any one, by draws[K * C] in [0, 1).
    critic[P] is its plan, observation[D]; items = (features[N, F], half_squares[N]), of a Box without rows; bounds[2, C], and
    extra_noise[(K + 1) * C], of whose last C each is added to what is taken of a Box where it `adds`.
    """
    candidates, found, pairs, work, used, values = scratch
    features, half_squares = items
    actors, components = candidates.shape
    proposals = action[components : components * (1 + actors)].reshape(actors, components)
    if features.shape[0]:
        nearest(features, half_squares, proposals, found)
        for i in range(actors):
            candidates[i] = features[found[i]]
        if uniform:
            item = min(np.int64(draws[actors * components] * features.shape[0]), features.shape[0] - 1)
        else:
            item = found[picked(critic, vector, observation, candidates, (pairs, work, used, values))]
        take_of_items(features, item, found, action)
        return
    best = 0
    if actors > 1 and not uniform:
        best = picked(critic, vector, observation, proposals, (pairs, work, used, values))
    take_of_box(best, extra_noise[actors * components :], adds and not uniform, bounds, action, bounded)
