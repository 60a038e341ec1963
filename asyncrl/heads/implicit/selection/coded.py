"""Every action's score, from a copy of the latents in 8 bits; then, exactly, the few that this copy allows to be the best.

What a search of all actions waits for is memory, and the width of its sums: a quarter of the bytes, and sums of 16 bits, take a third of
the time. The choice is exact all the same. With c_nj = round((l_nj - middle_j) / step_j), from -TOP to TOP, and whole numbers x_j near
q_j step_j / unit, small enough for sum of |x_j| TOP to fit into 16 bits,

    |q . l_n - q . middle - unit (x . c_n)|  <=  unit |q step / unit - x| max |c_n|  +  sum of |q_j step_j| / 2  =: slack

by Cauchy and Schwarz, and because each c_nj is off by a half at most. So only an action whose x . c_n is within slack / unit of what the
best so far needs can be better, and those are scored by their latents. Rounding of float32 and float64 is in the slack as well.

A query or latents for which the bound says nothing (not finite, 0, or so large that float32 might overflow) have all latents scored.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.brute import best_row, row_score
from asyncrl.heads.implicit.selection.selection import Arrays, Selection, SelectionOptions
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit

WIDE = 128
"""Actions of a block of codes: more side by side than float32 has, since a register holds more of them."""
TOP = 63
"""The largest code. Larger ones leave less room for the query's numbers, whose rounding is the other half of the slack."""
ROOM = 32767 // TOP
"""What the query's numbers may come to together."""
LARGEST = 1e37
"""Scores up to here cannot overflow in float32."""


@njit(cache=True, nogil=True, error_model="numpy")
def write_scales(latents, scales):  # type: ignore[no-untyped-def]
    """Write scales[2, d], middle and step of each number of latents[N, d]: its range is from -TOP to TOP steps about the middle."""
    low, high = latents[0].copy(), latents[0].copy()
    for n in range(1, latents.shape[0]):
        for j in range(low.size):
            low[j] = latents[n, j] if latents[n, j] < low[j] else low[j]
            high[j] = latents[n, j] if latents[n, j] > high[j] else high[j]
    for j in range(low.size):
        least, most = np.float64(low[j]), np.float64(high[j])
        scales[0, j], scales[1, j] = 0.5 * (least + most), 0.5 * (most - least) / TOP


@njit(cache=True, nogil=True, error_model="numpy")
def write_codes(latents, scales, codes):  # type: ignore[no-untyped-def]
    """Write codes[B, d, WIDE] of latents[N, d] by scales[2, d], the last action's in the places that remain; returns the longest's length.

    Of latents that are not finite the codes are 0: nothing is concluded from them.
    """
    longest, squares = 0.0, np.empty(WIDE)
    for b in range(codes.shape[0]):
        squares[:] = 0.0
        first, count = b * WIDE, min(WIDE, latents.shape[0] - b * WIDE)
        for j in range(latents.shape[1]):
            middle, inverse = scales[0, j], 1.0 / scales[1, j] if scales[1, j] > 0.0 else 0.0
            for k in range(count):
                steps = (latents[first + k, j] - middle) * inverse
                code = np.rint(steps) if abs(steps) <= TOP + 1 else 0.0
                codes[b, j, k] = np.int8(code)
                squares[k] += code * code
            codes[b, j, count:] = codes[b, j, count - 1]
        longest = max(longest, squares.max())
    return math.sqrt(longest)


@njit(cache=True, nogil=True, error_model="numpy")
def write_levels(query, scales, longest, levels):  # type: ignore[no-untyped-def]
    """Write levels[d], the x of the module; returns (unit, q . middle, slack), with unit 0 where nothing can be concluded from codes.

    query[d], scales[2, d], longest[1]: the length of the longest codes.
    """
    size, total, base, reach = query.size, 0.0, 0.0, 0.0
    for j in range(size):
        q = np.float64(query[j])
        total += abs(q * scales[1, j])
        base += q * scales[0, j]
        reach += abs(q) * (abs(scales[0, j]) + (TOP + 1) * scales[1, j])
    room = ROOM - 0.5 * size  # rounding adds up to a half to each
    if not (total > 0.0 and reach < LARGEST and room >= 1.0):
        return 0.0, base, 0.0
    unit, off = total / room, 0.0
    for j in range(size):
        exact = query[j] * scales[1, j] / unit
        level = np.rint(exact)
        levels[j] = np.int16(level)
        off += (exact - level) ** 2
    rounding = (size + 4) * 6e-8 * reach + size * 1e-44
    return unit, base, (unit * math.sqrt(off) * longest[0] + 0.5 * total) * (1.0 + 1e-9) + rounding


