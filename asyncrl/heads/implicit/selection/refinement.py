"""Derivative-free refinement of sampled actions, for energies that no index can search.

Source: Florence et al., "Implicit Behavioral Cloning" (2021), algorithm 1, and its published code, google-research/ibc,
`ibc/agents/mcmc.py`, `iterative_dfo`. In each of three rounds the energies of all samples are computed; between rounds samples are drawn
anew from the softmax of the negative energies, normal noise is added to them, with a deviation of .33 at first and half as much in each
later round, and they are clipped to their bounds.

The published code draws anew after the last round too, but returns the probabilities from before that, which then belong to other
samples. Here, as in the paper, the last round draws nothing, and the best sample is the one of lowest energy in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.shared.compiled import njit

Energy = Callable[[NDArray[np.float32], NDArray[np.float32]], Any]
"""energy(samples [N, a], energies [N]) writes the energies; compiled or not."""


@njit(cache=True, nogil=True, error_model="numpy")
def resample(samples, energies, temperature, uniform, drawn):  # type: ignore[no-untyped-def]
    """Write drawn[N, a]: N rows of samples[N, a], by the softmax of -energies[N] / temperature, at (i + uniform) / N of its mass.

    One number in [0, 1) draws them all: systematic resampling, by which a sample of weight w comes N w times, rounded up or down. The
    published code draws each on its own.
    """
    count, lowest, total = energies.size, energies.min(), 0.0
    for n in range(count):
        total += math.exp((lowest - np.float64(energies[n])) / temperature)
    n, reached = 0, math.exp((lowest - np.float64(energies[0])) / temperature)
    for i in range(count):
        while n + 1 < count and reached <= (i + uniform) / count * total:
            n += 1
            reached += math.exp((lowest - np.float64(energies[n])) / temperature)
        drawn[i] = samples[n]


@njit(cache=True, nogil=True, error_model="numpy")
def perturb(samples, noise, deviation, low, high):  # type: ignore[no-untyped-def]
    """Add noise[N, a] times `deviation` to samples[N, a], within low[a] and high[a]."""
    for n in range(samples.shape[0]):
        for j in range(samples.shape[1]):
            samples[n, j] = min(max(samples[n, j] + deviation * noise[n, j], low[j]), high[j])


@njit(cache=True, nogil=True, error_model="numpy")
def lowest_energy(energies):  # type: ignore[no-untyped-def]
    """The number of the lowest of energies[N], of equal ones the first."""
    best = 0
    for n in range(1, energies.size):
        if energies[n] < energies[best]:
            best = n
    return best


class Refinement:
    """Refines samples of actions [N, a] by their energies; holds the scratch for it.

    `deviation` is in units of the actions, as in the paper, whose actions lie within [-1, 1].
    """

    def __init__(
        self, low: NDArray[np.float32], high: NDArray[np.float32], rounds: int = 3, deviation: float = 0.33, temperature: float = 1.0
    ):
        """low, high: bounds [a]. Raises UserError for bounds that are not finite, no rounds, or a temperature that is not above 0."""
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UserError("actions without bounds cannot be refined (allowed: a Box with finite bounds)")
        if rounds < 1 or not temperature > 0.0:
            raise UserError(f"rounds = {rounds}, temperature = {temperature:g} cannot be used (allowed: at least 1, above 0)")
        self.low, self.high = np.asarray(low, np.float32), np.asarray(high, np.float32)
        self.rounds, self.deviation, self.temperature = rounds, deviation, temperature

    def __call__(self, energy: Energy, samples: NDArray[np.float32], generator: np.random.Generator) -> int:
        """Refine samples [N, a] in place and return the number of the one of lowest energy.

        `energy` writes energies [N].
        """
        count = len(samples)
        energies, drawn = np.empty(count, np.float32), np.empty_like(samples)
        deviation = np.float32(self.deviation)
        energy(samples, energies)
        for _ in range(self.rounds - 1):
            resample(samples, energies, self.temperature, generator.random(), drawn)
            samples[:] = drawn
            perturb(samples, generator.standard_normal(samples.shape, np.float32), deviation, self.low, self.high)
            deviation *= np.float32(0.5)
            energy(samples, energies)
        return int(lowest_energy(energies))
