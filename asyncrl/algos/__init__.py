"""Algorithms: one algorithm is one file, and its line in `ALGORITHMS`. Imports nothing heavy: the command line reads it.

    estimators   returns and advantages, arrays to arrays
    a3c          asynchronous advantage actor-critic; synchronous as a2c
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncrl.algos.a3c import A3COptions


@dataclass(frozen=True)
class AlgorithmEntry:
    """An algorithm as the command line and the registry's contract tests see it."""

    name: str
    description: str
    options_type: type
    default_mode: str


ALGORITHMS: dict[str, AlgorithmEntry] = {
    "a3c": AlgorithmEntry("a3c", "asynchronous advantage actor-critic: every worker acts and updates", A3COptions, "async"),
    "a2c": AlgorithmEntry("a2c", "the same with one averaged update a round (a3c --mode sync)", A3COptions, "sync"),
}
