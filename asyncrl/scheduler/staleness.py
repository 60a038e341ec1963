"""Staleness that is injected: acting and computing with older parameters, at the throughput of the newest (`--staleness`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class OldCopies:
    """A worker's own copies of the vectors that it has read, of which it acts on an older one.

    They lie in a ring of its own memory: a round costs one more copy, and allocates nothing. In rounds modes a worker reads every
    version, so it acts on exactly that of `staleness` versions ago; elsewhere on the newest of its own that is at least so old.

    Writers and readers: the worker alone.
    When full: never. Of N + 1 copies all but the one that acts are younger than N versions, and each version is kept once.
    Crash:    a successor begins with none, and so with the newest parameters. A checkpoint has them (`arrays`).
    """

    def __init__(self, staleness: int, size: int):
        """`staleness`: N > 0, in versions; `size`: of a vector."""
        self._staleness = staleness
        self._vectors = np.zeros((staleness + 1, size), np.float32)
        self._versions = np.zeros(staleness + 1, np.int64)
        self._first, self._count = 0, 0  # the place of the one that acts, and how many there are from there on

    @classmethod
    def of(cls, staleness: int, size: int) -> OldCopies | None:
        """None where there is no staleness."""
        return cls(staleness, size) if staleness else None

    @staticmethod
    def bytes_of(staleness: int, size: int) -> int:
        """What one worker's need."""
        return 4 * size * (staleness + 1) if staleness else 0

    def exchange(self, local: NDArray[np.float32], version: int) -> int:
        """Keep local[N], which is of `version`, and put an older one in its place; returns whose version that is.

        As long as there is none that is old enough, it is the oldest that there is.
        """
        while self._count > 1 and self._versions[self._place(1)] <= version - self._staleness:
            self._first, self._count = self._place(1), self._count - 1
        if not self._count or self._versions[self._place(self._count - 1)] < version:
            place = self._place(self._count)
            self._vectors[place], self._versions[place] = local, version
            self._count += 1
        local[:] = self._vectors[self._first]
        return int(self._versions[self._first])

    def _place(self, number: int) -> int:
        return (self._first + number) % len(self._versions)

    def arrays(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """What a checkpoint keeps: vectors [C, N] and versions [C], the oldest first."""
        places = [self._place(number) for number in range(self._count)]
        return {"vectors": self._vectors[places], "versions": self._versions[places]}

    def restore(self, arrays: Mapping[str, NDArray[np.float32] | NDArray[np.int64]]) -> None:
        """Take back what `arrays` gave."""
        count = len(arrays["versions"])
        self._vectors[:count], self._versions[:count] = arrays["vectors"], arrays["versions"]
        self._first, self._count = 0, count
