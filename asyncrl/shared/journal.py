"""What a consumer has taken since its state was last kept: enough for a successor to make again what it made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, prefixed
from asyncrl.shared.atomics import fence, load_acquire, store_release


@dataclass(frozen=True)
class Entry:
    """A record in the journal: the ring that it came from, its number there, the turn that uses it, and views of its fields."""

    ring: int
    number: int
    turn: int
    slot: dict[str, NDArray[Any]]


class Journal:
    """Records that one consumer takes from many rings, kept until the state that has used them up is kept itself.

    The consumer works in *turns*, numbered upwards: what it makes of some records in one go. It copies each record here
    (`hold`) before it releases the ring's slot, and only that release makes the entry count: it moves the ring's count of
    consumed records past the entry's number, in one store. After each turn it may note a count (`note`).

    Writers:  the consumer; after its confirmed death, its successor.
    Readers:  the same, and whoever settles its estate.
    Stale:    not applicable.
    When full: `room` is 0 and `hold` raises: the state has to be kept, after which `restart` begins anew.
    Crash:    at any instruction. An entry whose record was not released does not count, and the record is still in its ring.
              An entry of a turn up to the one that was kept does not count either.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]):
        self._words: NDArray[np.int64] = arrays["words"]  # line i: turn, ring and number of entry i
        self._counts: NDArray[np.int64] = arrays["counts"]
        self._fields = {name.removeprefix("field/"): arrays[name] for name in arrays if name.startswith("field/")}
        self.slots = self._counts.size
        self._next = 0
        self._seen: dict[int, dict[str, NDArray[Any]]] = {}  # views of entries: making them costs more than copying a small record

    @staticmethod
    def layout(slots: int, fields: Layout) -> Layout:
        """`slots` records of `fields`."""
        stacked = {name: ((slots, *shape), dtype) for name, (shape, dtype) in fields.items()}
        return {"words": ((slots * WORDS_PER_LINE,), np.int64), "counts": ((slots,), np.int64), **prefixed("field", stacked)}

    @property
    def room(self) -> int:
        """Records that can still be held."""
        return self.slots - self._next

    def hold(self, turn: int, ring: int, number: int, slot: Mapping[str, NDArray[Any]]) -> Entry:
        """Copy a record for `turn`, which must be above 0; its slot in the ring may be released after this."""
        index, words = self._next, self._words
        if index >= self.slots:
            raise RuntimeError(f"the journal is full: {self.slots} records were taken since the state was kept")
        line = index * WORDS_PER_LINE
        store_release(words, line, 0)  # what a predecessor left here half-done counts no more, whatever its ring does
        fence()
        words[line + 1], words[line + 2] = ring, number
        entry = Entry(ring, number, turn, self._views(index))
        for name, view in entry.slot.items():
            if view.size:
                view[...] = slot[name]
        store_release(words, line, turn)
        self._next += 1
        return entry

    def note(self, turn: int, count: int) -> None:
        """Remember a count of this turn's."""
        store_release(self._counts, turn % self.slots, count)

    def noted(self, turn: int) -> int:
        """What was noted of a turn since the state was kept."""
        return load_acquire(self._counts, turn % self.slots)

    def restart(self) -> None:
        """The state is kept, with all that was held used up."""
        self._next = 0

    def recover(self, kept: int, consumed: Callable[[int], int]) -> list[Entry]:
        """The entries that count, in order, and go on after them. `kept`: the turn whose state is kept; `consumed(ring)`: records
        that were released there."""
        found: list[Entry] = []
        for index in range(self.slots):
            line = index * WORDS_PER_LINE
            turn = load_acquire(self._words, line)
            ring, number = int(self._words[line + 1]), int(self._words[line + 2])
            if turn <= kept or number >= consumed(ring):
                store_release(self._words, line, 0)  # it is taken again, perhaps to another place: then it must not count here too
                break
            found.append(Entry(ring, number, turn, self._views(index)))
        self._next = len(found)
        return found

    def _views(self, index: int) -> dict[str, NDArray[Any]]:
        if index not in self._seen:
            self._seen[index] = {name: field[index, ...] for name, field in self._fields.items()}
        return self._seen[index]
