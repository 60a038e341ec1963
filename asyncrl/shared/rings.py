"""Rings of records: one producer, one consumer, no lock, no copy. `grid` builds on the same words."""

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
"""Words of one ring: a line that the producer writes and a line that the consumer writes."""
HEAD, CLAIM = 0, 1  # the producer's: how many were published; how many were begun
CONSUMED, DROPPED = WORDS_PER_LINE, WORDS_PER_LINE + 1  # the consumer's; their sum is the position of the oldest unread slot

# What a process knows of a ring for itself: settings, and what it last saw of the other side's index.
_SLOTS, _DROPPING, _PRODUCER, _CONSUMER, _TAIL_SEEN, _HEAD_SEEN, _PRIVATE = range(7)


@njit(cache=True)
def is_asleep(sleeping, place):  # type: ignore[no-untyped-def]
    """Whether the waiter at `place` has announced that it sleeps; to be asked after the progress was stored. -1 is nobody."""
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
    """-1: nothing was reserved; 1: the consumer must be woken."""
    head = words[HEAD] + 1
    if words[CLAIM] != head:
        return -1
    store_release(words, HEAD, head)
    return 1 if is_asleep(sleeping, private[_CONSUMER]) else 0


@njit(cache=True)
def _unread(words, private, afresh):  # type: ignore[no-untyped-def]
    """How many slots can be read: all of them if `afresh`, else 0 only if there is none. Counts the overtaken as dropped."""
    if private[_DROPPING]:
        # Claim before head: then head + 1 >= claim, and the oldest whole slot is never beyond head.
        oldest = load_acquire(words, CLAIM) - private[_SLOTS]
        private[_HEAD_SEEN] = load_acquire(words, HEAD)
        tail = words[CONSUMED] + words[DROPPED]
        if tail < oldest:
            store_release(words, DROPPED, words[DROPPED] + oldest - tail)
            tail = oldest
        return private[_HEAD_SEEN] - tail
    if afresh or words[CONSUMED] >= private[_HEAD_SEEN]:  # greater: another consumer was here before this one
        private[_HEAD_SEEN] = load_acquire(words, HEAD)
    return private[_HEAD_SEEN] - words[CONSUMED]


@njit(cache=True)
def _front(words, private):  # type: ignore[no-untyped-def]
    if _unread(words, private, False) <= 0:
        return -1
    return (words[CONSUMED] + words[DROPPED]) % private[_SLOTS]


@njit(cache=True)
def _release(words, private, count):  # type: ignore[no-untyped-def]
    """How many of the oldest `count` slots had been overtaken; -1 where there were fewer than `count`."""
    tail = words[CONSUMED] + words[DROPPED]
    if tail + count > private[_HEAD_SEEN]:
        return -1
    overtaken = 0
    if private[_DROPPING]:
        fence()  # everything was read before this look at the claim
        overtaken = min(max(load_acquire(words, CLAIM) - private[_SLOTS] - tail, 0), count)
        store_release(words, DROPPED, words[DROPPED] + overtaken)
    store_release(words, CONSUMED, words[CONSUMED] + count - overtaken)
    return overtaken


