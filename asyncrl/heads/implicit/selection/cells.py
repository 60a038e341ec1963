"""Compiled search and draws in the cells of a principal component tree; see `asyncrl.heads.implicit.selection.principal_tree`."""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.implicit.selection.blocks import LANES, draw_in_block, scan, score_block
from asyncrl.heads.implicit.selection.heaps import pop, push
from asyncrl.heads.networks.layers import FAST
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def keep(kept, count, score, number):  # type: ignore[no-untyped-def]
    """Add (score, number) to kept[2, K], a heap of `count` pairs with the lowest score first, which falls out of a full one.

    Of equal scores the one that is there already stays. Returns the new count.
    """
    if count == kept.shape[1]:
        if not score > kept[0, 0]:
            return count
        count = pop(kept, count)
    return push(kept, count, np.float64(score), float(number))


@njit(cache=True, nogil=True, error_model="numpy")
def _rank(blocks, first, together, number, query, scores, kept, count):  # type: ignore[no-untyped-def]
    """Keep those of a set of means that begins at block `first` of blocks[B, d, 64]; its members are numbered from `number` on."""
    for b in range((together + LANES - 1) // LANES):
        high = score_block(blocks[first + b], query, scores)
        if count == kept.shape[1] and not high > kept[0, 0]:
            continue
        for k in range(min(LANES, together - b * LANES)):
            count = keep(kept, count, scores[k], number + b * LANES + k)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def best_by_cells(blocks, ids, groups, means, query, scores, opened, chosen):  # type: ignore[no-untyped-def]
    """The best action for query[d] of the cells whose means score highest: as many cells as chosen[2, C] has room for.

    They are sought in as many groups as opened[2, G] has room for. Index: blocks[cells, d, 64], ids[cells, 64], groups[B, d, 64],
    means[B', d, 64]; scores[64], opened and chosen are scratch.
    """
    cells, depth = ids.shape[0], 0
    while cells >> (depth + 1):
        depth += 1
    per_group = cells >> (depth // 2)
    per_set = (per_group + LANES - 1) // LANES
    found = _rank(groups, 0, cells // per_group, 0, query, scores, opened, 0)
    count = 0
    for g in range(found):
        group = int(opened[1, g])
        count = _rank(means, group * per_set, per_group, group * per_group, query, scores, chosen, count)
    best, action = np.float32(-np.inf), -1
    for c in range(count):
        cell = int(chosen[1, c])
        best, action = scan(blocks, ids, cell, cell + 1, query, scores, best, action)
    return max(action, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def moment_features(query, temperature, features):  # type: ignore[no-untyped-def]
    """Write features[F] of query[d] over temperature: itself and, if there is room, the products of its pairs of numbers."""
    size, at = query.size, query.size
    for j in range(size):
        features[j] = query[j] / temperature
    if features.size > size:
        for j in range(size):
            for k in range(j, size):
                features[at] = features[j] * features[k]
                at += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def log_ratio(left, right, features):  # type: ignore[no-untyped-def]
    """features[F] . (right[F] - left[F])."""
    total = 0.0
    for i in range(features.size):
        total += features[i] * (np.float64(right[i]) - np.float64(left[i]))
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def share_of_left(nodes, node, actions, features):  # type: ignore[no-untyped-def]
    """The share of the left child in the mass of nodes[2 C, F] at `node`; `actions` and features[F] as in `draw_by_moments`."""
    level = 0
    while node >> level:
        level += 1
    place = 2 * node - (1 << level)  # of the left child in its level
    first, middle, last = (place * actions) >> level, ((place + 1) * actions) >> level, ((place + 2) * actions) >> level
    more = log_ratio(nodes[2 * node], nodes[2 * node + 1], features)
    return 1.0 / (1.0 + (last - middle) / (middle - first) * math.exp(min(more, 700.0)))


@njit(cache=True, nogil=True, error_model="numpy")
def descend(nodes, actions, features, uniform):  # type: ignore[no-untyped-def]
    """(cell, rest): the cell that `uniform` in [0, 1) draws, and what is left of the number for a draw within it.

    nodes[2 C, F], features[F]: see `draw_by_moments`.
    """
    cells, node = nodes.shape[0] // 2, 1
    while node < cells:
        share = share_of_left(nodes, node, actions, features)
        if uniform < share:
            node, uniform = 2 * node, uniform / share
        else:
            node, uniform = 2 * node + 1, min((uniform - share) / (1.0 - share), 1.0) if share < 1.0 else 0.0
    return node - cells, uniform


@njit(cache=True, nogil=True, error_model="numpy")
def draw_by_moments(blocks, ids, nodes, actions, query, temperature, uniform, features, scores):  # type: ignore[no-untyped-def]
    """The action that `uniform` in [0, 1) draws for query[d] at a temperature, from all `actions`.

    Index: blocks[C, d, 64], ids[C, 64], nodes[2 C, F]; features[F] and scores[64] are scratch.
    """
    moment_features(query, temperature, features)
    cell, rest = descend(nodes, actions, features, uniform)
    score_block(blocks[cell], query, scores)
    cells = ids.shape[0]
    depth = 0
    while cells >> (depth + 1):
        depth += 1
    count = (((cell + 1) * actions) >> depth) - ((cell * actions) >> depth)
    return ids[cell, draw_in_block(scores, count, temperature, rest)]


@njit(cache=True, nogil=True, error_model="numpy")
def cell_shares(nodes, actions, query, temperature, features, shares):  # type: ignore[no-untyped-def]
    """Write shares[2 C], the probability with which `descend` reaches each node of nodes[2 C, F] for query[d]; features[F] is scratch."""
    moment_features(query, temperature, features)
    shares[1] = 1.0
    for node in range(1, nodes.shape[0] // 2):
        share = share_of_left(nodes, node, actions, features)
        shares[2 * node], shares[2 * node + 1] = share * shares[node], (1.0 - share) * shares[node]
