"""ARS: augmented random search (Mania and others 2018), versions 1 and 2, with or without the best directions only.

    theta += learning_rate / (b sigma_R) sum over the b best directions of (r+ - r-) eps

The best are those with the largest max(r+, r-); sigma_R is the deviation of their 2 b returns. There is no 1/sigma.

Where the authors' code differs: it keeps every direction whose max reaches a percentile, so more than b where returns tie
(here exactly b; of ties the first), and it divides by a sigma_R of 0 (here that is flat: nothing changes). Of late
pairs (`late: ratio`) each return counts r (sign eps - d) instead of sign eps, by coordinate, where directions have a ratio:
`asyncrl.blackbox.ratios`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.perturbed import Kept, Perturbed
from asyncrl.blackbox.ratios import gradient
from asyncrl.blackbox.search import Evaluations, Setting
from asyncrl.blackbox.space import POLICIES, Space, Vector
from asyncrl.errors import UserError
from asyncrl.fields import COUNT_OR_ZERO, POSITIVE


@dataclass(frozen=True)
class ArsOptions(SearchOptions):
    """Options of augmented random search. The defaults are the paper's range for MuJoCo's smaller robots."""

    version: Literal["v1", "v2"] = "v2"
    """v1 leaves observations as they are, v2 normalizes them (v1 is normalize_observations False)."""
    top: Annotated[int, COUNT_OR_ZERO] = 0
    """Directions that an update keeps (the paper's b; variants V1-t and V2-t): the best ones, or 0 for all."""
    learning_rate: Annotated[float, POSITIVE] = 0.02
    """Step size (the paper's alpha: 0.01 to 0.03)."""
    sigma: Annotated[float, POSITIVE] = 0.03
    """Deviation of each component of a perturbation (the paper's nu; exploration settings may override it per direction)."""
    shaping: Literal["centered-ranks", "standardized", "none"] = "none"
    """What returns are turned into before they weigh directions; the paper has none but the division by sigma_R."""

    of_episodes: ClassVar[tuple[str, ...]] = (*SearchOptions.of_episodes, "version")

    @classmethod
    def for_functions(cls, sigma: float) -> dict[str, Any]:
        """The step size grows with sigma."""
        return {"learning_rate": cls.learning_rate / cls.sigma * sigma}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version == "v1":
            object.__setattr__(self, "normalize_observations", False)

    def check_named(self, named: Collection[str]) -> None:
        """Raise UserError where observations are to be normalised by name, and the version does not."""
        if self.version == "v1" and "normalize_observations" in named:
            raise UserError("normalize_observations = True cannot be used with version = v1, which is ars without (allowed: False; or v2)")


class Ars(Perturbed):
    """Augmented random search as `asyncrl.blackbox.search.Search`. Published: theta [N]. No further state."""

    figures = (*Perturbed.figures, "return_std")

    def __init__(self, options: ArsOptions, size: int, seed: int, settings: Sequence[Setting] = (), space: Space = POLICIES) -> None:
        super().__init__(options, size, seed, settings, "antithetic", space)
        if not 0 <= options.top <= self._plan.directions:
            raise UserError(
                f"top = {options.top} cannot be used with population = {options.population}"
                f" (allowed: up to its {self._plan.directions} directions, 0 for all)"
            )
        self._top, self._rate = options.top or self._plan.directions, options.learning_rate

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1 of the best pairs; the figure return_std is sigma_R."""
        kept, figures = self._keep(version, batch, whole_pairs=True)
        if kept is None:
            return figures
        best = best_pairs(kept, self._top)
        if best.value.min() == best.value.max():
            return {**figures, "flat": 1.0}
        deviation = float(np.std(best.value))
        g = gradient(self._samples(best, best.value / deviation))
        theta = (self.theta + 2.0 * self._rate * g).astype(self.theta.dtype)  # g is a mean over 2 b evaluations
        return {"return_std": deviation, "gradient_norm": float(np.linalg.norm(g)), **self._replaced(version, theta), **figures}


def best_pairs(kept: Kept, top: int) -> Kept:
    """The pairs with the largest value of their two, as many as `top`; kept has whole pairs, one after the other."""
    best = kept.value.reshape(-1, 2).max(axis=1)
    order = np.argsort(-best, kind="stable")[:top]
    chosen: NDArray[np.int64] = (2 * np.sort(order)[:, None] + np.arange(2)).ravel()
    value: Vector = kept.value[chosen]
    return Kept(kept.generation[chosen], kept.ticket[chosen], kept.cohort[chosen], value)
