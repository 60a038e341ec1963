"""The shared words of the places that have sites: who works where, and how it goes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE as LINE
from asyncrl.shared.arrays import Layout, padded_words
from asyncrl.shared.atomics import load_acquire, store_release

FIGURES = ("evaluations", "latency", "in_flight", "deaths", "lag_sum", "late", "bytes", "waiting", "silences", "workers", "up")
"""What is known of a site.

    evaluations  handed in, since the session began
    latency      seconds between an offer and its acknowledgement, smoothed
    in_flight    tickets that it has
    deaths       sites that were lost
    lag_sum      versions by which evaluations were old when they were handed in, in all
    late         evaluations that came back after another had done them, and do not count
    bytes        of parameters and tickets that were sent
    waiting      seconds in which it had no ticket, although it was there
    silences     how often its tickets were given to others since it did not answer
    workers      its processes
    up           1 while it is there
"""


class SiteWords:
    """One row per site.

    Writers:  row i: the process that holds the place of site i, and its successor, which goes on from the counts that it finds.
    Readers:  the main process, for reports; the other places, to take another node (`nodes`).
    Torn:     each number is one word; numbers of a row may be of different moments.
    When full: nothing grows.
    Crash:    a dead process leaves its node taken until its successor has chosen one, or for good where there is none.
    """

    def __init__(self, arrays: Mapping[str, NDArray]):
        """`arrays`: those of `layout`."""
        self.figures: NDArray[np.float64] = arrays["figures"]  # [sites, FIGURES]
        self._nodes: NDArray[np.int64] = arrays["nodes"]
        self.sites = len(self.figures)

    @staticmethod
    def layout(sites: int) -> Layout:
        """For so many sites."""
        return {"figures": ((sites, len(FIGURES)), np.float64), "nodes": padded_words(sites)}

    def add(self, site: int, name: str, value: float) -> None:
        """Add to a count."""
        self.figures[site, FIGURES.index(name)] += value

    def put(self, site: int, name: str, value: float) -> None:
        """Overwrite a figure."""
        self.figures[site, FIGURES.index(name)] = value

    def get(self, site: int, name: str) -> float:
        """A figure."""
        return float(self.figures[site, FIGURES.index(name)])

    def take(self, site: int, key: str) -> bool:
        """Take the node of this key for a site; False where another site has it. "" takes none.

        Of two that take one at the same time at least one sees the other, since each writes before it looks; perhaps both, and then
        neither has it, and both try again.
        """
        number = zlib.crc32(key.encode()) + 1 if key else 0
        store_release(self._nodes, site * LINE, number)
        if not key:
            return True
        for other in range(self.sites):
            if other != site and load_acquire(self._nodes, other * LINE) == number:
                store_release(self._nodes, site * LINE, 0)
                return False
        return True
