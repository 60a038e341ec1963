"""The items of RecSim: a mixture of Gaussians, drawn once and shared by all processes of a run (seed 002, appendix C.2)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.shared.sealed import Arrays, sealed_arrays

CLUSTERS = 30
DEVIATION = 0.35
"""Of an item from the centre of its cluster, in each component."""
SENSATIONAL = 0.7
"""The share of clusters whose items are of low quality: their users' time runs out."""
QUALITY_DEVIATION = 0.1


def centres() -> NDArray[np.float64]:
    """The clusters' centres, [clusters, components] = [30, 30]: the unit vectors, of which the latter half are negated."""
    signs = np.where(np.arange(CLUSTERS) < CLUSTERS // 2, 1.0, -1.0)
    return np.eye(CLUSTERS) * signs[:, None]


@dataclass(frozen=True)
class Items:
    """N items: what the user thinks of them, and what the agent sees. All of it is a function of these numbers.

    count       N
    seed        of the mixture, the shifts and the qualities
    noise_std   of what is added to each feature that the agent sees
    extra_dims  further features that mean nothing
    """

    count: int
    seed: int
    noise_std: float
    extra_dims: int

    def __post_init__(self) -> None:
        if self.count < CLUSTERS:
            raise UserError(f"n_items = {self.count} cannot be used (allowed: whole numbers from {CLUSTERS}, the clusters)")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed = {self.seed} cannot be used (allowed: 0 to {2**32 - 1})")
        if not (math.isfinite(self.noise_std) and self.noise_std >= 0):
            raise UserError(f"action_noise_std = {self.noise_std} cannot be used (allowed: numbers from 0)")
        if self.extra_dims < 0:
            raise UserError(f"extra_dims = {self.extra_dims} cannot be used (allowed: whole numbers from 0)")

    def arrays(self) -> Arrays:
        """Read-only and, in a run, one copy in memory for all processes (`sealed_arrays`):

        task      [N, 30] float32, each column from -1 to 1: the hidden embedding, which the user's choices depend on
        features  [N, 30 + extra_dims] float32, each column within -1 to 1: what the agent sees
        quality   [N] float32

        Raises SharedMemoryError where there is too little memory: 500,000 items of 45 features take 152 MB.
        """
        return _arrays(self)

    def _fill(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        random = np.random.RandomState(self.seed)
        drawn, cluster = mixture(random, self.count)
        task, features = arrays["task"], arrays["features"]
        task[:] = _scaled(drawn)
        if self.noise_std:
            # column by column, so that no second array of this size is needed
            for column in range(CLUSTERS):
                drawn[:, column] = task[:, column] + random.normal(0.0, self.noise_std, self.count)
            features[:, :CLUSTERS] = _scaled(drawn)
        else:
            features[:, :CLUSTERS] = task
        for column in range(self.extra_dims):
            features[:, CLUSTERS + column] = random.uniform(-1.0, 1.0, self.count)
        low = round(SENSATIONAL * CLUSTERS)
        means = np.concatenate([np.linspace(-3.0, 0.0, low), np.linspace(0.0, 3.0, CLUSTERS - low)])
        arrays["quality"][:] = means[cluster] + random.normal(0.0, QUALITY_DEVIATION, self.count)


@functools.lru_cache(maxsize=4)
def _arrays(items: Items) -> Arrays:
    count, columns = items.count, CLUSTERS + items.extra_dims
    layout = {
        "task": ((count, CLUSTERS), np.float32),
        "features": ((count, columns), np.float32),
        "quality": ((count,), np.float32),
    }
    return sealed_arrays(repr(items), layout, items._fill)


def mixture(random: np.random.RandomState, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points [count, 30] in random order, equally many of each cluster, and their clusters [count].

    The same numbers as those of scikit-learn's `make_blobs` with these centres and this deviation, from the same generator.
    """
    sizes = [count // CLUSTERS + (cluster < count % CLUSTERS) for cluster in range(CLUSTERS)]
    points = np.concatenate([random.normal(centre, DEVIATION, (size, CLUSTERS)) for centre, size in zip(centres(), sizes)])
    order = np.arange(count)
    random.shuffle(order)
    return points[order], np.repeat(np.arange(CLUSTERS), sizes)[order]


def _scaled(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [N, D] with each column moved and stretched to reach from -1 to 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.clip(2.0 * (points - low) / (high - low) - 1.0, -1.0, 1.0)
