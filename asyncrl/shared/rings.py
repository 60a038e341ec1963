"""Ring buffers of records for one producer and one consumer, without locks and copies. `grid` uses the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import unknown
from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, SharedArrays, padded_words, prefixed
from asyncrl.shared.atomics import fence, load_acquire, store_release
from asyncrl.shared.compiled import njit
from asyncrl.shared.parking import Parking

WhenFull = Literal["wait", "refuse", "drop_oldest"]
Slot = dict[str, NDArray[Any]]
Arrays = SharedArrays | Mapping[str, NDArray[Any]]

WORDS = 2 * WORDS_PER_LINE
"""Words of one ring: a cache line that the producer writes and a cache line that the consumer writes."""
HEAD, CLAIM = 0, 1  # written by the producer: how many records were published; how many were begun
CONSUMED, DROPPED = WORDS_PER_LINE, WORDS_PER_LINE + 1  # written by the consumer; their sum is the position of the oldest unread slot

# Indices of a process's private array of a ring: its settings, and the value last read of the other side's index.
_SLOTS, _DROPPING, _PRODUCER, _CONSUMER, _TAIL_SEEN, _HEAD_SEEN, _PRIVATE = range(7)


@njit(cache=True)
def is_asleep(sleeping, place):  # type: ignore[no-untyped-def]
    """Whether the waiter at `place` has announced in sleeping[places * WORDS_PER_LINE] that it sleeps; False for place -1.

    To be called after the progress was stored.
    """
    if place < 0:
        return False
    fence()
    return load_acquire(sleeping, place * WORDS_PER_LINE) != 0


@njit(cache=True)
def _reserve(words, private):  # type: ignore[no-untyped-def]
    head = words[HEAD]
    if private[_DROPPING]:
        store_release(words, CLAIM, head + 1)
        fence()  # the claim is visible before the first byte of the new payload
        return head % private[_SLOTS]
    if head - private[_TAIL_SEEN] >= private[_SLOTS]:
        private[_TAIL_SEEN] = load_acquire(words, CONSUMED)
        if head - private[_TAIL_SEEN] >= private[_SLOTS]:
            return -1
    words[CLAIM] = head + 1
    return head % private[_SLOTS]


@njit(cache=True)
def _publish(words, private, sleeping):  # type: ignore[no-untyped-def]
    """Publish the reserved slot. Returns -1 if none was reserved, 1 if the consumer must be woken, 0 otherwise."""
    head = words[HEAD] + 1
    if words[CLAIM] != head:
        return -1
    store_release(words, HEAD, head)
    return 1 if is_asleep(sleeping, private[_CONSUMER]) else 0


@njit(cache=True)
def _unread(words, private, afresh):  # type: ignore[no-untyped-def]
    """How many slots can be read. Slots that the producer has overwritten are counted as dropped.

    With `afresh` the number is exact; otherwise the producer's index may be an older value, and only 0 is exact.
    """
    if private[_DROPPING]:
        # Claim before head: then head + 1 >= claim, and the oldest whole slot is never beyond head.
        oldest = load_acquire(words, CLAIM) - private[_SLOTS]
        private[_HEAD_SEEN] = load_acquire(words, HEAD)
        tail = words[CONSUMED] + words[DROPPED]
        if tail < oldest:
            store_release(words, DROPPED, words[DROPPED] + oldest - tail)
            tail = oldest
        return private[_HEAD_SEEN] - tail
    if afresh or words[CONSUMED] >= private[_HEAD_SEEN]:  # it is greater if an earlier consumer process has read further
        private[_HEAD_SEEN] = load_acquire(words, HEAD)
    return private[_HEAD_SEEN] - words[CONSUMED]


@njit(cache=True)
def _front(words, private):  # type: ignore[no-untyped-def]
    if _unread(words, private, False) <= 0:
        return -1
    return (words[CONSUMED] + words[DROPPED]) % private[_SLOTS]


@njit(cache=True)
def _release(words, private, count):  # type: ignore[no-untyped-def]
    """Release the oldest `count` slots. Returns how many of them had been overwritten, -1 if fewer than `count` were read."""
    tail = words[CONSUMED] + words[DROPPED]
    if tail + count > private[_HEAD_SEEN]:
        return -1
    overtaken = 0
    if private[_DROPPING]:
        fence()  # the records were read before CLAIM is
        overtaken = min(max(load_acquire(words, CLAIM) - private[_SLOTS] - tail, 0), count)
        store_release(words, DROPPED, words[DROPPED] + overtaken)
    store_release(words, CONSUMED, words[CONSUMED] + count - overtaken)
    return overtaken


class Ring:
    """A ring buffer with slots of a declared layout, from one producer to one consumer, in order, without copies.

    The producer fills the views that `reserve` returns and calls `publish`; the consumer reads the views that `front`
    returns and calls `release`. Both sides construct a Ring from the same arrays; each side is one thread.

    Writers:  the producer writes ``words[:8]`` and the slot between reserve and publish; the consumer writes ``words[8:]``.
              After a confirmed death, the process that replaces that side.
    Readers:  the two sides; every process may read the counts.
    Stale:    each side reads the other's index only when the value it read last says full or empty. With "wait" and
              "refuse" a slot is never written while the consumer reads it. With "drop_oldest" it may be: what was read is
              valid only if `release` returns True. `pop` and `drain` check that.
    When full: "wait": `reserve` sleeps until there is room. "refuse": `reserve` returns None. "drop_oldest": `reserve`
              returns the slot of the oldest record; the consumer notices by its position, skips to the oldest complete
              record and counts the skipped ones, so that published == consumed + dropped + len always holds.
    Crash:    safe at any instruction of either side. A slot that was reserved and not published holds no record (with
              "drop_oldest" the record that was in it is lost, and counted), and the next `reserve` returns it again. A
              record that was not released is read again. Every index is one word, changed by one store.
    """

    def __init__(
        self,
        arrays: Arrays,
        when_full: WhenFull = "wait",
        parking: Parking | None = None,
        producer_place: int = -1,
        consumer_place: int = -1,
    ):
        """`producer_place`, `consumer_place`: where each side sleeps in `parking`; -1 for a side that never sleeps."""
        if when_full not in get_args(WhenFull):
            raise unknown("behaviour of a full ring", when_full, get_args(WhenFull))
        if parking is None and max(producer_place, consumer_place) >= 0:
            raise ValueError("places were given without the parking that they are in")
        self.words: NDArray[np.int64] = arrays["words"]
        self._fields = {name.removeprefix("field/"): arrays[name] for name in arrays if name.startswith("field/")}
        self.slots = next(iter(self._fields.values())).shape[0]
        self.when_full = when_full
        self._parking = parking
        self._sleeping = sleeping_words(parking)
        self._places = producer_place, consumer_place
        self._private = np.zeros(_PRIVATE, np.int64)
        self._private[:_TAIL_SEEN] = self.slots, when_full == "drop_oldest", producer_place, consumer_place
        self._views: dict[int, Slot] = {}

    @staticmethod
    def layout(slots: int, fields: Layout) -> Layout:
        """Layout of a ring; `fields`: name -> (shape, dtype) of one slot's fields, at least one."""
        if slots < 1 or not fields:
            raise ValueError(f"a ring needs at least one slot and one field, got {slots} slots and {len(fields)} fields")
        stacked = {name: ((slots, *shape), dtype) for name, (shape, dtype) in fields.items()}
        return {"words": padded_words(2), **prefixed("field", stacked)}

    # The producer's side.

    def reserve(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> Slot | None:
        """Views of the next slot's fields, to be filled; None if the ring is full.

        With "refuse" that is at once; with "wait" after `seconds`, or as soon as `unless()` is true.
        """
        index = self._reserve(seconds, unless)
        return self._view(index) if index >= 0 else None

    def _reserve(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> int:
        index = _reserve(self.words, self._private)
        if index < 0 and self.when_full == "wait":
            waited_for(self._parking, self._places[0], lambda: _reserve(self.words, self._private) >= 0, seconds, unless)
            index = _reserve(self.words, self._private)
        return int(index)

    def _view(self, index: int) -> Slot:
        """The slot's fields. Made when first asked for: who only pushes and drains needs none."""
        if index not in self._views:
            self._views[index] = {name: field[index, ...] for name, field in self._fields.items()}
        return self._views[index]

    def publish(self) -> None:
        """Publish the reserved slot to the consumer. Raises RuntimeError if none was reserved."""
        outcome = _publish(self.words, self._private, self._sleeping)
        if outcome < 0:
            raise RuntimeError("publish without reserve")
        if outcome and self._parking is not None:
            self._parking.wake(self._places[1])

    def push(self, **values: Any) -> bool:
        """Reserve a slot, copy `values` (one per field) into it and publish it. Returns False if `reserve` returned None."""
        if values.keys() != self._fields.keys():
            raise ValueError(f"fields given: {sorted(values)}, fields of the ring: {sorted(self._fields)}")
        index = self._reserve()
        if index < 0:
            return False
        for name, value in values.items():
            self._fields[name][index] = value
        self.publish()
        return True

    # The consumer's side.

    def front(self) -> Slot | None:
        """Views of the oldest unread slot's fields; None if there is none. Never waits."""
        index = _front(self.words, self._private)
        return self._view(index) if index >= 0 else None

    def release(self) -> bool:
        """Release the slot that `front` returned. False if the producer has overwritten it: then what was read is invalid."""
        return self._release(1) == 0

    def pop(self) -> dict[str, Any] | None:
        """Remove the oldest record and return a copy, with numpy scalars for fields of shape (); None if there is none."""
        while (slot := self.front()) is not None:
            record = {name: view[()] if view.ndim == 0 else view.copy() for name, view in slot.items()}
            if self.release():
                return record
        return None

    def drain(self, limit: int | None = None) -> dict[str, NDArray[Any]]:
        """Remove all unread records (at most `limit`) and return copies, oldest first: field -> array [records, *shape of the field]."""
        count = int(_unread(self.words, self._private, True))
        count = count if limit is None else min(count, limit)
        first = int(self.words[CONSUMED] + self.words[DROPPED])
        positions = np.arange(first, first + count) % self.slots
        records = {name: field[positions] for name, field in self._fields.items()}
        overtaken = self._release(count)
        return {name: record[overtaken:] for name, record in records.items()}

    def wait(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Sleep until there is an unread record; False after `seconds`, or once `unless()` is true. For the consumer."""
        waited_for(self._parking, self._places[1], lambda: _unread(self.words, self._private, False) > 0, seconds, unless)
        return bool(_unread(self.words, self._private, False) > 0)

    def _release(self, count: int) -> int:
        overtaken = _release(self.words, self._private, count)
        if overtaken < 0:
            raise RuntimeError("release without front")
        if self._parking is not None and is_asleep(self._sleeping, self._places[0]):
            self._parking.wake(self._places[0])
        return int(overtaken)

    # For any process.

    @property
    def published(self) -> int:
        """How many records were published so far."""
        return int(load_acquire(self.words, HEAD))

    @property
    def consumed(self) -> int:
        """How many records were released so far without having been overwritten."""
        return int(load_acquire(self.words, CONSUMED))

    @property
    def dropped(self) -> int:
        """How many records were overwritten before they were read, whether or not the consumer has noticed."""
        counted = load_acquire(self.words, DROPPED)
        return int(counted + self._overtaken(self.consumed + counted))

    def __len__(self) -> int:
        """How many records are unread and not overwritten."""
        tail = self.consumed + load_acquire(self.words, DROPPED)
        return max(self.published - tail - self._overtaken(tail), 0)

    def _overtaken(self, tail: int) -> int:
        return max(load_acquire(self.words, CLAIM) - self.slots - tail, 0) if self.when_full == "drop_oldest" else 0


def sleeping_words(parking: Parking | None) -> NDArray[np.int64]:
    """The array [places * WORDS_PER_LINE] in which the waiters of `parking` announce that they sleep, for compiled functions."""
    return np.zeros(WORDS_PER_LINE, np.int64) if parking is None else parking._sleeping


def waited_for(
    parking: Parking | None, place: int, ready: Callable[[], Any], seconds: float | None, unless: Callable[[], Any] | None
) -> None:
    """Sleep at `place` until `ready()` or `unless()` is true or `seconds` are over. Raises RuntimeError if there is no place."""
    if parking is None or place < 0:
        raise RuntimeError("this side of the ring has no place to sleep")
    parking.wait(place, ready if unless is None else lambda: ready() or unless(), seconds)
