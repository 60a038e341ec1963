"""The items nearest to many points at once, for learners: by products of matrices, a part of the items at a time."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from asyncrl.heads.networks.devices import HOST, Place

AT_ONCE = 2**22
"""Scores, float32, that are in memory together."""


class NearestItems:
    """N items of F features. `asyncrl.heads.proposing.picking.nearest` is the same for one step of an actor."""

    def __init__(self, features: NDArray[np.float32], half_squares: NDArray[np.float32], place: Place = HOST):
        """features [N, F], half_squares [N]: |f|^2 / 2. On the host without a copy."""
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
