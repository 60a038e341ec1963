"""Shrinking images by averages over areas, compiled: the same numbers as OpenCV's INTER_AREA, which gymnasium's wrappers use.

But for one case: of images that are halved in both directions OpenCV rounds halves up, and here they go to the even number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit

_SLIVER = 1e-3
"""A part of a pixel that is narrower than this is left out."""


class Shares(NamedTuple):
    """Along one side of n pixels that become m: output i is the sum over k of weight[k, i] * pixel[first[i] + k].

    first[m] is int64, weight[taps, m] float32; weights that are left over are 0, and belong to pixels that are there.
    """

    first: NDArray[np.int64]
    weight: NDArray[np.float32]


def shares(pixels: int, outputs: int) -> Shares:
    """The shares of a side that becomes no longer than it is."""
    width = pixels / outputs
    rows = [_shares_of(i * width, width, pixels) for i in range(outputs)]
    taps = max(len(weights) for _, weights in rows)
    first = np.array([min(at, pixels - taps) for at, _ in rows])
    weight = np.zeros((taps, outputs), np.float32)
    for i, (at, weights) in enumerate(rows):
        weight[at - first[i] : at - first[i] + len(weights), i] = weights
    return Shares(first, weight)


def _shares_of(begin: float, width: float, pixels: int) -> tuple[int, list[float]]:
    """The first pixel of the cell [begin, begin + width), and the shares in it of that pixel and those that follow."""
    end = begin + width
    cell = min(width, pixels - begin)
    last = min(int(np.floor(end)), pixels - 1)
    whole = min(int(np.ceil(begin)), last)
    weights = [(whole - begin) / cell] if whole - begin > _SLIVER else []
    at = whole - len(weights)
    weights += [1.0 / cell] * (last - whole)
    if end - last > _SLIVER:
        weights.append(min(end - last, 1.0, cell) / cell)
    return at, weights


class Shrinking:
    """Shrinks images [H, W] to one size, again and again, in memory of its own."""

    def __init__(self, before: tuple[int, int], after: tuple[int, int]):
        """Sizes (height, width); neither side becomes longer."""
        self._columns, self._rows = shares(before[1], after[1]), shares(before[0], after[0])
        self._across = np.zeros((before[0], after[1]), np.float32)

    def __call__(self, one: NDArray[np.uint8], other: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write out[h, w]: of two images [H, W] the brighter pixels, shrunk. They may be the same image."""
        _shrink(one, other, *self._columns, *self._rows, self._across, out)


@njit(cache=True)
def _shrink(one, other, columns, column_weight, rows, row_weight, across, out):  # type: ignore[no-untyped-def]
    """As `Shrinking`, by the shares of columns and rows. Sums are float32, in OpenCV's order: along a row, then over rows."""
    height, width = out.shape
    line = np.empty(max(one.shape[1], width), np.float32)
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            line[x] = max(one[y, x], other[y, x])
        for x in range(width):
            across[y, x] = line[columns[x]] * column_weight[0, x]
        for k in range(1, column_weight.shape[0]):
            for x in range(width):
                across[y, x] += line[columns[x] + k] * column_weight[k, x]
    for y in range(height):
        line[:width] = 0.0
        for k in range(row_weight.shape[0]):
            row, weight = rows[y] + k, row_weight[k, y]
            for x in range(width):
                line[x] += across[row, x] * weight
        for x in range(width):
            out[y, x] = np.uint8(np.int32(np.rint(line[x])))  # half to even
