"""The two sides of a grid of rings: a producer's ring to each consumer, a consumer's ring from each producer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.bench.byte_rings import ByteRing
from asyncrl.shared.atomics import load_acquire
from asyncrl.shared.compiled import njit
from asyncrl.shared.grid import Grid
from asyncrl.shared.parking import Parking
from asyncrl.shared.rings import CONSUMED, DROPPED, HEAD, WORDS, Ring, waited_for

AnyRing = TypeVar("AnyRing", bound=Ring | ByteRing)


@njit(cache=True)
def _first_unread(words, first, count, start):  # type: ignore[no-untyped-def]
    """Index among `count` rings of the first one with an unread record, starting the search at `start`; -1 if there is none."""
    for turn in range(count):
        index = (start + turn) % count
        base = (first + index) * WORDS
        if load_acquire(words, base + HEAD) != words[base + CONSUMED] + words[base + DROPPED]:
            return index
    return -1


@njit(cache=True)
def _first_with_room(words, first, step, count, start, most):  # type: ignore[no-untyped-def]
    """Index among `count` rings, `step` apart, of the first one that holds at most `most`, searched from `start`; -1 if there is none."""
    for turn in range(count):
        index = (start + turn) % count
        base = (first + index * step) * WORDS
        if words[base + HEAD] - load_acquire(words, base + CONSUMED) <= most:
            return index
    return -1


class FanIn(Generic[AnyRing]):
    """The consumer's side: one ring from each producer, read in turn."""

    def __init__(self, rings: Sequence[AnyRing], words: NDArray[np.int64], first: int, parking: Parking | None, place: int):
        """`words`: int64 indices of all rings, shape [rings * WORDS]; `first`: number of this consumer's first ring among them."""
        self.rings = rings
        self._words, self._first = words, first
        self._parking, self._place = parking, place
        self._turn = 0

    def next(self) -> AnyRing | None:
        """The next ring, in turn, that has an unread record; None if none has. Rings are in the order of their producers."""
        index = _first_unread(self._words, self._first, len(self.rings), self._turn)
        if index < 0:
            return None
        self._turn = index + 1
        return self.rings[index]

    def any_unread(self) -> bool:
        """Whether any ring has an unread record."""
        return bool(_first_unread(self._words, self._first, len(self.rings), self._turn) >= 0)

    def wait(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Sleep until any ring has an unread record; False after `seconds`, or once `unless()` is true."""
        if not self.any_unread():
            waited_for(self._parking, self._place, self.any_unread, seconds, unless)
        return self.any_unread()


class FanOut(Generic[AnyRing]):
    """The producer's side: one ring to each consumer. `next` takes them in turn and skips full ones."""

    def __init__(self, rings: Sequence[AnyRing], words: NDArray[np.int64], first: int, step: int, parking: Parking | None, place: int):
        """`words`: int64 indices of all rings, shape [rings * WORDS]; this producer's are `first`, `first + step`, and so on."""
        self.rings = rings
        self._words, self._first, self._step = words, first, step
        self._parking, self._place = parking, place
        one: Ring | ByteRing = rings[0]
        self._capacity = one.capacity if isinstance(one, ByteRing) else one.slots
        if one.when_full == "drop_oldest":
            self._capacity = np.iinfo(np.int64).max  # there is always room
        self._turn = 0

    def next(self, size: int = 1) -> AnyRing | None:
        """The next ring, in turn, with room for `size` (slots; bytes for a ByteRing); None if all are full."""
        index = self._with_room(size)
        if index < 0:
            return None
        self._turn = index + 1
        return self.rings[index]

    def wait(self, size: int = 1, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Sleep until any ring has room for `size`; False after `seconds`, or once `unless()` is true."""
        if self._with_room(size) < 0:
            waited_for(self._parking, self._place, lambda: self._with_room(size) >= 0, seconds, unless)
        return self._with_room(size) >= 0

    def _with_room(self, size: int) -> int:
        return int(_first_with_room(self._words, self._first, self._step, len(self.rings), self._turn, self._capacity - size))


class FanGrid(Grid[AnyRing]):
    """A grid of rings whose producers and consumers each take their rings in turn.

    Stale:    `next` may miss a record that is published while it searches; the next call sees it.
    When full: `FanOut.next` skips full rings; if all are full it returns None, and `FanOut.wait` sleeps.
    """

    def producer(self, producer: int, parking: Parking | None = None, place: int = -1) -> FanOut[AnyRing]:
        """The producer's side of its rings; it sleeps at `place` of `parking`."""
        rings = [self.ring(producer, consumer) for consumer in range(self.consumers)]
        return FanOut(rings, self.words, producer, self.producers, parking, place)

    def consumer(self, consumer: int, parking: Parking | None = None, place: int = -1) -> FanIn[AnyRing]:
        """The consumer's side of its rings; it sleeps at `place` of `parking`."""
        rings = [self.ring(producer, consumer) for producer in range(self.producers)]
        return FanIn(rings, self.words, consumer * self.producers, parking, place)
