"""The valid actions of restricted environments: spheres in the unit cube to which a Box is scaled."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, unknown

SPHERES_PER_COMPONENT = 33
CODES_SEED = 123
"""The seed of the centres in the research code of seed 002."""
DIFFICULTIES = ("code", "hard", "harder")

# Multipliers of the spheres' volume. First the research code's; with the others fewer actions are valid.
_MULTIPLIERS = {1: (3.0, 2.0, 1.0), 3: (1.65, 1.0, 0.5), 17: (20.0, 10.0, 5.0)}
_OTHERS = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Spheres:
    """`count` spheres of one radius, whose centres numpy's RandomState(seed) draws uniformly in the cube [0, 1]^components."""

    components: int
    count: int
    radius: float
    seed: int = CODES_SEED

    @classmethod
    def of_difficulty(cls, components: int, difficulty: str = "code", seed: int = CODES_SEED) -> Spheres:
        """The research code's spheres, or smaller ones. Raises UserError for another word than those of DIFFICULTIES.

        A sphere has the volume V = multiplier * 0.6 / 33, so the radius is (V Gamma(n/2 + 1) / pi^(n/2))^(1/n). With seed 123
        these shares of the box are valid: one component 80, 65 and 42 % (code, hard, harder), three 88, 75 and 53 %, six 77, 57
        and 38 %, eight 71, 53 and 35 %.
        """
        if difficulty not in DIFFICULTIES:
            raise unknown("difficulty", difficulty, DIFFICULTIES)
        volume = _MULTIPLIERS.get(components, _OTHERS)[DIFFICULTIES.index(difficulty)] * 0.6 / SPHERES_PER_COMPONENT
        radius = (volume * math.gamma(components / 2 + 1) / math.pi ** (components / 2)) ** (1 / components)
        return cls(components, SPHERES_PER_COMPONENT * components, radius, seed)

    def __post_init__(self) -> None:
        if self.components < 1 or self.count < 1:
            raise UserError(f"{self.count} spheres in {self.components} components cannot be used (allowed: from 1 each)")
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise UserError(f"radius = {self.radius} cannot be used (allowed: numbers above 0)")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed = {self.seed} cannot be used (allowed: 0 to {2**32 - 1})")

    @functools.cached_property
    def centres(self) -> NDArray[np.float64]:
        """[count, components]"""
        return np.random.RandomState(self.seed).random_sample((self.count, self.components))

    def contain(self, unit: NDArray[np.float64]) -> bool:
        """Whether a point, unit[components] of the cube, lies within a sphere."""
        apart = self.centres - unit
        return bool(np.einsum("ij,ij->i", apart, apart).min() < self.radius * self.radius)
