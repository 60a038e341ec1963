"""Algorithms: one algorithm is one file, and its line in `ALGORITHMS`. Imports nothing heavy: the command line reads it.

    estimators   returns and advantages, arrays to arrays
    a3c          asynchronous advantage actor-critic; synchronous as a2c
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asyncrl.algos.a3c import A3COptions, loss, output_weights


@dataclass(frozen=True)
class AlgorithmEntry:
    """An algorithm as the command line and the registry's contract tests see it."""

    name: str
    description: str
    options_type: type
    default_mode: str
    loss: Callable[..., Any]
    """As `asyncrl.algos.a3c.loss`: torch tensors to the loss and its parts."""
    output_weights: Callable[..., Any]
    """As `asyncrl.algos.a3c.output_weights`: the derivative of `loss` by what a head computes, written out."""


_A3C = (A3COptions, "async", loss, output_weights)
_A2C = (A3COptions, "sync", loss, output_weights)

ALGORITHMS: dict[str, AlgorithmEntry] = {
    "a3c": AlgorithmEntry("a3c", "asynchronous advantage actor-critic: every worker acts and updates", *_A3C),
    "a2c": AlgorithmEntry("a2c", "the same with one averaged update a round (a3c --mode sync)", *_A2C),
}
