"""A balanced tree of cells: every node is cut at the median along its principal axis, down to cells of at most 64 actions.

The tree adapts to where latents lie, which random projections do not: those of a tower fill a small part of their space, and not evenly.
It is the principal component tree of Sproull, "Refinements to nearest-neighbor searching in k-dimensional trees" (1991), here for dot
products:

best    cells are ranked by the dot product of the query with their mean latent: first groups of cells, then the cells of the best groups.
        The best cells are scanned until `scanned` actions have been looked at.
draw    from the root down, by the mass of both children: n exp(q . mean + q' covariance q / 2), exact for normally distributed latents;
        within a cell by the exact softmax. A draw takes time proportional to log N. With `moments = 1` without the covariance.

Nothing is random in it. Node i of level l holds the actions at the positions from i N / 2^l (rounded down) on, so that no tables of sizes
are needed; each cell is one block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.blocks import LANES, blocks_entry, write_block
from asyncrl.heads.implicit.selection.cells import best_by_cells, cell_shares, draw_by_moments
from asyncrl.heads.implicit.selection.cutting import cut, moments_of
from asyncrl.heads.implicit.selection.selection import Arrays, Selection, SelectionOptions
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit

OPENED_SHARE = 4
"""Groups are opened until they hold so many times the cells that are scanned."""


def depth_of(actions: int) -> int:
    """Levels below the root, so that no cell has more than 64 actions."""
    return max(0, (-(-actions // LANES) - 1).bit_length())


def group_depth(depth: int) -> int:
    """The level whose nodes are the groups: groups have about as many cells as there are groups."""
    return depth // 2


@njit(cache=True, nogil=True, error_model="numpy")
def _write_cells(latents, order, depth, blocks, ids):  # type: ignore[no-untyped-def]
    """Write each cell's blocks[2^depth, d, 64] and ids[2^depth, 64]; order[N]: the actions with latents[N, d] by position."""
    for cell in range(blocks.shape[0]):
        rows = order[(cell * order.size) >> depth : ((cell + 1) * order.size) >> depth]
        write_block(latents, rows, blocks[cell])
        for k in range(LANES):
            ids[cell, k] = rows[min(k, rows.size - 1)]


def feature_count(size: int, moments: int) -> int:
    """Numbers of a node: its mean, and the upper triangle of its covariance."""
    return size + (size * (size + 1) // 2 if moments == 2 else 0)


class PrincipalTree(Selection):
    """Cells along principal axes: the best action of those in the best cells, and draws in time proportional to log N."""

    name = "principal-tree"
    description = "cells cut along principal axes, ranked by their means (approximate); draws by cells' moments"
    draws = True

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        cells, size = len(arrays["ids"]), arrays["blocks"].shape[1]
        self._depth = cells.bit_length() - 1
        self._scanned = min(max(-(-options.scanned // LANES), 1), cells)
        groups, per_group = len(arrays["groups"]) * LANES, cells >> group_depth(self._depth)
        self._opened = min(-(-OPENED_SHARE * self._scanned // per_group) + 3, groups, cells // per_group)
        self._scratch = np.empty(LANES, np.float32), np.empty((2, self._opened)), np.empty((2, self._scanned))
        self._index = tuple(arrays[name] for name in ("blocks", "ids", "groups", "means"))
        self.arguments = (*self._index, *self._scratch)
        self._features = np.empty(feature_count(size, options.moments))

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        depth = depth_of(actions)
        cells, groups = 1 << depth, 1 << group_depth(depth)
        return {
            "blocks": blocks_entry(cells, size),
            "ids": ((cells, LANES), np.int32),
            "groups": blocks_entry(-(-groups // LANES), size),
            "means": blocks_entry(groups * -(-(cells // groups) // LANES), size),
            "nodes": ((2 * cells, feature_count(size, options.moments)), np.float32),
            "actions": ((1,), np.int64),
        }

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        depth = depth_of(len(latents))
        order = np.arange(len(latents))
        cut(latents, order, depth)
        _write_cells(latents, order, depth, arrays["blocks"], arrays["ids"])
        moments_of(latents, order, depth, arrays["nodes"])
        means = np.ascontiguousarray(arrays["nodes"][:, : latents.shape[1]])
        cells, groups = 1 << depth, 1 << group_depth(depth)
        _write_means(means[groups : 2 * groups], groups, arrays["groups"])
        _write_means(means[cells : 2 * cells], cells // groups, arrays["means"])
        arrays["actions"][0] = len(latents)

    def best(self, query: NDArray[np.float32]) -> int:
        return int(best_by_cells(*self._index, query, *self._scratch))

    def draw(self, query: NDArray[np.float32], uniform: float) -> int:
        one, temperature = self.arrays, self.options.temperature
        index = one["blocks"], one["ids"], one["nodes"], int(one["actions"][0])
        return int(draw_by_moments(*index, query, temperature, uniform, self._features, self._scratch[0]))

    def shares(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability [C] with which a draw for query [d] ends in each cell."""
        nodes = self.arrays["nodes"]
        found = np.zeros(len(nodes))
        cell_shares(nodes, int(self.arrays["actions"][0]), query, self.options.temperature, self._features, found)
        return found[len(found) // 2 :]


def _write_means(means: NDArray[np.float32], together: int, blocks: NDArray[np.float32]) -> None:
    """Write blocks [B, d, 64] of means [n, d], of which so many stand together: each such set begins a block of its own."""
    per_set = -(-together // LANES)
    for first in range(0, len(means), together):
        for b in range(per_set):
            rows = np.arange(first + b * LANES, first + min((b + 1) * LANES, together))
            write_block(means, rows, blocks[first // together * per_set + b])
