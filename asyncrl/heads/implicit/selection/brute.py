"""Every action's score: exact, the baseline of all other selections."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.blocks import LANES, block_count, blocks_entry, draw_in_block, score_block, write_blocks
from asyncrl.heads.implicit.selection.selection import Arrays, Selection, SelectionOptions
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def row_score(latents, n, query):  # type: ignore[no-untyped-def]
    """The dot product of row n of latents[N, d] with query[d]: four sums, always in this order, so that equal rows have equal scores."""
    size, j, zero = query.size, 0, np.float32(0.0)
    s0, s1, s2, s3 = zero, zero, zero, zero
    while j + 4 <= size:
        s0 += latents[n, j] * query[j]
        s1 += latents[n, j + 1] * query[j + 1]
        s2 += latents[n, j + 2] * query[j + 2]
        s3 += latents[n, j + 3] * query[j + 3]
        j += 4
    while j < size:
        s0 += latents[n, j] * query[j]
        j += 1
    return (s0 + s1) + (s2 + s3)


@njit(cache=True, nogil=True, error_model="numpy")
def best_row(latents, query):  # type: ignore[no-untyped-def]
    """The number of the row of latents[N, d] whose dot product with query[d] is the highest, of equal ones the first: without an index."""
    best, chosen = np.float32(-np.inf), 0
    for n in range(latents.shape[0]):
        score = row_score(latents, n, query)
        if score > best:
            best, chosen = score, n
    return chosen


@njit(cache=True, nogil=True, error_model="numpy")
def best_of_all(blocks, query, scores):  # type: ignore[no-untyped-def]
    """The position of the latent in blocks[B, d, 64] whose dot product with query[d] is the highest, of equal ones the first.

    scores[64]: scratch.
    """
    best, chosen = np.float32(-np.inf), 0
    for b in range(blocks.shape[0]):
        high = score_block(blocks[b], query, scores)
        if high > best:
            best = high
            for k in range(LANES - 1, -1, -1):
                if scores[k] == high:
                    chosen = b * LANES + k
    return chosen


@njit(cache=True, nogil=True, error_model="numpy")
def draw_of_all(blocks, actions, query, temperature, uniform, highs, sums, scores):  # type: ignore[no-untyped-def]
    """The position that `uniform` in [0, 1) draws from the softmax of all scores over temperature, reading blocks[B, d, 64] once.

    A first pass keeps each block's highest score in highs[B] and its sum of exponentials below that in sums[B]; a block is drawn by
    its share of the total, then an action within it. query[d]; scores[64] is scratch; of the last block only the positions before
    `actions` count.
    """
    high, inverse = -np.inf, np.float32(min(1.0 / temperature, 1e38))  # finite: so that 0 times it is 0
    for b in range(blocks.shape[0]):
        highs[b] = score_block(blocks[b], query, scores)
        total = np.float32(0.0)
        for k in range(min(LANES, actions - b * LANES)):
            total += math.exp((scores[k] - highs[b]) * inverse)
        sums[b] = total
        high = max(high, np.float64(highs[b]))
    whole = 0.0
    for b in range(blocks.shape[0]):
        sums[b] *= math.exp((highs[b] - high) / temperature)
        whole += sums[b]
    mass, chosen, rest = uniform * whole, 0, 0.0
    for b in range(blocks.shape[0]):
        if sums[b] > 0.0:
            chosen, rest = b, mass / sums[b]
        if mass < sums[b]:
            break
        mass -= sums[b]
    score_block(blocks[chosen], query, scores)
    count = min(LANES, actions - chosen * LANES)
    return chosen * LANES + draw_in_block(scores, count, temperature, min(rest, 1.0))


class Brute(Selection):
    """All scores: the exact argmax, and the exact softmax.

    On one core the argmax takes as long as reading the latents: N d float32, some 3 ms for a million of 20 numbers.
    """

    name = "brute"
    description = "every score (exact)"
    draws = True

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        self._blocks, self._actions = arrays["blocks"], int(arrays["actions"][0])
        self._scores = np.empty(LANES, np.float32)
        self._highs, self._sums = np.empty(len(self._blocks), np.float32), np.empty(len(self._blocks))

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        return {"blocks": blocks_entry(block_count(actions), size), "actions": ((1,), np.int64)}

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        write_blocks(latents, np.arange(len(latents)), arrays["blocks"])
        arrays["actions"][0] = len(latents)

    def best(self, query: NDArray[np.float32]) -> int:
        return int(best_of_all(self._blocks, query, self._scores))

    def draw(self, query: NDArray[np.float32], uniform: float) -> int:
        temperature = self.options.temperature
        return int(draw_of_all(self._blocks, self._actions, query, temperature, uniform, self._highs, self._sums, self._scores))
