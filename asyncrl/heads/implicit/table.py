"""The latents of a fixed set of actions, which all processes of a run share: embedded once for each version of the action tower.

A version is told by the content of the head's own parameters (44 bits of `numbers.content_key`). The table has SLOTS slots, so that the
version before stays readable while the next is embedded. Nobody waits for anybody: whoever needs a version embeds what of it is not
there yet, in SHARD rows at a time, and two that embed the same shard write the same bytes. Each time that a slot is given to a version
it has another *word*: the version's key and a number that counts up; and each time that it is free another one, below 0. Without those
numbers a reader could not tell a slot that was given away and back again while it read, nor who gives a slot away whether it is still
the free one in which nobody was busy.

Words, by place (a process's own, see `asyncrl.heads.implicit.places`) or slot:

    words [SLOTS]             what the slot is for; 0 and below: nothing. By compare and swap of whoever needs a version: to a free word,
                              and from that to a new one once no process is busy in the slot. Readers: all
    done [SLOTS, shards]      the word whose latents the shard holds. Writers: who is busy in the slot, all with the same bytes
    number [1]                counts words, so that it also says which slot was given away first. By fetch and add of who makes one
    process [PLACES]          the process whose place it is. By compare and swap: from 0, or from the number of a process that has ended
    busy [PLACES]             1 + the slot that the process writes to; 0: none. Writer: the process of that place
    embedded [PLACES]         shards that it has embedded, ever. Writer: the process of that place
    given [PLACES]            slots that it has given to a version, ever. Writer: the process of that place
    latents [SLOTS, N, d]     writers: who is busy in the slot

and beside them, where a selection wants one, the index of the latents in the slot (`asyncrl.heads.implicit.index`).

Stale: a reader looks at the slot's word again after it has read latents; if the slot was given away meanwhile, it embeds for itself.
Torn: a shard counts only once the slot's word is stored in `done`, which happens after its latents are.
Full: a free slot is given away first, and else the one that was given away first, if nobody is busy there. Where somebody is, or all
places are taken by living processes, a process embeds for itself, in memory of its own.
Crash: a killed process leaves at most a half-written shard, which does not count and which the next one embeds; and its place, which
does not count as busy once the process has ended, and is the next claimer's. Should its number be another process's by then, the slot
counts as busy until that one ends, and versions that would have it are embedded apart.

Checked by tests/models/table.pml, for 2 and 3 processes with a kill at any statement (its head and `docs/architecture.md` have the
bounds; without the memory order): what stands is whole and of the version that was asked for; nobody writes to a slot that is another
version's; where no more versions are asked for than there are slots, none is given up and nobody embeds apart, so each is embedded
once but for shards that two begin at once; nothing waits, and whoever was killed, a slot can be had afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.form import LATENT, PLACES
from asyncrl.heads.implicit.index import TableIndex
from asyncrl.heads.implicit.latents import Latents, Words
from asyncrl.heads.implicit.places import PROCESSES, claim, is_busy
from asyncrl.heads.implicit.selection.selection import Selection
from asyncrl.heads.implicit.standing import NUMBER, STANDING, stands
from asyncrl.heads.implicit.towers import embed
from asyncrl.heads.keyed_numbers import content_key, same
from asyncrl.shared.arrays import Layout
from asyncrl.shared.atomics import compare_and_swap, fence, fetch_add, load_acquire, store_release

SLOTS, SHARD = 2, 4096
TRIES = 4
"""To have a slot; one fails only where another process gives the same one away meanwhile."""
NUMBERS = 2**19
"""Numbers in a word; what is above them is the version's key."""
Floats = NDArray[np.float32]


