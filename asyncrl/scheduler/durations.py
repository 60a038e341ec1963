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
from typing import TYPE_CHECKING

from asyncrl.errors import UserError, unknown
from asyncrl.fields import NOT_NEGATIVE, POSITIVE, Range

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Distribution:
    """A kind of durations."""

    usage: str
    draw: Callable[..., float]
    """(generator, the numbers of `usage`) -> a duration."""
    allowed: tuple[Range, ...] = (POSITIVE,)
    """For each number."""

    def __str__(self) -> str:
        words = self.usage.split(":")[1:]
        return ", ".join([self.usage, *(f"{word} {allowed}" for word, allowed in zip(words, self.allowed))])


def _lognormal(generator: np.random.Generator, mean: float, sigma: float) -> float:
    return float(generator.lognormal(math.log(mean) - 0.5 * sigma * sigma, sigma))


def _pareto(generator: np.random.Generator, mean: float, shape: float) -> float:
    return float(mean * (shape - 1.0) / shape * (1.0 + generator.pareto(shape)))


DISTRIBUTIONS: dict[str, Distribution] = {
    "constant": Distribution("constant:S", lambda generator, duration: float(duration), (NOT_NEGATIVE,)),
    "exponential": Distribution("exponential:MEAN", lambda generator, mean: float(generator.exponential(mean))),
    "lognormal": Distribution("lognormal:MEAN:SIGMA", _lognormal, (POSITIVE, POSITIVE)),
    "pareto": Distribution("pareto:MEAN:SHAPE", _pareto, (POSITIVE, Range(1, open_low=True))),
}


@dataclass(frozen=True)
class Durations:
    """A distribution with its numbers."""

    name: str
    numbers: tuple[float, ...]

    def draw(self, generator: np.random.Generator) -> float:
        """A duration, in the unit of the numbers."""
        return DISTRIBUTIONS[self.name].draw(generator, *self.numbers)


def parse_durations(text: str) -> Durations:
    """``exponential:0.01`` and the like. Raises UserError for what can't be read."""
    name, _, rest = text.strip().partition(":")
    if name not in DISTRIBUTIONS:
        raise unknown("distribution of durations", name, [one.usage for one in DISTRIBUTIONS.values()])
    kind = DISTRIBUTIONS[name]
    try:
        numbers = tuple(float(word) for word in rest.split(":"))
    except ValueError:
        numbers = ()
    if len(numbers) != len(kind.allowed) or not all(allowed.allows(one) for one, allowed in zip(numbers, kind.allowed)):
        raise UserError(f"durations {text.strip()!r} cannot be used (allowed: {kind})")
    return Durations(name, numbers)
