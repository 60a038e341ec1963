"""Signed random projections: actions in buckets by the signs of projections of their latents; buckets near the query's are scanned.

Source: Zhao et al., "Implicit Two-Tower Policies" [S000], section 2.3.1. Latents are made equally long by one more number,
l~ = [l, sqrt(C^2 - |l|^2)] with C the longest (equation 6), the query becomes [q, 0], so that the largest dot product is the smallest
angle; bit i of a key is whether omega_i . l~ > b_i for Gaussian omega_i that are orthogonal in blocks of d + 1.

Where this differs from the paper, by default:
    thresholds   the paper's b_i are the medians of omega_i . l~, which move the query's bits too. Here the mean of all latents is
                 subtracted from each, which changes no comparison between actions, and b_i = 0. `thresholds="median"` is the paper's; the
                 query is scaled to the length C there, since its length must not decide its bucket.
    order        the paper goes through buckets by Hamming distance from the query's key (`order="hamming"`). Here a bucket's cost is the
                 sum of the query's |omega_i . q - b_i| over the bits that differ, as in the query-directed probing of Lv et al.,
                 "Multi-Probe LSH" (2007), who sum squares.
The paper's text gives hash spaces of 2^8 and 2^7 for m = 6 and 3 projections: these are the sizes of its buckets, N / 2^m. Its published
code writes sqrt(C - |l|) for the additional number, and looks a key's range up in actions that were never sorted by their keys.

Actions lie sorted by bucket, buckets in the order of a Gray code, so that neighbours differ in one bit. A bucket need not begin at a block
of 64: every block that it touches is scanned whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.blocks import LANES, block_count, blocks_entry, ids_of, write_blocks
from asyncrl.heads.implicit.selection.probing import HAMMING, MARGINS, best_by_projections
from asyncrl.heads.implicit.selection.selection import Arrays, Selection, SelectionOptions
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit

MOST_BITS = 20


def bits_of(actions: int, options: SelectionOptions) -> int:
    """How many projections: those that were asked for, or as many as give 64 actions to a bucket on average."""
    return options.bits or min(max(round(math.log2(actions / LANES)), 1), MOST_BITS)


def orthogonal_gaussians(generator: np.random.Generator, count: int, size: int) -> NDArray[np.float64]:
    """Vectors [count, size] with normal entries, orthogonal within every block of `size`.

    Gram-Schmidt in its modified form, as the paper has it; LAPACK's factors depend on its number of threads in their last bits.
    """
    vectors = np.empty((count, size))
    for first in range(0, count, size):
        block = generator.standard_normal((min(size, count - first), size))
        for i, row in enumerate(block):
            for other in block[:i]:
                row -= (row * other).sum() * other
            row /= np.sqrt(np.square(row).sum())
        lengths = np.sqrt(generator.chisquare(size, len(block)))
        vectors[first : first + len(block)] = block * lengths[:, None]
    return vectors


@njit(cache=True, nogil=True, error_model="numpy")
def _lengthened(latents, centre):  # type: ignore[no-untyped-def]
    """The additional numbers [N] of the latents[N, d] less centre[d], and the length C of the longest of them."""
    more, longest = np.empty(latents.shape[0]), 0.0
    for n in range(latents.shape[0]):
        total = 0.0
        for j in range(latents.shape[1]):
            x = np.float64(latents[n, j]) - centre[j]
            total += x * x
        more[n] = total
        longest = max(longest, total)
    for n in range(more.size):
        more[n] = math.sqrt(longest - more[n])
    return more, math.sqrt(longest)


@njit(cache=True, nogil=True, error_model="numpy")
def _projected(latents, centre, more, vector, out):  # type: ignore[no-untyped-def]
    """out[N]: vector[d + 1] times [latents[N, d] less centre[d], more[N]]."""
    size = latents.shape[1]
    for n in range(latents.shape[0]):
        total = more[n] * vector[size]
        for j in range(size):
            total += (np.float64(latents[n, j]) - centre[j]) * vector[j]
        out[n] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _gray_places(keys, starts):  # type: ignore[no-untyped-def]
    """The order [N] of actions with keys[N] by bucket, buckets in the order of the Gray code; writes starts[2^m + 1] by place there."""
    # `starts` itself is written once, at the end: others may read it, where the same was written before.
    counted = np.zeros(starts.size, np.int64)
    order = np.empty(keys.size, np.int64)
    places = np.empty(keys.size, np.int64)
    for n in range(keys.size):
        place, shifted = keys[n], keys[n] >> 1
        while shifted:
            place ^= shifted
            shifted >>= 1
        places[n] = place
        counted[place + 1] += 1
    for place in range(1, starts.size):
        counted[place] += counted[place - 1]
    starts[:] = counted
    following = counted
    for n in range(keys.size):
        order[following[places[n]]] = n
        following[places[n]] += 1
    return order


def masks_by_distance(bits: int) -> NDArray[np.int32]:
    """All 2^m sets of bits to flip, [2^m], by how many they are and then by value."""
    masks = np.arange(1 << bits, dtype=np.int64)
    return masks[np.argsort(np.bitwise_count(masks), kind="stable")].astype(np.int32)


class Projections(Selection):
    """The best of the actions in the buckets that are nearest to the query's, until `scanned` of them have been looked at."""

    name = "projections"
    description = "buckets by signs of random projections, those near the query's are scanned (approximate)"

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        bits = len(arrays["vectors"])
        self._index = tuple(arrays[name] for name in ("blocks", "ids", "starts", "masks", "vectors", "thresholds"))
        scratch = np.empty(LANES, np.float32), np.empty(2 * bits), np.empty((2, 4 * block_count(options.scanned) + 64))
        limits = np.array([options.scanned, {"margins": MARGINS, "hamming": HAMMING}[options.order]])
        self._rest = (limits, *scratch)
        self.arguments = (*self._index, *self._rest)

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        bits, blocks = bits_of(actions, options), block_count(actions)
        return {
            "blocks": blocks_entry(blocks, size),
            "ids": ((blocks, LANES), np.int32),
            "starts": (((1 << bits) + 1,), np.int64),
            "masks": ((1 << bits,), np.int32),
            "vectors": ((bits, size), np.float64),
            "thresholds": ((bits + 1,), np.float64),
        }

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        bits, size = arrays["vectors"].shape
        vectors = orthogonal_gaussians(generator, bits, size + 1)
        median = options.thresholds == "median"
        centre = np.zeros(size) if median else latents.mean(axis=0, dtype=np.float64)
        more, longest = _lengthened(latents, centre)
        keys, projected = np.zeros(len(latents), np.int64), np.empty(len(latents))
        thresholds = arrays["thresholds"]
        for bit, vector in enumerate(vectors):
            _projected(latents, centre, more, vector, projected)
            thresholds[bit] = np.median(projected) if median else 0.0
            keys |= (projected > thresholds[bit]).astype(np.int64) << bit
        thresholds[bits] = longest if median else 0.0
        order = _gray_places(keys, arrays["starts"])
        write_blocks(latents, order, arrays["blocks"])
        ids_of(order, arrays["ids"])
        arrays["vectors"][:], arrays["masks"][:] = vectors[:, :size], masks_by_distance(bits)

    def best(self, query: NDArray[np.float32]) -> int:
        return int(best_by_projections(*self._index, query, *self._rest)[0])
