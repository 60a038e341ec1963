"""Compiled draws from a random-feature tree; see `asyncrl.heads.implicit.selection.feature_tree` for the arrays."""

from __future__ import annotations

import math

from asyncrl.heads.implicit.selection.blocks import LANES, draw_in_block, score_block
from asyncrl.heads.networks.layers import FAST
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def query_features(query, vectors, divisor, features):  # type: ignore[no-untyped-def]
    """Write features[m] of query[d] over a divisor, so that the largest is 1; vectors[d, m]."""
    features[:] = 0.0
    for j in range(query.size):
        x = query[j] / divisor
        for i in range(features.size):
            features[i] += x * vectors[j, i]
    high = features[0]
    for i in range(1, features.size):
        high = max(high, features[i])
    for i in range(features.size):
        features[i] = math.exp(features[i] - high)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def mass_of(node, features):  # type: ignore[no-untyped-def]
    """node[m] . features[m]."""
    total = 0.0
    for i in range(features.size):
        total += node[i] * features[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def draw_leaf(nodes, features, uniform):  # type: ignore[no-untyped-def]
    """(leaf, rest): the leaf of nodes[2 P, m] that `uniform` in [0, 1) draws, and what is left of the number for a draw within it.

    features[m]: the query's. A node without mass is not entered.
    """
    leaves, node = nodes.shape[0] // 2, 1
    while node < leaves:
        left, right = mass_of(nodes[2 * node], features), mass_of(nodes[2 * node + 1], features)
        share = left / (left + right)
        if uniform < share or not right > 0.0:  # also for features that are not numbers
            node, uniform = 2 * node, min(uniform / share, 1.0)
        else:
            node, uniform = 2 * node + 1, min((uniform - share) / (1.0 - share), 1.0) if share < 1.0 else 0.0
    return node - leaves, uniform


@njit(cache=True, nogil=True, error_model="numpy")
def draw_by_features(blocks, ids, nodes, vectors, scale, actions, query, temperature, uniform, features, scores):  # type: ignore[no-untyped-def]
    """The action that `uniform` in [0, 1) draws for query[d] at a temperature.

    Index: blocks[B, d, 64], ids[B, 64], nodes[2 P, m], vectors[d, m], made with this scale of so many `actions`. Scratch: features[m],
    scores[64].
    """
    query_features(query, vectors, temperature * scale, features)
    leaf, rest = draw_leaf(nodes, features, uniform)
    score_block(blocks[leaf], query, scores)
    return ids[leaf, draw_in_block(scores, min(LANES, actions - leaf * LANES), temperature, rest)]


@njit(cache=True, nogil=True, error_model="numpy")
def leaf_shares(nodes, features, shares):  # type: ignore[no-untyped-def]
    """Write shares[2 P], the probability with which `draw_leaf` reaches each node of nodes[2 P, m] by features[m]."""
    shares[1] = 1.0
    for node in range(1, nodes.shape[0] // 2):
        left, right = mass_of(nodes[2 * node], features), mass_of(nodes[2 * node + 1], features)
        share = left / (left + right) if left + right > 0.0 else 0.0
        shares[2 * node], shares[2 * node + 1] = share * shares[node], (1.0 - share) * shares[node]
