"""Latents in blocks of 64, transposed within a block, so that one pass scores 64 actions at once.

A row of d = 20 numbers fills neither a vector register nor a loop; 64 actions side by side do. The scores of 64 actions, 20 numbers
each, take about 60 % of the time that a loop over rows takes while the table fits into the cache; from main memory both take as long as
reading does.

    blocks[B, d, 64]   float32: element [b, j, k] is number j of the action at position 64 b + k

Every position of a block has a latent: those beyond the last action repeat it, so that kernels need no test, and the copy comes after
the action itself, which is therefore the first of its equals.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.heads.networks.layers import FAST
from asyncrl.shared.compiled import njit

LANES = 64
"""Actions of a block."""


def block_count(actions: int) -> int:
    """How many blocks so many actions take."""
    return -(-actions // LANES)


def blocks_entry(blocks: int, size: int) -> tuple[tuple[int, ...], DTypeLike]:
    """Layout entry of so many blocks of latents of `size` numbers: [blocks, size, 64]."""
    return (blocks, size, LANES), np.float32


@njit(cache=True, nogil=True, error_model="numpy")
def write_block(latents, rows, block):  # type: ignore[no-untyped-def]
    """Write block[d, 64] of the latents[N, d] with the numbers rows[n], 1 <= n <= 64; the last one fills the places that remain."""
    for k in range(block.shape[1]):
        row = rows[min(k, rows.size - 1)]
        for j in range(block.shape[0]):
            block[j, k] = latents[row, j]


@njit(cache=True, nogil=True, error_model="numpy")
def write_blocks(latents, order, blocks):  # type: ignore[no-untyped-def]
    """Write blocks[B, d, 64] of latents[N, d], of which position p gets the one with the number order[p]; order[N]."""
    for b in range(blocks.shape[0]):
        write_block(latents, order[b * LANES : min((b + 1) * LANES, order.size)], blocks[b])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def score_block(block, query, scores):  # type: ignore[no-untyped-def]
    """Write scores[64], the dot products of query[d] with the latents of block[d, 64], and return the highest. Four numbers a pass."""
    size, j = block.shape[0], 0
    for k in range(LANES):
        scores[k] = np.float32(0.0)
    while j + 4 <= size:
        x0, x1, x2, x3 = query[j], query[j + 1], query[j + 2], query[j + 3]
        for k in range(LANES):
            scores[k] += x0 * block[j, k] + x1 * block[j + 1, k] + x2 * block[j + 2, k] + x3 * block[j + 3, k]
        j += 4
    while j < size:
        x0 = query[j]
        for k in range(LANES):
            scores[k] += x0 * block[j, k]
        j += 1
    best = scores[0]
    for k in range(1, LANES):
        best = max(best, scores[k])
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def first_at(scores, value, ids):  # type: ignore[no-untyped-def]
    """The lowest of ids[64] whose score in scores[64] is `value`, which one of them has."""
    lowest = -1
    for k in range(LANES):
        if scores[k] == value and (lowest < 0 or ids[k] < lowest):
            lowest = ids[k]
    return lowest


@njit(cache=True, nogil=True, error_model="numpy")
def scan(blocks, ids, first, last, query, scores, best, chosen):  # type: ignore[no-untyped-def]
    """The better of (best, chosen) and the best action of blocks[B, d, 64] from `first` to before `last`, as (score, its number).

    ids[B, 64]: numbers of the actions; query[d]; scores[64]: scratch. Of equal scores the lowest number wins.
    """
    for b in range(first, last):
        high = score_block(blocks[b], query, scores)
        if high > best or (high == best and chosen >= 0):
            number = first_at(scores, high, ids[b])
            if high > best or number < chosen:
                best, chosen = high, number
    return best, chosen


@njit(cache=True, nogil=True, error_model="numpy")
def draw_in_block(scores, count, temperature, uniform):  # type: ignore[no-untyped-def]
    """The place of scores[:count] (of scores[64]) that `uniform` in [0, 1) draws from their softmax at a temperature."""
    high = scores[0]
    for k in range(1, count):
        high = max(high, scores[k])
    total = 0.0
    for k in range(count):
        total += math.exp((np.float64(scores[k]) - high) / temperature)
    mass, place = uniform * total, 0
    for k in range(count):
        weight = math.exp((np.float64(scores[k]) - high) / temperature)
        if weight > 0.0:  # so that rounding cannot end at a place without weight
            place = k
        if mass < weight:
            break
        mass -= weight
    return place


def ids_of(order: NDArray[np.int64], ids: NDArray[np.int32]) -> None:
    """Write ids[B, 64], the numbers order[N] of the actions by position; the last one fills the places that remain."""
    flat = ids.reshape(-1)
    flat[: order.size] = order
    flat[order.size :] = order[-1]
