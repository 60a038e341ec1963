"""The items nearest to many points at once, for learners: by products of matrices, a part of the items at a time; or by an index.

The index is faiss's (extra `faiss`): items in as many cells as four times the root of their number, of which those nearest to a point are
looked through. From some 100,000 items on that takes a fraction of the time, and misses some.
"""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from asyncrl.heads.networks.devices import HOST, Place

AT_ONCE = 2**22
"""Scores, float32, that are in memory together."""
CELLS_A_ROOT, PROBED, LEARNED_FROM = 4, 64, 64
"""Of an index: cells for each unit of the root of the number of items; cells that are looked through; items for each cell, at most, from
which the cells are learned."""


class NearestItems:
    """N items of F features. `asyncrl.heads.proposing.picking.nearest` is the same for one step of an actor."""

    def __init__(self, features: NDArray[np.float32], half_squares: NDArray[np.float32], place: Place = HOST):
        """features [N, F], half_squares [N]: |f|^2 / 2. On the host without a copy."""
        self.place = place
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of read-only memory, which nobody here writes to
            self.features = place.tensor(features)
        self._half_squares = place.tensor(half_squares)

    def nearest(self, points: torch.Tensor) -> torch.Tensor:
        """The items [...], int64, nearest to points[..., F]; of equally near ones the first."""
        return self.several(points, 1)[..., 0]

    def several(self, points: torch.Tensor, count: int) -> torch.Tensor:
        """The `count` nearest items [..., count], int64, the nearest first."""
        flat = points.reshape(-1, points.shape[-1])
        values = flat.new_full((len(flat), count), -torch.inf)
        found = torch.zeros_like(values, dtype=torch.int64)
        part = max(AT_ONCE // max(len(flat), 1), count)
        for start in range(0, len(self.features), part):
            features = self.features[start : start + part]
            scores = torch.addmm(self._half_squares[start : start + part], flat, features.T, beta=-1.0)
            here, places = scores.max(1, keepdim=True) if count == 1 else scores.topk(min(count, len(features)), 1)
            merged, order = torch.cat([values, here], 1).sort(dim=1, descending=True, stable=True)
            values = merged[:, :count]
            found = torch.cat([found, places + start], 1).gather(1, order[:, :count])
        return found.view(*points.shape[:-1], count)


class IndexedItems(NearestItems):
    """The same by an index of faiss's: those it finds are the nearest among the items of the cells that it looks through."""

    def __init__(self, features: NDArray[np.float32], half_squares: NDArray[np.float32], place: Place = HOST):
        super().__init__(features, half_squares, place)
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        count, size = features.shape
        cells = max(min(int(CELLS_A_ROOT * count**0.5), count // 39), 1)  # faiss warns of fewer than 39 items a cell
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(size), size, cells)
        self._index.cp.max_points_per_centroid = LEARNED_FROM
        self._index.nprobe = min(PROBED, cells)
        self._index.train(features)
        self._index.add(features)

    def several(self, points: torch.Tensor, count: int) -> torch.Tensor:
        flat = np.ascontiguousarray(self.place.array(points.reshape(-1, points.shape[-1]).detach()))
        found = self._index.search(flat, count)[1]
        if (found < 0).any():  # the cells hold too few
            return super().several(points, count)
        return self.place.tensor(found).view(*points.shape[:-1], count)


def items_of(search: str, features: NDArray[np.float32], half_squares: NDArray[np.float32], place: Place = HOST) -> NearestItems:
    """What finds the nearest of features [N, F], with half_squares [N], as the option `search` says."""
    return (NearestItems if search == "exact" else IndexedItems)(features, half_squares, place)