def table_layout(count: int, latent: int) -> Layout:
    """The table of N = `count` actions with latents of so many numbers."""
    shards = -(-count // SHARD)
    return {
        "latents": ((SLOTS, count, latent), np.float32),
        "words": ((SLOTS,), np.int64),
        "done": ((SLOTS, shards), np.int64),
        "number": ((1,), np.int64),
        "process": ((PROCESSES,), np.int64),
        "busy": ((PROCESSES,), np.int64),
        "embedded": ((PROCESSES,), np.int64),
        "given": ((PROCESSES,), np.int64),
    }


def _key_of(own: Floats) -> int:
    """The key of a version: from 1 to 2^44 - 1."""
    return max(int(content_key(own)) % (2**63 // NUMBERS), 1)


class LatentTable(Latents):
    """One process's way to the table: which latents are those of some parameters, in the table or in memory of its own.

    latents   [N, d] of the newest `of`
    features  [N, F] of the set
    """

    def __init__(self, form: NDArray[np.int64], work: Floats, index: TableIndex | None = None):
        """`form`: of the head (see there); `work`: its scratch; `index`: the way to indices, without which there is no `selection`."""
        self._form, self._work, self._index = form, work, index
        self._private = self._untouched()
        self._own: Floats | None = None
        self._slot, self._word, self._announced, self._place = -1, 0, 0, -1
        self._at = np.full(STANDING, -1, np.int64)
        self.latents = self._private
        self.embedded_alone = 0
        """How often it has embedded the set in memory of its own."""

    def layout(self) -> Layout:
        index = self._index.layout(SLOTS, PROCESSES) if self._index else {}
        return {**table_layout(*self._private.shape), **index}

    def attach(self, caches: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[Any]]) -> None:
        self._arrays, self.features = caches, tables["features"]
        self._slot, self._place = -1, -1
        self.forget()
        if self._index:
            self._index.attach(caches)

    def announce(self, own: Floats) -> None:
        """The head's own parameters [D] of a version are worth sharing; others, such as a candidate's, are embedded apart."""
        self._announced = _key_of(own)

    def of(self, own: Floats) -> Floats:
        """The latents [N, d] of the parameters own[D], embedded where they are not there yet."""
        if self._own is not None and same(own, self._own) and self.stands():
            return self.latents
        key, self._slot = _key_of(own), -1
        if key == self._announced:
            self._slot = self._shared(key, own)
        if self._slot < 0:
            return self.alone(own)
        if self._private_written:  # what is shared serves: so that a run does not end with as many tables as processes
            self._private = self._untouched()
            if self._index:
                self._index.release()
        return self._given(own, self._arrays["latents"][self._slot])

    def selection(self) -> Selection:
        """What picks among the newest `of` by its index, which is written first where it is not there yet."""
        index, slot, own = self._index, self._slot, self._own
        if index is None or own is None:
            raise RuntimeError("there is no index, or no latents have been asked for")
        if slot >= 0 and not index.holds(slot, self._word):
            with self._busy_in(slot) as word:
                if word == self._word:
                    index.fill(slot, word, self.latents, self._place)
            if not index.holds(slot, self._word):
                self.alone(own)
        return index.at(slot) if self._slot >= 0 else index.of_ones_own(self.latents)

    def figures(self) -> dict[str, float]:
        """latents_embedded: how often the whole set has been embedded in the table; latents_versions: how often a slot was given away;
        latents_indexed: how often an index was written there."""
        shards, arrays = self._arrays["done"].shape[1], self._arrays
        found = {"latents_embedded": float(arrays["embedded"].sum()) / shards, "latents_versions": float(arrays["given"].sum())}
        return {**found, "latents_indexed": float(self._index.total())} if self._index else found

    def forget(self) -> None:
        """Look again what the latents are when they are next asked for: the set may have changed."""
        self._own = None
        self._at[NUMBER] += 1

    def alone(self, own: Floats) -> Floats:
        """The same in memory of its own, which nobody takes away."""
        embed(self._form, own, self.features, self._work, self._private)
        self._private_written = True
        self.embedded_alone += 1
        if self._index:
            self._index.forget()
        self._slot = -1
        return self._given(own, self._private)

    def _untouched(self) -> Floats:
        """Memory of its own for the set's latents [N, d], whose pages are taken only where it embeds for itself."""
        self._private_written = False
        return np.zeros((int(self._form[PLACES]), int(self._form[LATENT])), np.float32)

    def stands(self) -> bool:
        """Whether the latents of the newest `of`, and all that was read of them until now, are what they were."""
        return bool(stands(self._at, self._arrays["words"]))

    def standing(self) -> tuple[Floats, int, Words, Words]:
        if self._own is None:
            raise RuntimeError("no latents have been asked for")
        return self._own, int(self._at[NUMBER]), self._at, self._arrays["words"]

    def _given(self, own: Floats, latents: Floats) -> Floats:
        self._own, self.latents = own.copy(), latents
        self._at[:] = self._slot, self._word, self._at[NUMBER] + 1
        return latents

    def _shared(self, key: int, own: Floats) -> int:
        """The slot that holds the latents of own[D], a version of this key, or -1 where it cannot be had."""
        place = self._place = self._claim() if self._place < 0 else self._place
        slot = self._slot_for(key) if place >= 0 else -1
        if slot < 0:
            return -1
        with self._busy_in(slot) as self._word:
            if self._word // NUMBERS == key:
                self._embed(own, slot, place)
        return slot if self._word // NUMBERS == key else -1

    def _claim(self) -> int:
        return claim(self._arrays["process"], self._arrays["busy"])

    @contextmanager
    def _busy_in(self, slot: int) -> Iterator[int]:
        """Be busy in the slot; gives its word: while somebody is, it is given to no other version."""
        busy = self._arrays["busy"]
        try:
            store_release(busy, self._place, slot + 1)
            fence()  # busy before the word is read: who gives the slot away reads them in the other order
            yield int(load_acquire(self._arrays["words"], slot))
        finally:  # also where a signal's handler raises: the process may live on
            store_release(busy, self._place, 0)

    def _embed(self, own: Floats, slot: int, place: int) -> None:
        """Embed every shard that the slot lacks, beginning at another than other processes do."""
        latents, done, embedded = self._arrays["latents"][slot], self._arrays["done"][slot], self._arrays["embedded"]
        shards = len(done)
        for number in range(shards):
            shard = (number + 7919 * place) % shards
            if load_acquire(done, shard) == self._word:
                continue
            rows = slice(shard * SHARD, (shard + 1) * SHARD)
            embed(self._form, own, self.features[rows], self._work, latents[rows])
            store_release(embedded, place, int(embedded[place]) + 1)
            store_release(done, shard, self._word)

    def _slot_for(self, key: int) -> int:
        """The slot of this version, which is given to it if it has none; -1 where that cannot be done now."""
        words = self._arrays["words"]
        for _ in range(TRIES):
            seen = [int(load_acquire(words, slot)) for slot in range(SLOTS)]
            for slot, word in enumerate(seen):
                if word // NUMBERS == key:
                    return slot
            number = int(fetch_add(self._arrays["number"], 0, 1)) % NUMBERS
            slot = min(range(SLOTS), key=lambda slot: (seen[slot] > 0, (seen[slot] - number) % NUMBERS))
            free = -1 - number if seen[slot] > 0 else seen[slot]
            if free != seen[slot] and compare_and_swap(words, slot, seen[slot], free) != seen[slot]:
                continue
            fence()  # the free word before who is busy: who begins to write reads them in the other order
            if not self._is_busy(slot) and compare_and_swap(words, slot, free, key * NUMBERS + number) == free:
                given, place = self._arrays["given"], self._place
                store_release(given, place, int(given[place]) + 1)
                return slot
            if load_acquire(words, slot) == free:
                return -1  # who is busy there began before it was free
        return -1

    def _is_busy(self, slot: int) -> bool:
        return is_busy(self._arrays["process"], self._arrays["busy"], slot)
