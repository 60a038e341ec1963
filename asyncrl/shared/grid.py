"""Many producers and many consumers: one ring for each pair, so that every ring has one producer and one consumer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout, padded_words, prefixed
from asyncrl.shared.rings import WORDS, Arrays

AnyRing = TypeVar("AnyRing")
"""A kind of ring: `rings.Ring`, or another with the same words."""


class Grid(Generic[AnyRing]):
    """One ring for each pair of a producer and a consumer. Records of one pair stay in order; between pairs there is no order.

    Writers:  as in the rings: producer n writes its words in each of its rings, consumer m in each of its own.
    Readers:  likewise.
    Stale, when full, crash: as in the rings. Records in the rings of a dead consumer wait for its replacement.
    """

    def __init__(self, arrays: Arrays, producers: int, consumers: int, make: Callable[[dict[str, Any], int, int], AnyRing]):
        """`make(arrays, producer, consumer)` returns the ring of a pair, made from that ring's arrays, with its parking and places."""
        self.words: NDArray[np.int64] = arrays["words"]
        self.producers, self.consumers = producers, consumers
        self._arrays, self._make = arrays, make

    @staticmethod
    def layout(producers: int, consumers: int, ring: Layout) -> Layout:
        """`ring`: the layout of one of its rings. Ring (n, m) is number ``m * producers + n``."""
        count = producers * consumers
        entries: dict[str, Any] = {"words": padded_words(2 * count)}
        payload = {name: entry for name, entry in ring.items() if name != "words"}
        for index in range(count):
            entries.update(prefixed(str(index), payload))
        return entries

    def ring(self, producer: int, consumer: int) -> AnyRing:
        """The ring of one pair."""
        index = consumer * self.producers + producer
        start = f"{index}/"
        parts = {name.removeprefix(start): self._arrays[name] for name in self._arrays if name.startswith(start)}
        parts["words"] = self.words[index * WORDS : (index + 1) * WORDS]
        return self._make(parts, producer, consumer)
