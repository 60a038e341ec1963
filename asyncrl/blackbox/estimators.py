"""Gradient estimates from directions and returns, and which ticket evaluates which direction.

Convention: estimates are in units of sigma, without the factor 1/sigma (as in the code of Salimans et al. 2017), so that
the size of a step does not depend on sigma:

    vanilla     g = 1/M     sum_j V_j eps_j
    antithetic  g = 1/(2 M) sum_j (V+_j - V-_j) eps_j
    forward     g = 1/M     sum_j (V_j - V_0) eps_j            V_0: at the centre

over M directions; g * true_gradient_scale(sigma) is an unbiased estimate of the gradient of E[F(theta + sigma eps)] if V are
the unshaped returns. With several settings, direction j is weighted by sigma_0 / sigma_j, where sigma_0 is that of the
first setting, so that all directions estimate the same quantity. Source: [S001]; [S000] definition 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, unknown

Values = NDArray[np.float64]
Block = NDArray[np.floating]


@dataclass(frozen=True)
class Estimator:
    """A way to estimate a gradient from evaluations."""

    description: str
    per_direction: int
    """Tickets per direction."""
    centres: int
    """Tickets that evaluate the centre theta, which come first."""
    weights: Callable[[Values], Values]
    """From values [tickets] to the weights [M] of the directions; a direction with a NaN gets the weight 0."""


def _vanilla(values: Values) -> Values:
    return _mean_of(values)


def _antithetic(values: Values) -> Values:
    return _mean_of((values[0::2] - values[1::2]) / 2)


def _forward(values: Values) -> Values:
    return _mean_of(values[1:] - values[0])


def _mean_of(terms: Values) -> Values:
    """terms [M] divided by the number of those that are not NaN; 0 in place of NaN."""
    there = ~np.isnan(terms)
    weights: Values = np.where(there, terms, 0.0) / max(np.count_nonzero(there), 1)
    return weights


ESTIMATORS: dict[str, Estimator] = {
    "antithetic": Estimator("each direction and its mirror image", 2, 0, _antithetic),
    "vanilla": Estimator("each direction once", 1, 0, _vanilla),
    "forward": Estimator("each direction once, against the centre (forward finite differences)", 1, 1, _forward),
}


class Plan:
    """Which ticket of a generation evaluates which direction.

    estimator: one of ESTIMATORS. population: the number of tickets, at least 2, and even for antithetic; UserError otherwise.
    """

    def __init__(self, estimator: str, population: int) -> None:
        if estimator not in ESTIMATORS:
            raise unknown("estimator", estimator, ESTIMATORS)
        self.estimator = estimator
        self._kind = ESTIMATORS[estimator]
        allowed = "an even number from 2" if self._kind.per_direction == 2 else "2 or more"
        if population < 2 or population % self._kind.per_direction:
            raise UserError(f"population is {population} (allowed with the {estimator} estimator: {allowed})")
        self.tickets = population
        self.directions = (population - self._kind.centres) // self._kind.per_direction

    def place(self, ticket: int) -> tuple[int, int]:
        """Direction and sign of a ticket, which evaluates theta + sign sigma eps. The centre has sign 0."""
        if not 0 <= ticket < self.tickets:
            raise IndexError(f"ticket {ticket} of {self.tickets}")
        if ticket < self._kind.centres:
            return 0, 0
        j, mirrored = divmod(ticket - self._kind.centres, self._kind.per_direction)
        return j, -1 if mirrored else 1

    def pair(self, ticket: int) -> int:
        """The number that a ticket shares with those it is compared with: its mirror image, or all tickets if there is a centre."""
        return 0 if self._kind.centres else self.place(ticket)[0]

    def weights(self, values: Values, sigmas: Values | None = None) -> Values:
        """The weight of each direction, [M], from values [tickets] (NaN: left out with its mirror image) and sigmas [M]."""
        if len(values) != self.tickets:
            raise ValueError(f"{len(values)} values for {self.tickets} tickets")
        weights = self._kind.weights(np.asarray(values, np.float64))
        return weights if sigmas is None else weights * (sigmas[0] / sigmas)

    def gradient(self, block: Block, values: Values, sigmas: Values | None = None) -> Block:
        """The estimate [N], of the block's dtype, from block [M, N], values [tickets] and sigmas [M] (None: all are equal)."""
        return product(self.weights(values, sigmas), block)


def vanilla(block: Block, returns: Values, sigmas: Values | None = None) -> Block:
    """Estimate [N] from returns [M] of the directions block [M, N]; its variance is high unless returns are centred. sigmas [M]."""
    return Plan("vanilla", len(returns)).gradient(block, returns, sigmas)


def antithetic(block: Block, returns: Values, sigmas: Values | None = None) -> Block:
    """Estimate [N] from returns [2 M] of the directions block [M, N], each followed by its mirror image's. sigmas [M]."""
    return Plan("antithetic", len(returns)).gradient(block, returns, sigmas)


def forward(block: Block, returns: Values, sigmas: Values | None = None) -> Block:
    """Estimate [N] from returns [1 + M]: that of the centre, then those of the directions block [M, N]. sigmas [M]."""
    return Plan("forward", len(returns)).gradient(block, returns, sigmas)


def product(weights: Values, block: Block) -> Block:
    """weights [M] @ block [M, N], [N] in the block's precision: with float64 weights numpy would copy the whole block."""
    return weights.astype(block.dtype) @ block


def true_gradient_scale(sigma: float) -> float:
    """1/sigma, the factor from an estimate in units of sigma to the gradient. sigma: that of the first setting."""
    return 1.0 / sigma
