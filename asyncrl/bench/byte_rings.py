"""A ring of byte messages of any length: one producer, one consumer. For the queue benchmark; runs send records (`shared.rings`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError, unknown
from asyncrl.shared.arrays import Layout, padded_words
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.compiled import njit
from asyncrl.shared.parking import Parking
from asyncrl.shared.rings import CONSUMED, HEAD, Arrays, is_asleep, sleeping_words, waited_for

WhenFull = Literal["wait", "refuse"]

HEADER = 8
"""Bytes of the header before a message, which holds its length. Messages begin at multiples of this, so that no header wraps around."""


@njit(cache=True)
def _move(words, word, position, sleeping, place):  # type: ignore[no-untyped-def]
    """Store `position` in words[word]; returns True if the other side, which sleeps at `place`, must be woken."""
    store_release(words, word, position)
    return is_asleep(sleeping, place)


def _occupied(length: int) -> int:
    """Bytes that a message of `length` bytes takes in the ring, with its header and padding."""
    return length + 2 * HEADER - 1 & -HEADER


class ByteRing:
    """Byte messages from one producer to one consumer, in order. A message wraps around the end of the buffer.

    Positions count bytes and never decrease; a message takes its length rounded up to a multiple of 8, plus 8 bytes.

    Writers:  the producer writes ``words[0]`` and the bytes beyond that position; the consumer writes ``words[8]``.
              After a confirmed death, the process that replaces that side.
    Readers:  the two sides.
    Stale:    each side reads the other's index only when the value it read last says full or empty. Never torn.
    When full: "wait": `put` sleeps until a quarter of the buffer is free, not only one message, so that a producer and a
              consumer of different speed do not wake each other at every message. "refuse": `put` returns False.
    Crash:    a message exists once the producer's index has moved past it; bytes copied before that are overwritten by
              the next `put`. `get` and `get_many` move the consumer's index after they have copied, so messages that a
              consumer was copying when it died are read again by its replacement.
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
        self.words: NDArray[np.int64] = arrays["words"]
        self._bytes = memoryview(arrays["data"])  # type: ignore[arg-type]
        self._lengths = self._bytes.cast("q")
        self._own = memoryview(self.words)  # type: ignore[arg-type]
        self.capacity = len(self._bytes)
        self.when_full = when_full
        self._parking = parking
        self._sleeping = sleeping_words(parking)
        self._producer_place, self._consumer_place = producer_place, consumer_place
        self._tail_seen = self._head_seen = 0

    @staticmethod
    def layout(capacity: int) -> Layout:
        """`capacity`: bytes, rounded up to a multiple of 8."""
        return {"words": padded_words(2), "data": ((max(-(-capacity // HEADER), 2) * HEADER,), np.uint8)}

    # The producer's side.

    def put(self, message: bytes, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Copy a message into the ring and publish it; returns False if there is no room for it.

        With "refuse" that is at once; with "wait" after `seconds`, or as soon as `unless()` is true. Raises UserError for
        a message longer than the buffer.
        """
        # A fast path for a message that fits and does not wrap around, without further calls.
        head, length, capacity = self._own[HEAD], len(message), self.capacity
        offset = head % capacity + HEADER
        end = offset + length
        after = head + (length + 2 * HEADER - 1 & -HEADER)  # _occupied
        if end > capacity or after - self._tail_seen > capacity:
            return self.put_many((message,), seconds, unless) == 1
        self._lengths[offset // HEADER - 1] = length
        self._bytes[offset:end] = message
        if _move(self.words, HEAD, after, self._sleeping, self._consumer_place) and self._parking is not None:
            self._parking.wake(self._consumer_place)
        return True

    def put_many(self, messages: Iterable[bytes], seconds: float | None = None, unless: Callable[[], Any] | None = None) -> int:
        """Put messages and publish them once, or in several parts if there is no room for all; returns how many were put."""
        start = head = self._own[HEAD]
        done = 0
        for message in messages:
            length = len(message)
            size = _occupied(length)
            if head + size - self._tail_seen > self.capacity:
                if head != start:
                    self._advance_head(head)
                    start = head
                if not self._make_room(size, seconds, unless):
                    break
            offset = head % self.capacity
            self._lengths[offset // HEADER] = length
            offset += HEADER
            if offset + length <= self.capacity:
                self._bytes[offset : offset + length] = message
            else:
                self._write_wrapped(offset, message)
            head += size
            done += 1
        if head != start:
            self._advance_head(head)
        return done

    def _write_wrapped(self, offset: int, message: bytes) -> None:
        first = self.capacity - offset
        self._bytes[offset:] = message[:first]
        self._bytes[: len(message) - first] = message[first:]

    def _advance_head(self, head: int) -> None:
        if _move(self.words, HEAD, head, self._sleeping, self._consumer_place) and self._parking is not None:
            self._parking.wake(self._consumer_place)

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes, including headers and padding, fit now. For the producer."""
        self._tail_seen = load_acquire(self.words, CONSUMED)
        return bool(self._own[HEAD] + size - self._tail_seen <= self.capacity)

    def _make_room(self, size: int, seconds: float | None, unless: Callable[[], Any] | None) -> bool:
        if size > self.capacity:
            raise UserError(f"a message of {size} bytes (header and padding counted) is longer than the ring's {self.capacity}")
        if not self.has_room(size) and self.when_full == "wait":
            wanted = max(size, self.capacity // 4)
            waited_for(self._parking, self._producer_place, lambda: self.has_room(wanted), seconds, unless)
        return self.has_room(size)

    # The consumer's side.

    def get(self) -> bytes | None:
        """Remove and return the oldest message; None if there is none. Never waits."""
        messages = self.get_many(1)
        return messages[0] if messages else None

    def get_many(self, limit: int | None = None) -> list[bytes]:
        """Remove and return all messages (at most `limit`), oldest first. Never waits."""
        tail = self._own[CONSUMED]
        if (limit != 1 or tail >= self._head_seen) and not self.has_message():
            return []
        found: list[bytes] = []
        while tail < self._head_seen and len(found) != limit:
            offset = tail % self.capacity
            length = self._lengths[offset // HEADER]
            offset += HEADER
            end = offset + length
            if end <= self.capacity:
                found.append(bytes(self._bytes[offset:end]))
            else:
                found.append(bytes(self._bytes[offset:]) + bytes(self._bytes[: end - self.capacity]))
            tail += _occupied(length)
        self._advance_tail(tail)
        return found

    def _advance_tail(self, tail: int) -> None:
        # A waiting producer sleeps until a quarter of the buffer is free: it is not woken before that.
        awaited = self._head_seen - tail <= self.capacity - self.capacity // 4
        place = self._producer_place if awaited else -1
        if _move(self.words, CONSUMED, tail, self._sleeping, place) and self._parking is not None:
            self._parking.wake(place)

    def has_message(self) -> bool:
        """Whether there is an unread message. For the consumer."""
        self._head_seen = load_acquire(self.words, HEAD)
        return bool(self._head_seen != self._own[CONSUMED])

    def wait(self, seconds: float | None = None, unless: Callable[[], Any] | None = None) -> bool:
        """Sleep until there is an unread message; False after `seconds`, or once `unless()` is true. For the consumer."""
        waited_for(self._parking, self._consumer_place, self.has_message, seconds, unless)
        return self.has_message()

    # For any process.

    @property
    def unread_bytes(self) -> int:
        """Bytes of the unread messages, including headers and padding."""
        tail = load_acquire(self.words, CONSUMED)
        return int(load_acquire(self.words, HEAD) - tail)
