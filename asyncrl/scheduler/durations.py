"""Durations that a user names by their distribution: how they are spelled, and how they are drawn. All are told by their mean.

    constant:S              always S
    exponential:MEAN        waits without a memory
    lognormal:MEAN:SIGMA    SIGMA is the deviation of the logarithm
    pareto:MEAN:SHAPE       heavy tails: P(longer than t) falls as t^-SHAPE; up to SHAPE 2 the variance is infinite
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, nearest
from asyncrl.fields import NOT_NEGATIVE, POSITIVE, Range

Drawn = NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """A kind of durations."""

    usage: str
    allowed: tuple[Range, ...]
    """For each number of `usage`."""
    draw: Callable[..., Drawn]
    """(generator, count, the numbers) -> durations [count]."""

    def __str__(self) -> str:
        words = self.usage.split(":")[1:]
        return ", ".join([self.usage, *(f"{word} {allowed}" for word, allowed in zip(words, self.allowed))])


def _constant(generator: np.random.Generator, count: int, duration: float) -> Drawn:
    return np.full(count, duration)


def _exponential(generator: np.random.Generator, count: int, mean: float) -> Drawn:
    return generator.exponential(mean, count)


def _lognormal(generator: np.random.Generator, count: int, mean: float, sigma: float) -> Drawn:
    return generator.lognormal(math.log(mean) - 0.5 * sigma * sigma, sigma, count)


def _pareto(generator: np.random.Generator, count: int, mean: float, shape: float) -> Drawn:
    return mean * (shape - 1.0) / shape * (1.0 + generator.pareto(shape, count))


DISTRIBUTIONS: dict[str, Distribution] = {
    "constant": Distribution("constant:S", (NOT_NEGATIVE,), _constant),
    "exponential": Distribution("exponential:MEAN", (POSITIVE,), _exponential),
    "lognormal": Distribution("lognormal:MEAN:SIGMA", (POSITIVE, NOT_NEGATIVE), _lognormal),
    "pareto": Distribution("pareto:MEAN:SHAPE", (POSITIVE, Range(1, open_low=True)), _pareto),
}


@dataclass(frozen=True)
class Durations:
    """A distribution with its numbers."""

    name: str
    numbers: tuple[float, ...]

    def draw(self, generator: np.random.Generator, count: int = 1) -> Drawn:
        """Durations [count], in the unit of the numbers."""
        return DISTRIBUTIONS[self.name].draw(generator, count, *self.numbers)


def parse_durations(text: str) -> Durations:
    """``exponential:0.01`` and the like. Raises UserError for what can't be read."""
    name, _, rest = text.strip().partition(":")
    if name not in DISTRIBUTIONS:
        usages = ", ".join(one.usage for one in DISTRIBUTIONS.values())
        raise UserError(f"unknown distribution of durations {name!r}{nearest(name, DISTRIBUTIONS)} (allowed: {usages})")
    kind = DISTRIBUTIONS[name]
    try:
        numbers = tuple(float(word) for word in rest.split(":"))
    except ValueError:
        numbers = ()
    if len(numbers) != len(kind.allowed) or not all(allowed.allows(one) for one, allowed in zip(numbers, kind.allowed)):
        raise UserError(f"durations {text.strip()!r} cannot be used (allowed: {kind})")
    return Durations(name, numbers)