class Ring:
    """Slots of a declared layout that travel from one producer to one consumer, in order, without a copy.

    The producer fills the views that `reserve` gives and calls `publish`; the consumer reads the views that `front`
    gives and calls `release`. Both sides make a Ring from the same arrays; one thread per side.

    Writers:  ``words[:8]`` and the slots between reserve and publish: the producer. ``words[8:]``: the consumer.
              After a confirmed death, whoever takes that side's place.
    Readers:  the two sides; the counts are for everybody.
    Stale:    each side keeps the other's last index and looks again only when that says full or empty. With "wait" and
              "refuse" a slot in the consumer's hands is never written. With "drop_oldest" it may be overwritten while
              it is read: what was read counts only once `release` has returned True. `pop` and `drain` see to that.
    When full: "wait": `reserve` sleeps until there is room. "refuse": `reserve` returns None. "drop_oldest": `reserve`
              takes the slot of the oldest record; the consumer finds out by position, skips to the oldest whole record
              and counts what it skipped: published == consumed + dropped + len, always.
    Crash:    at any instruction of either side. What was reserved and not published is not there (with "drop_oldest"
              the record in its slot is gone, and counted), and the next `reserve` gives the same slot. What was not
              released is read again. Every index is one word, moved by one store.
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
        self._views: list[Slot] = [{name: field[i, ...] for name, field in self._fields.items()} for i in range(self.slots)]

    @staticmethod
    def layout(slots: int, fields: Layout) -> Layout:
        """`fields`: name -> (shape, dtype) of one slot, in any units; at least one."""
        if slots < 1 or not fields:
            raise ValueError(f"a ring needs at least one slot and one field, got {slots} slots and {len(fields)} fields")
        stacked = {name: ((slots, *shape), dtype) for name, (shape, dtype) in fields.items()}
        return {"words": padded_words(2), **prefixed("field", stacked)}

    # The producer's side.

    def reserve(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> Slot | None:
        """Views of the next slot, to be filled. None where the ring is full: at once with "refuse"; with "wait" after
        `seconds`, or as soon as `unless()` holds."""
        index = _reserve(self.words, self._private)
        if index < 0 and self.when_full == "wait":
            waited_for(self._parking, self._places[0], lambda: _reserve(self.words, self._private) >= 0, seconds, unless)
            index = _reserve(self.words, self._private)
        return self._views[index] if index >= 0 else None

    def publish(self) -> None:
        """Hand the reserved slot over."""
        outcome = _publish(self.words, self._private, self._sleeping)
        if outcome < 0:
            raise RuntimeError("publish without reserve")
        if outcome and self._parking is not None:
            self._parking.wake(self._places[1])

    def push(self, **values: Any) -> bool:
        """Reserve, copy `values` (one per field), publish. False where `reserve` gave nothing."""
        if values.keys() != self._fields.keys():
            raise ValueError(f"fields given: {sorted(values)}, fields of the ring: {sorted(self._fields)}")
        slot = self.reserve()
        if slot is None:
            return False
        for name, value in values.items():
            slot[name][...] = value
        self.publish()
        return True

    # The consumer's side.

    def front(self) -> Slot | None:
        """Views of the oldest unread slot; None where there is none. Never waits."""
        index = _front(self.words, self._private)
        return self._views[index] if index >= 0 else None

    def release(self) -> bool:
        """Be done with the slot that `front` gave. False where the producer had overtaken it: what was read is void."""
        return self._release(1) == 0

    def pop(self) -> dict[str, Any] | None:
        """A copy of the oldest record, scalars as numpy scalars; None where there is none."""
        while (slot := self.front()) is not None:
            record = {name: view[()] if view.ndim == 0 else view.copy() for name, view in slot.items()}
            if self.release():
                return record
        return None

    def drain(self, limit: int | None = None) -> dict[str, NDArray[Any]]:
        """Copies of all unread records (at most `limit`), oldest first: field -> array with a leading axis of records."""
        count = int(_unread(self.words, self._private, True))
        count = count if limit is None else min(count, limit)
        first = int(self.words[CONSUMED] + self.words[DROPPED])
        positions = np.arange(first, first + count) % self.slots
        records = {name: field[positions] for name, field in self._fields.items()}
        overtaken = self._release(count)
        return {name: record[overtaken:] for name, record in records.items()}

    def wait(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """The consumer sleeps until something is unread; False after `seconds`, or once `unless()` holds."""
        waited_for(self._parking, self._places[1], lambda: _unread(self.words, self._private, False) > 0, seconds, unless)
        return bool(_unread(self.words, self._private, False) > 0)

    def _release(self, count: int) -> int:
        overtaken = _release(self.words, self._private, count)
        if overtaken < 0:
            raise RuntimeError("release without front")
        if self._parking is not None and is_asleep(self._sleeping, self._places[0]):
            self._parking.wake(self._places[0])
        return int(overtaken)

    # For everybody.

    @property
    def published(self) -> int:
        """How many records were ever published."""
        return int(load_acquire(self.words, HEAD))

    @property
    def consumed(self) -> int:
        """How many records were ever released whole."""
        return int(load_acquire(self.words, CONSUMED))

    @property
    def dropped(self) -> int:
        """How many records were ever overwritten unread, whether or not the consumer has noticed."""
        counted = load_acquire(self.words, DROPPED)
        return int(counted + self._overtaken(self.consumed + counted))

    def __len__(self) -> int:
        """How many records are unread and whole."""
        tail = self.consumed + load_acquire(self.words, DROPPED)
        return max(self.published - tail - self._overtaken(tail), 0)

    def _overtaken(self, tail: int) -> int:
        return max(load_acquire(self.words, CLAIM) - self.slots - tail, 0) if self.when_full == "drop_oldest" else 0


def sleeping_words(parking: Parking | None) -> NDArray[np.int64]:
    """The announcements of a parking, for kernels."""
    return np.zeros(WORDS_PER_LINE, np.int64) if parking is None else parking._sleeping


def waited_for(
    parking: Parking | None, place: int, ready: Callable[[], Any], seconds: float | None, unless: Callable[[], Any] | None
) -> None:
    """Sleep at `place` until `ready()` or `unless()` holds or `seconds` are over."""
    if parking is None or place < 0:
        raise RuntimeError("this side of the ring has no place to sleep")
    parking.wait(place, ready if unless is None else lambda: ready() or unless(), seconds)
