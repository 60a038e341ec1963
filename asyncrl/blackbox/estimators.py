"""Gradient estimates from directions and returns, and which ticket evaluates what.

Convention: estimates are in units of sigma, without the factor 1/sigma (as Salimans et al. 2017 have it in code), so that
a step does not change with sigma:

    vanilla     g = 1/M     sum_j V_j eps_j
    antithetic  g = 1/(2 M) sum_j (V+_j - V-_j) eps_j
    forward     g = 1/M     sum_j (V_j - V_0) eps_j            V_0: at the centre

over M directions; g * true_gradient_scale(sigma) is an unbiased estimate of the gradient of E[F(theta + sigma eps)] when V are
the returns themselves. With several settings, direction j counts sigma_0 / sigma_j times, where sigma_0 is that of
the first, so that each direction estimates the same thing. Source: [S001]; [S000] definition 1.
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
    """One way to make a gradient from evaluations."""

    description: str
    per_direction: int
    """Tickets of a direction."""
    centres: int
    """Tickets at the centre, which come first."""
    weights: Callable[[Values], Values]
    """From values [tickets], of which NaN is left out with its direction, to weights [M] that are to be summed."""


def _vanilla(values: Values) -> Values:
    return _mean_of(values)


def _antithetic(values: Values) -> Values:
    return _mean_of((values[0::2] - values[1::2]) / 2)


def _forward(values: Values) -> Values:
    return _mean_of(values[1:] - values[0])


def _mean_of(terms: Values) -> Values:
    """Terms [M] divided by how many there are; 0 in place of NaN."""
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

    estimator: one of ESTIMATORS. population: tickets, 2 at least, and even when antithetic; else UserError.
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
        """Direction and sign of a ticket: it evaluates theta + sign sigma eps. The centre has sign 0."""
        if not 0 <= ticket < self.tickets:
            raise IndexError(f"ticket {ticket} of {self.tickets}")
        if ticket < self._kind.centres:
            return 0, 0
        j, mirrored = divmod(ticket - self._kind.centres, self._kind.per_direction)
        return j, -1 if mirrored else 1

    def pair(self, ticket: int) -> int:
        """Tickets with the same number are compared with each other: mirror images, or everything with the centre."""
        return 0 if self._kind.centres else self.place(ticket)[0]

    def weights(self, values: Values, sigmas: Values | None = None) -> Values:
        """What each direction counts, [M], from values [tickets] (NaN: left out with its mirror image) and sigmas [M]."""
        if len(values) != self.tickets:
            raise ValueError(f"{len(values)} values for {self.tickets} tickets")
        weights = self._kind.weights(np.asarray(values, np.float64))
        return weights if sigmas is None else weights * (sigmas[0] / sigmas)

    def gradient(self, block: Block, values: Values, sigmas: Values | None = None) -> Block:
        """The estimate [N], of the block's dtype, from block [M, N], values [tickets] and sigmas [M] (None: all the same)."""
        return product(self.weights(values, sigmas), block)


def vanilla(block: Block, returns: Values, sigmas: Values | None = None) -> Block:
    """Estimate [N] from one evaluation [M] of each direction of block [M, N]; high variance unless returns are centred."""
    return Plan("vanilla", len(returns)).gradient(block, returns, sigmas)


def antithetic(block: Block, returns: Values, sigmas: Values | None = None) -> Block:
    """Estimate [N] from returns [2 M] of each direction of block [M, N] and its mirror image, in turn."""
    return Plan("antithetic", len(returns)).gradient(block, returns, sigmas)


def forward(block: Block, returns: Values, sigmas: Values | None = None) -> Block:
    """Estimate [N] from returns [1 + M]: that of the centre, and then of each direction of block [M, N]."""
    return Plan("forward", len(returns)).gradient(block, returns, sigmas)


def product(weights: Values, block: Block) -> Block:
    """weights [M] @ block [M, N]. In the block's precision: float64 weights would make numpy copy the whole block."""
    return weights.astype(block.dtype) @ block


def true_gradient_scale(sigma: float) -> float:
    """1/sigma: what turns an estimate into one of the gradient itself. sigma: that of the first setting."""
    return 1.0 / sigma
