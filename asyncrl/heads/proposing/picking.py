"""One step of heads that propose actions, compiled: noise on the proposals, the nearest items, and what the critic picks.

A stored action begins with what is taken [C], of items their features; of items it ends with the item. Between them is what the head keeps
beside it (`Head.stored_beside`). Items are written as float32, which holds every whole number up to 16,777,216.
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
def several_nearest(features, half_squares, query, scores, found):  # type: ignore[no-untyped-def]
    """found[K] = the K items nearest to query[F], the nearest first; of equally near ones the first. Of fewer items the last is repeated.

    features[N, F], half_squares[N]; scores[K] is scratch.
    """
    scores[:], count = -np.inf, found.size
    for n in range(features.shape[0]):
        score = -np.float64(half_squares[n])
        for c in range(query.size):
            score += query[c] * features[n, c]
        if score > scores[count - 1]:
            place = count - 1
            while place and score > scores[place - 1]:
                scores[place], found[place] = scores[place - 1], found[place - 1]
                place -= 1
            scores[place], found[place] = score, n
    for i in range(min(features.shape[0], count), count):
        found[i] = found[i - 1]


@njit(cache=True, nogil=True, error_model="numpy")
def take_of_box(proposal, extra_noise, adds, bounds, action, bounded):  # type: ignore[no-untyped-def]
    """Write proposal[C] to action[:C], with extra_noise[C] where it `adds`, and to bounded[C] within bounds[2, C]."""
    for c in range(bounded.size):
        a = np.float64(proposal[c])
        if adds:
            a = min(max(a + extra_noise[c], -1.0), 1.0)
        action[c] = a
        low, high = bounds[0, c], bounds[1, c]
        bounded[c] = min(max(low + 0.5 * (action[c] + 1.0) * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def decide(critic, vector, observation, items, found, proposals, bounds, adds, uniform, alone, draw, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Of proposals[K, C] take what the critic vector[V] says most of: write action[:C], and of a Box bounded[C].

    Where it is `alone`, it is the first proposal, and where it is `uniform`, which the first proposal is then; of items then any one, by
    `draw` in [0, 1). What is taken of items is one of found[K]; its features are written to action[:C], and the item to the action's
    last number.
    critic[P] is its plan, observation[D]; items = (features[N, C], half_squares[N]), of a Box without rows; bounds[2, C], and
    extra_noise[C], which is added to what is taken of a Box where it `adds`.
    """
    candidates, pairs, work, used, values = scratch
    features, (actors, components) = items[0], candidates.shape
    if features.shape[0]:
        item = min(np.int64(draw * features.shape[0]), features.shape[0] - 1)
        if alone:
            item = found[0]
        elif not uniform:
            for i in range(actors):
                candidates[i] = features[found[i]]
            item = found[picked(critic, vector, observation, candidates, (pairs, work, used, values))]
        action[:components] = features[item]
        action[action.size - 1] = item
        return
    best = 0
    if actors > 1 and not uniform and not alone:
        best = picked(critic, vector, observation, proposals, (pairs, work, used, values))
    take_of_box(proposals[best], extra_noise, adds and not uniform, bounds, action, bounded)
