"""Compiled search of the buckets of signed random projections; see `asyncrl.heads.implicit.selection.projections` for the arrays."""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.implicit.selection.blocks import LANES, scan
from asyncrl.heads.implicit.selection.heaps import pop, push
from asyncrl.shared.compiled import njit

MARGINS, HAMMING = range(2)
"""Orders of buckets."""


@njit(cache=True, nogil=True, error_model="numpy")
def key_of(query, vectors, thresholds, margins):  # type: ignore[no-untyped-def]
    """The bucket's key of query[d]; writes margins[m], the distances of its projections on vectors[m, d] from their thresholds[m + 1].

    thresholds[m] is the length to which the query is scaled for them, or 0 where they are all 0.
    """
    bits, size = vectors.shape
    scale = 1.0
    if thresholds[bits] > 0.0:
        total = 0.0
        for j in range(size):
            total += np.float64(query[j]) * query[j]
        if total > 0.0:
            scale = thresholds[bits] / math.sqrt(total)
    key = 0
    for i in range(bits):
        projected = 0.0
        for j in range(size):
            projected += vectors[i, j] * query[j]
        projected = scale * projected - thresholds[i]
        margins[i] = abs(projected)
        if projected > 0.0:
            key |= 1 << i
    return key


@njit(cache=True, nogil=True, error_model="numpy")
def place_of(key):  # type: ignore[no-untyped-def]
    """The place of a key in the Gray code's order, the inverse of key = place ^ (place >> 1)."""
    place, shifted = key, key >> 1
    while shifted:
        place ^= shifted
        shifted >>= 1
    return place


@njit(cache=True, nogil=True, error_model="numpy")
def sort_margins(margins, ranks):  # type: ignore[no-untyped-def]
    """Sort margins[m] upwards; ranks[m] become the bits that they belong to."""
    for i in range(margins.size):
        ranks[i] = i
    for i in range(1, margins.size):
        margin, rank, k = margins[i], ranks[i], i
        while k and margins[k - 1] > margin:
            margins[k], ranks[k] = margins[k - 1], ranks[k - 1]
            k -= 1
        margins[k], ranks[k] = margin, rank


@njit(cache=True, nogil=True, error_model="numpy")
def following(heap, count, margins):  # type: ignore[no-untyped-def]
    """Replace the front of heap[2, K], a set of flips of the sorted margins[m], by the two sets that come from it.

    A set whose highest member is i becomes the one with i + 1 instead, and the one with i + 1 besides: so every set is made once, and
    after those of lower cost. Returns the new count.
    """
    cost, flips = heap[0, 0], int(heap[1, 0])
    count = pop(heap, count)
    top = 0
    while flips >> (top + 1):
        top += 1
    if flips and top + 1 < margins.size:
        more = 1 << (top + 1)
        count = push(heap, count, cost + margins[top + 1] - margins[top], float(flips - (1 << top) + more))
        count = push(heap, count, cost + margins[top + 1], float(flips + more))
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def bits_of_flips(flips, ranks):  # type: ignore[no-untyped-def]
    """The bits of a key that a set of flips of sorted margins stands for; ranks[m]: the bit of each."""
    mask, i = 0, 0
    while flips >> i:
        if (flips >> i) & 1:
            mask |= 1 << int(ranks[i])
        i += 1
    return mask


@njit(cache=True, nogil=True, error_model="numpy")
def _bucket(blocks, ids, starts, place, query, scores, best, chosen):  # type: ignore[no-untyped-def]
    """`blocks.scan` of the blocks that the bucket at a place touches; returns (best, chosen, rows scanned)."""
    if starts[place] == starts[place + 1]:
        return best, chosen, 0
    first, last = starts[place] // LANES, (starts[place + 1] - 1) // LANES + 1
    best, chosen = scan(blocks, ids, first, last, query, scores, best, chosen)
    return best, chosen, (last - first) * LANES


@njit(cache=True, nogil=True, error_model="numpy")
def _by_distance(blocks, ids, starts, masks, key, query, scanned, scores):  # type: ignore[no-untyped-def]
    """(action, rows) by Hamming distance from a key."""
    best, chosen, rows, probe = np.float32(-np.inf), -1, 0, 0
    while rows < scanned and probe < masks.size:
        best, chosen, more = _bucket(blocks, ids, starts, place_of(key ^ masks[probe]), query, scores, best, chosen)
        rows += more
        probe += 1
    return chosen, rows


@njit(cache=True, nogil=True, error_model="numpy")
def _by_margins(blocks, ids, starts, key, margins, ranks, heap, query, scanned, scores):  # type: ignore[no-untyped-def]
    """(action, rows) by the sum of the margins[m] of the bits that differ from a key, while the heap has room; ranks[m] is scratch."""
    sort_margins(margins, ranks)
    best, chosen, rows = _bucket(blocks, ids, starts, place_of(key), query, scores, np.float32(-np.inf), -1)
    size = push(heap, 0, margins[0], 1.0)
    while rows < scanned and 0 < size < heap.shape[1]:
        place = place_of(key ^ bits_of_flips(int(heap[1, 0]), ranks))
        best, chosen, more = _bucket(blocks, ids, starts, place, query, scores, best, chosen)
        rows += more
        size = following(heap, size, margins)
    return chosen, rows


@njit(cache=True, nogil=True, error_model="numpy")
def best_by_projections(blocks, ids, starts, masks, vectors, thresholds, query, limits, scores, margins, heap):  # type: ignore[no-untyped-def]
    """(action, rows): the best action in the buckets nearest to query[d], and how many rows were scanned for it.

    limits (scanned, order): so many rows are scanned, or a few more. Buckets come by margins, of which at most K are tried, or by Hamming
    distance, also where the former have all been empty.
    Index: blocks[B, d, 64], ids[B, 64], starts[2^m + 1], masks[2^m], vectors[m, d], thresholds[m + 1]. Scratch: scores[64],
    margins[2 m], heap[2, K].
    """
    scanned, order, bits, chosen, rows = limits[0], limits[1], vectors.shape[0], -1, 0
    key = key_of(query, vectors, thresholds, margins)
    if order == MARGINS:
        chosen, rows = _by_margins(blocks, ids, starts, key, margins[:bits], margins[bits:], heap, query, scanned, scores)
    if rows == 0:
        chosen, rows = _by_distance(blocks, ids, starts, masks, key, query, scanned, scores)
    return max(chosen, 0), rows
