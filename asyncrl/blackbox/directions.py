"""Perturbations that any process can compute from (seed, generation, direction), so that none are sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.kinds import KINDS, Stream
from asyncrl.blackbox.lazy import Lazy
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError, unknown

KEPT = 2  # generations whose blocks are cached: the one that is evaluated, and the one from which the learner updates


@dataclass
class _Block:
    """The directions of a generation, as far as they were requested."""

    rows: NDArray[np.float32]
    """[count, N]"""
    filled: set[int]
    """Settings whose rows were computed."""


class Directions:
    """The directions of a search: eps [N] with E[eps eps^T] = I, not multiplied by sigma.

    seed: of the run. size: N. count: directions per generation. settings: direction j has settings[j % len(settings)];
    orthogonal and Hadamard blocks consist of the directions of one setting and generation. The same arguments give the
    same bits in any process, whatever the number of threads of its linear algebra. lazy: where parameters rest, directions are drawn in
    the space of the others alone (so orthogonal ones are orthogonal there), and are 0 elsewhere. Raises UserError for an unknown kind, no
    settings, a sigma that is not positive and finite, or a count or size below 1. Not thread-safe.
    """

    def __init__(self, seed: int, size: int, count: int, settings: Sequence[Setting], lazy: Lazy | None = None) -> None:
        if size < 1 or count < 1:
            raise UserError(f"{count} directions of {size} parameters were asked for (allowed: at least 1 of each)")
        if not settings:
            raise UserError("no exploration setting was given (allowed: at least 1)")
        for setting in settings:
            if setting.kind not in KINDS:
                raise unknown("kind of directions", setting.kind, KINDS)
            if not (math.isfinite(setting.sigma) and setting.sigma > 0):
                raise UserError(f"sigma is {setting.sigma:g} (allowed: a positive number)")
        self.size = size
        self.count = count
        self.settings = tuple(settings)
        self._kinds = [KINDS[setting.kind] for setting in settings]
        self._stream = Stream(seed)
        self._blocks: dict[int, _Block] = {}
        self._lazy = lazy

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """Standard deviation of each direction, [count]."""
        return np.resize(np.array([setting.sigma for setting in self.settings]), self.count)

    @property
    def normal(self) -> NDArray[np.bool_]:
        """Whether each direction is of a kind whose entries are marginally normal, [count]."""
        return np.resize(np.array([kind.normal for kind in self._kinds]), self.count)

    def sigma(self, j: int) -> float:
        """Standard deviation of direction j."""
        return self.settings[j % len(self.settings)].sigma

    def direction(self, generation: int, j: int, out: NDArray[np.float32]) -> None:
        """Write direction j of a generation into out [N] (contiguous). Raises IndexError if there is no direction j.

        For kinds that are drawn together (`Kind.together`) the setting's whole block is computed and cached.
        """
        if not 0 <= j < self.count:
            raise IndexError(f"direction {j} of {self.count}")
        number, setting = divmod(j, len(self.settings))
        block = self._blocks.get(generation)
        if self._kinds[setting].together or (block is not None and setting in block.filled):
            out[:] = self._filled(generation, (setting,))[j]
        else:
            self._fill(generation, setting, number, out[None])

    def block(self, generation: int) -> NDArray[np.float32]:
        """All directions of a generation, [count, N], read-only. Blocks of the two generations used last are cached."""
        rows = self._filled(generation, range(len(self.settings))).view()
        rows.flags.writeable = False
        return rows

    def _filled(self, generation: int, settings: Sequence[int]) -> NDArray[np.float32]:
        """The rows [count, N] of a generation, of which those of the given settings are filled."""
        block = self._blocks.pop(generation, None)
        if block is None:
            block = _Block(np.empty((self.count, self.size), np.float32), set())
        self._blocks[generation] = block  # now the last one, since a dict keeps the order of insertion
        while len(self._blocks) > KEPT:
            del self._blocks[next(iter(self._blocks))]
        for setting in settings:
            if setting not in block.filled:
                self._fill(generation, setting, 0, block.rows[setting :: len(self.settings)])
                block.filled.add(setting)
        return block.rows

    def _fill(self, generation: int, setting: int, first: int, out: NDArray[np.float32]) -> None:
        self._stream.generation, self._stream.setting = generation, setting
        varied = slice(None) if self._lazy is None else self._lazy.varied(generation)
        self._kinds[setting].fill(self._stream, first, out[:, varied])
        if varied.stop is not None:
            out[:, varied.stop :] = 0.0
