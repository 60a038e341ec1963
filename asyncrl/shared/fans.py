"""Many producers, many consumers: one ring for each pair, so that every ring keeps one producer and one consumer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout, padded_words, prefixed
from asyncrl.shared.atomics import load_acquire
from asyncrl.shared.byte_rings import ByteRing
from asyncrl.shared.compiled import njit
from asyncrl.shared.parking import Parking
from asyncrl.shared.rings import CONSUMED, DROPPED, HEAD, WORDS, Arrays, Ring, waited_for

AnyRing = TypeVar("AnyRing", bound=Ring | ByteRing)


@njit(cache=True)
def _first_unread(words, first, count, start):  # type: ignore[no-untyped-def]
    """Index among `count` rings of the first one with something unread, beginning at `start`; -1 where there is none."""
    for turn in range(count):
        index = (start + turn) % count
        base = (first + index) * WORDS
        if load_acquire(words, base + HEAD) != words[base + CONSUMED] + words[base + DROPPED]:
            return index
    return -1


@njit(cache=True)
def _first_with_room(words, first, step, count, start, most):  # type: ignore[no-untyped-def]
    """Index among `count` rings, `step` apart, of the first one that holds at most `most`, beginning at `start`; or -1."""
    for turn in range(count):
        index = (start + turn) % count
        base = (first + index * step) * WORDS
        if words[base + HEAD] - load_acquire(words, base + CONSUMED) <= most:
            return index
    return -1


class FanIn(Generic[AnyRing]):
    """What one consumer reads: a ring from each producer, taken in turn."""

    def __init__(self, rings: Sequence[AnyRing], words: NDArray[np.int64], first: int, parking: Parking | None, place: int):
        self.rings = rings
        self._words, self._first = words, first
        self._parking, self._place = parking, place
        self._turn = 0

    def next(self) -> AnyRing | None:
        """The next ring, in turn, that has something unread; None where none has. Its index is that of its producer."""
        index = _first_unread(self._words, self._first, len(self.rings), self._turn)
        if index < 0:
            return None
        self._turn = index + 1
        return self.rings[index]

    def any_unread(self) -> bool:
        """Whether some ring has something unread."""
        return bool(_first_unread(self._words, self._first, len(self.rings), self._turn) >= 0)

    def wait(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Sleep until some ring has something unread; False after `seconds`, or once `unless()` holds."""
        if not self.any_unread():
            waited_for(self._parking, self._place, self.any_unread, seconds, unless)
        return self.any_unread()


class FanOut(Generic[AnyRing]):
    """What one producer writes: a ring to each consumer. `next` prefers the consumer whose turn it is, and skips full ones."""

    def __init__(self, rings: Sequence[AnyRing], words: NDArray[np.int64], first: int, step: int, parking: Parking | None, place: int):
        self.rings = rings
        self._words, self._first, self._step = words, first, step
        self._parking, self._place = parking, place
        one: Ring | ByteRing = rings[0]
        self._capacity = one.capacity if isinstance(one, ByteRing) else one.slots
        if one.when_full == "drop_oldest":
            self._capacity = np.iinfo(np.int64).max  # there is always room
        self._turn = 0

    def next(self, size: int = 1) -> AnyRing | None:
        """The next ring, in turn, with room for `size` (slots; bytes for a ByteRing); None where all are full."""
        index = self._with_room(size)
        if index < 0:
            return None
        self._turn = index + 1
        return self.rings[index]

    def wait(self, size: int = 1, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Sleep until some ring has room for `size`; False after `seconds`, or once `unless()` holds."""
        if self._with_room(size) < 0:
            waited_for(self._parking, self._place, lambda: self._with_room(size) >= 0, seconds, unless)
        return self._with_room(size) >= 0

    def _with_room(self, size: int) -> int:
        return int(_first_with_room(self._words, self._first, self._step, len(self.rings), self._turn, self._capacity - size))


class Grid(Generic[AnyRing]):
    """A ring for each pair of a producer and a consumer. Records of one pair keep their order; pairs know no order.

    Writers:  as in the rings: producer n writes its line in each of its rings, consumer m in each of its own.
    Readers:  likewise.
    Stale:    `next` may miss what is published while it looks; the next call sees it.
    When full: `FanOut.next` skips full rings; with all of them full it returns None, and `FanOut.wait` sleeps.
    Crash:    as in the rings. What lies in the rings of a dead consumer waits for its replacement.
    """

    def __init__(self, arrays: Arrays, producers: int, consumers: int, make: Callable[[dict[str, Any], int, int], AnyRing]):
        """`make(arrays of one ring, producer, consumer)` makes a ring, with its parking and places."""
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

    def producer(self, producer: int, parking: Parking | None = None, place: int = -1) -> FanOut[AnyRing]:
        """The producer's end of its rings; it sleeps at `place`."""
        rings = [self.ring(producer, consumer) for consumer in range(self.consumers)]
        return FanOut(rings, self.words, producer, self.producers, parking, place)

    def consumer(self, consumer: int, parking: Parking | None = None, place: int = -1) -> FanIn[AnyRing]:
        """The consumer's end of its rings; it sleeps at `place`."""
        rings = [self.ring(producer, consumer) for producer in range(self.producers)]
        return FanIn(rings, self.words, consumer * self.producers, parking, place)
