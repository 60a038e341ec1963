"""What every approximate selection must be better than: the best of so many actions, picked without regard to the query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.blocks import LANES, block_count, blocks_entry, ids_of, scan, write_blocks
from asyncrl.heads.implicit.selection.selection import Arrays, Selection, SelectionOptions
from asyncrl.shared.arrays import Layout


class Subset(Selection):
    """The best of `scanned` actions that were picked once. Subclasses say which."""

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        self._scores = np.empty(LANES, np.float32)

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        blocks = block_count(min(options.scanned, actions))
        return {"blocks": blocks_entry(blocks, size), "ids": ((blocks, LANES), np.int32)}

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        chosen = cls.picked(latents, min(options.scanned, len(latents)), generator)
        write_blocks(latents, chosen, arrays["blocks"])
        ids_of(chosen, arrays["ids"])

    @staticmethod
    def picked(latents: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """The numbers [count] of the actions of latents [N, d] that are looked at."""
        raise NotImplementedError

    def best(self, query: NDArray[np.float32]) -> int:
        blocks = self.arrays["blocks"]
        return max(int(scan(blocks, self.arrays["ids"], 0, len(blocks), query, self._scores, np.float32(-np.inf), -1)[1]), 0)


class RandomSubset(Subset):
    """The best of actions that were drawn once, without replacement."""

    name = "random-subset"
    description = "the best of some actions that were drawn once (a control)"

    @staticmethod
    def picked(latents: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        return np.sort(generator.choice(len(latents), count, replace=False, shuffle=False))


class TopNormSubset(Subset):
    """The best of the actions whose latents are the longest, which no index is needed for."""

    name = "top-norm-subset"
    description = "the best of the actions with the longest latents (a control)"

    @staticmethod
    def picked(latents: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        lengths = np.square(latents, dtype=np.float64).sum(axis=1)
        return np.sort(np.argsort(-lengths, kind="stable")[:count])
