"""ES: evolution strategies as a stochastic gradient method (Salimans and others 2017), with three estimators.

A step of the optimizer along g = mean over evaluations of V sign eps (no 1/sigma; `asyncrl.blackbox.estimators`), less
weight_decay theta, which goes through the optimizer like the gradient, as in the authors' code. Late evaluations
(`late: ratio`) count V r (sign eps - d) instead, by coordinate, where directions have a ratio: `asyncrl.blackbox.ratios`.

Where paper and code differ: the paper's algorithm 2 has a factor 1/sigma and no mirror images; code and section 2.1 have
mirrored evaluations, ranks, Adam and no 1/sigma, and so has this. Ties share a rank here; the code breaks them by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.perturbed import Perturbed
from asyncrl.blackbox.ratios import gradient
from asyncrl.blackbox.search import Evaluations, Setting
from asyncrl.blackbox.space import POLICIES, Space
from asyncrl.fields import DECAY, NOT_NEGATIVE, POSITIVE
from asyncrl.shared.optimizers import Adam, ClipUp, Optimizer, Sgd

LARGEST = 1e18
"""Of a gradient's entries: the squares that Adam keeps would not be finite in float32."""


@dataclass(frozen=True)
class EsOptions(SearchOptions):
    """Options of evolution strategies. The defaults keep the authors' ratio of step to sigma for linear policies' larger sigma."""

    estimator: Literal["antithetic", "vanilla", "forward"] = "antithetic"
    """Each direction with its mirror image, once, or once and compared with the centre."""
    optimizer: Literal["adam", "sgd", "clipup"] = "adam"
    """Rule of the update."""
    learning_rate: Annotated[float, POSITIVE] = 0.02
    """Step size in units of parameters. adam: of each of them (0.4 sigma a step); sgd: times a gradient of about
    0.3 / sqrt(population) in each with ranks, so about 0.5; clipup: length of the whole step without momentum (its limit is
    max_speed times that), so about 0.1."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.005
    """This times the parameters is subtracted from the gradient."""
    momentum: Annotated[float, DECAY] = 0.9
    """SGD's and ClipUp's momentum."""
    max_speed: Annotated[float, POSITIVE] = 2.0
    """ClipUp: the longest step, in learning rates."""
    adam_betas: Annotated[tuple[float, float], DECAY] = (0.9, 0.999)
    """Adam: decay of the mean and of the mean square."""
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-8
    """Adam: keeps the division finite."""

    @classmethod
    def for_functions(cls, sigma: float) -> dict[str, Any]:
        """The step size grows with sigma, and there is no weight decay: a function gives no reason to be drawn to 0."""
        return {"learning_rate": cls.learning_rate / cls.sigma * sigma, "weight_decay": 0.0}


class Es(Perturbed):
    """Evolution strategies as `asyncrl.blackbox.search.Search`. Published: theta [N].

    state besides: `statistics` float32 [S, N] of the optimizer, `updates` int64 [1] that it has made.
    """

    def __init__(self, options: EsOptions, size: int, seed: int, settings: Sequence[Setting] = (), space: Space = POLICIES) -> None:
        super().__init__(options, size, seed, settings, options.estimator, space)
        self._rule, self._rate, self._decay = _rule(options), options.learning_rate, options.weight_decay
        self.state["statistics"] = np.zeros((max(self._rule.statistics, 1), size), np.float32)
        self.state["updates"] = np.zeros(1, np.int64)

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1 by one step of the optimizer."""
        kept, figures = self._keep(version, batch)
        if kept is None:
            return figures
        g = gradient(self._samples(kept, kept.value))
        theta, count = self.theta.copy(), self.state["updates"]
        down = self._decay * theta - g
        if not np.abs(down).max() < LARGEST:
            return {**figures, "not_finite": 1.0}
        count += 1
        # Parameters that rested keep still: momentum and decay would move them, and nothing is known of them.
        part = self._part(kept)
        place = (theta[part], self.state["statistics"][:, part])
        self._rule.step(place, down[part].astype(np.float32), slice(None), 1.0, self._rate, int(count[0]))
        return {"gradient_norm": float(np.linalg.norm(g)), **self._replaced(version, theta), **figures}


def _rule(options: EsOptions) -> Optimizer:
    if options.optimizer == "adam":
        return Adam(options.adam_betas, options.optimizer_epsilon)
    return Sgd(options.momentum) if options.optimizer == "sgd" else ClipUp(options.momentum, options.max_speed)
