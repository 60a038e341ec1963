"""Observation normalisation shared by workers: each feeds its own statistics, everybody merges all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.ledger import Ledger
from asyncrl.shared.statistics import fold, merge, standardise


class Standardiser:
    """Keeps the shift and scale of a worker's observations up to date.

    The statistics travel as columns of the ledger, so they are published with the round that they belong to.
    """

    def __init__(self, ledger: Ledger, normaliser: NDArray[np.float32]):
        """`normaliser` [3, D] is what acting reads: see `asyncrl.heads.rounds.RoundArrays`."""
        self._ledger = ledger
        self._normaliser = normaliser
        normaliser[2, 0] = 1.0
        size = normaliser.shape[1]
        self._counts = np.zeros(ledger.workers)
        self._means = np.zeros((ledger.workers, size))
        self._squares = np.zeros((ledger.workers, size))
        self._mean, self._square = np.zeros(size), np.zeros(size)

    def refresh(self, records: Sequence[NDArray[np.float64]]) -> None:
        """Take shift and scale from these ledger records [columns], one of each worker, merged in worker order."""
        ledger = self._ledger
        for worker, record in enumerate(records):
            self._counts[worker] = ledger.column(record, "observation_count")[0]
            self._means[worker] = ledger.column(record, "observation_mean")
            self._squares[worker] = ledger.column(record, "observation_square")
        count = merge(self._counts, self._means, self._squares, self._mean, self._square)
        standardise(count, self._mean, self._square, self._normaliser[0], self._normaliser[1])

    def observe(self, draft: NDArray[np.float64], raw: NDArray[Any]) -> None:
        """Fold the observations raw[T, E, D] of a round into the worker's own statistics."""
        ledger = self._ledger
        count = ledger.column(draft, "observation_count")
        rows = raw.reshape(-1, raw.shape[-1])
        count[0] = fold(count[0], ledger.column(draft, "observation_mean"), ledger.column(draft, "observation_square"), rows)


def write_normaliser(shift: NDArray[np.floating], scale: NDArray[np.floating], into: NDArray[np.float32]) -> None:
    """Write shift [D], scale [D] and, to switch normalisation on, 1 into the normaliser [3, D]; nothing where D of them is 0."""
    if shift.size:
        into[0], into[1], into[2, 0] = shift, scale, 1.0