@njit(cache=True, nogil=True, error_model="numpy")
def sum_block(codes, levels, sums):  # type: ignore[no-untyped-def]
    """Write sums[WIDE], levels[d] times codes[d, WIDE], and return the highest. Four numbers a pass; they fit into 16 bits."""
    size, j = levels.size, 0
    for k in range(WIDE):
        sums[k] = np.int16(0)
    while j + 4 <= size:
        x0, x1, x2, x3 = levels[j], levels[j + 1], levels[j + 2], levels[j + 3]
        for k in range(WIDE):
            first = np.int16(x0 * np.int16(codes[j, k])) + np.int16(x1 * np.int16(codes[j + 1, k]))
            second = np.int16(x2 * np.int16(codes[j + 2, k])) + np.int16(x3 * np.int16(codes[j + 3, k]))
            sums[k] = np.int16(sums[k] + np.int16(first + second))
        j += 4
    while j < size:
        for k in range(WIDE):
            sums[k] = np.int16(sums[k] + np.int16(levels[j] * np.int16(codes[j, k])))
        j += 1
    highest = sums[0]
    for k in range(1, WIDE):
        highest = max(highest, sums[k])
    return highest


@njit(cache=True, nogil=True, error_model="numpy")
def _look(latents, first, query, sums, bound, best, chosen):  # type: ignore[no-untyped-def]
    """The better of (best, chosen) and what sums[WIDE] allow to be better of latents[N, d] from `first` on, by query[d].

    bound (unit, base, slack): what `write_levels` returned.
    """
    unit, base, slack = bound
    needed = (best - base - slack) / unit
    for k in range(min(WIDE, latents.shape[0] - first)):
        if sums[k] >= needed:
            score = row_score(latents, first + k, query)
            if score > best or (score == best and first + k < chosen):
                best, chosen = score, first + k
                needed = (best - base - slack) / unit
    return best, chosen


@njit(cache=True, nogil=True, error_model="numpy")
def best_by_codes(latents, codes, scales, longest, query, levels, sums, highs):  # type: ignore[no-untyped-def]
    """The number of the row of latents[N, d] whose product with query[d] is the highest, of equal ones the first: `best_row`'s.

    Index: codes[B, d, WIDE], scales[2, d], longest[1]; levels[d], sums[WIDE] and highs[B] are scratch.
    """
    bound = write_levels(query, scales, longest, levels)
    unit, base, slack = bound
    if unit == 0.0:
        return best_row(latents, query)
    first = 0
    for b in range(codes.shape[0]):
        highs[b] = sum_block(codes[b], levels, sums)
        if highs[b] > highs[first]:
            first = b
    sum_block(codes[first], levels, sums)
    best, chosen = _look(latents, first * WIDE, query, sums, bound, np.float32(-np.inf), 0)
    for b in range(codes.shape[0]):
        if b != first and highs[b] >= (best - base - slack) / unit:
            sum_block(codes[b], levels, sums)
            best, chosen = _look(latents, b * WIDE, query, sums, bound, best, chosen)
    return chosen


class Coded(Selection):
    """The exact argmax, from codes of 8 bits first. `latents` are the latents themselves: where others hold them, theirs."""

    name = "coded"
    description = "every score in 8 bits, and exactly those that may be the best (exact)"

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        self._index = tuple(arrays[name] for name in ("latents", "codes", "scales", "longest"))
        blocks, size, _ = arrays["codes"].shape
        self._scratch = np.empty(size, np.int16), np.empty(WIDE, np.int16), np.empty(blocks, np.int16)
        self.arguments = (*self._index, *self._scratch)

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        codes = ((-(-actions // WIDE), size, WIDE), np.int8)
        return {"latents": ((actions, size), np.float32), "codes": codes, "scales": ((2, size), np.float64), "longest": ((1,), np.float64)}

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        if not np.may_share_memory(latents, arrays["latents"]):
            arrays["latents"][:] = latents
        write_scales(latents, arrays["scales"])
        arrays["longest"][0] = write_codes(latents, arrays["scales"], arrays["codes"])

    def best(self, query: NDArray[np.float32]) -> int:
        return int(best_by_codes(*self._index, query, *self._scratch))
