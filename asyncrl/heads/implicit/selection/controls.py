"""What approximate selections must be better than: choices and draws among actions that were picked without regard to the query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.selection.blocks import (
    LANES,
    block_count,
    blocks_entry,
    draw_in_block,
    ids_of,
    scan,
    score_block,
    write_blocks,
)
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


class RandomBlock(Selection):
    """Draws by the exact softmax in one of the blocks of 64 into which the actions were divided at random; its argmax is that of all."""

    name = "random-block"
    description = "draws in a block of 64 actions that is drawn with equal probabilities (a control)"
    draws = True

    def __init__(self, arrays: Arrays, options: SelectionOptions):
        super().__init__(arrays, options)
        self._scores, self._actions = np.empty(LANES, np.float32), int(arrays["actions"][0])

    @classmethod
    def layout(cls, actions: int, size: int, options: SelectionOptions) -> Layout:
        blocks = block_count(actions)
        return {"blocks": blocks_entry(blocks, size), "ids": ((blocks, LANES), np.int32), "actions": ((1,), np.int64)}

    @classmethod
    def fill(cls, latents: NDArray[np.float32], arrays: Arrays, options: SelectionOptions, generator: np.random.Generator) -> None:
        order = generator.permutation(len(latents))
        write_blocks(latents, order, arrays["blocks"])
        ids_of(order, arrays["ids"])
        arrays["actions"][0] = len(latents)

    def best(self, query: NDArray[np.float32]) -> int:
        blocks = self.arrays["blocks"]
        return max(int(scan(blocks, self.arrays["ids"], 0, len(blocks), query, self._scores, np.float32(-np.inf), -1)[1]), 0)

    def draw(self, query: NDArray[np.float32], uniform: float) -> int:
        block = int(uniform * self._actions) // LANES
        count = min(LANES, self._actions - block * LANES)
        score_block(self.arrays["blocks"][block], query, self._scores)
        rest = (uniform * self._actions - block * LANES) / count
        return int(self.arrays["ids"][block, draw_in_block(self._scores, count, self.options.temperature, rest)])

    def shares(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """The probability [B] with which a draw ends in each block, for any query [d]."""
        sizes = np.full(len(self.arrays["blocks"]), LANES)
        sizes[-1] = self._actions - LANES * (len(sizes) - 1)
        return sizes / self._actions
