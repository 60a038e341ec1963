"""Copies of the records that a consumer has taken since its state was last saved, so that its replacement can process them again."""

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
    """A record in the journal: the ring it came from, its number there, the turn that uses it, and views of its fields."""

    ring: int
    number: int
    turn: int
    slot: dict[str, NDArray[Any]]


class Journal:
    """Records that one consumer has taken from many rings since its state was last saved.

    The consumer works in *turns* with increasing numbers: a turn is one update from some records. It copies each record
    here (`hold`) before it releases the slot in the ring. An entry is valid only after that release, which moves the
    ring's count of consumed records past the entry's number in one store. Each turn may have a count stored (`note`).

    Writers:  the consumer; after its confirmed death, its replacement.
    Readers:  the same, and the launcher when it recovers from the consumer's death.
    Stale:    not applicable.
    When full: `room` is 0 and `hold` raises RuntimeError: the state must be saved, and then `restart` empties the journal.
    Crash:    safe at any instruction. An entry whose record was not released is ignored, since the record is still in its
              ring. An entry of a turn that the saved state already includes is ignored as well.
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
        """Layout for `slots` records; `fields`: name -> (shape, dtype) of one record's fields."""
        stacked = {name: ((slots, *shape), dtype) for name, (shape, dtype) in fields.items()}
        return {"words": ((slots * WORDS_PER_LINE,), np.int64), "counts": ((slots,), np.int64), **prefixed("field", stacked)}

    @property
    def room(self) -> int:
        """How many more records fit."""
        return self.slots - self._next

    def hold(self, turn: int, ring: int, number: int, slot: Mapping[str, NDArray[Any]]) -> Entry:
        """Copy a record that `turn` (above 0) uses. Afterwards its slot in the ring may be released.

        `slot`: views of its fields, with the shapes given to `layout`. Raises RuntimeError if the journal is full.
        """
        index, words = self._next, self._words
        if index >= self.slots:
            raise RuntimeError(f"the journal is full: {self.slots} records were taken since the state was kept")
        line = index * WORDS_PER_LINE
        store_release(words, line, 0)  # an unfinished entry of a dead predecessor must not become valid by this ring's next release
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
        """Store a count for `turn`, which `noted` returns."""
        store_release(self._counts, turn % self.slots, count)

    def noted(self, turn: int) -> int:
        """The count that `note` stored for a turn since the state was saved."""
        return load_acquire(self._counts, turn % self.slots)

    def restart(self) -> None:
        """Empty the journal: the state was saved and includes every record held so far."""
        self._next = 0

    def recover(self, kept: int, consumed: Callable[[int], int]) -> list[Entry]:
        """The valid entries, in order; later records are held after them.

        `kept`: the last turn that the saved state includes; `consumed(ring)`: how many records were released in that ring.
        """
        found: list[Entry] = []
        for index in range(self.slots):
            line = index * WORDS_PER_LINE
            turn = load_acquire(self._words, line)
            ring, number = int(self._words[line + 1]), int(self._words[line + 2])
            if turn <= kept or number >= consumed(ring):
                store_release(self._words, line, 0)  # its record is read again and may be held elsewhere: it must not count twice
                break
            found.append(Entry(ring, number, turn, self._views(index)))
        self._next = len(found)
        return found

    def _views(self, index: int) -> dict[str, NDArray[Any]]:
        if index not in self._seen:
            self._seen[index] = {name: field[index, ...] for name, field in self._fields.items()}
        return self._seen[index]
