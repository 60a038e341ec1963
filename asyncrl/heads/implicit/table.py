"""The latents of a fixed set of actions, which all processes of a run share: embedded once for each version of the action tower.

A version is told by the content of the head's own parameters (`numbers.content_key`, 63 bits). The table has SLOTS slots, so that the
version before stays readable while the next is embedded. Nobody waits for anybody: whoever needs a version embeds what of it is not
there yet, in SHARD rows at a time, and two that embed the same shard write the same bytes.

Words, by place (a process's own, see `claim`) or slot:

    keys [SLOTS]              the version that the slot is for; 0: none. By compare and swap of whoever needs a version: to 0, and from
                              0 to its key once no process is busy in the slot. Readers: all
    done [SLOTS, shards]      the key whose latents the shard holds. Writers: who is busy in the slot, all with the same bytes
    turn [1]                  how often a slot was given away; says which is next. By compare and swap of who gave one away
    process [PLACES]          the process whose place it is. By compare and swap: from 0, or from the number of a process that has ended
    busy [PLACES]             1 + the slot that the process writes to; 0: none. Writer: the process of that place
    embedded [PLACES]         shards that it has embedded, ever. Writer: the process of that place
    latents [SLOTS, N, d]     writers: who is busy in the slot

Stale: a reader looks at the slot's key again after it has read latents; if the slot was given away meanwhile, it embeds for itself.
Torn: a shard counts only once its word in `done` is stored, which happens after its latents are; before they are written it is 0.
Full: where all places are taken by living processes, or a slot is busy, a process embeds for itself, in memory of its own.
Crash: a killed process leaves at most a shard whose word is 0, which the next one embeds; and its place, which does not count as busy
once the process has ended, and is the next claimer's. Should its number be another process's by then, one slot stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.latents import Latents
from asyncrl.heads.implicit.numbers import content_key, same
from asyncrl.heads.implicit.towers import LATENT, PLACES, embed
from asyncrl.shared.arrays import Layout
from asyncrl.shared.atomics import compare_and_swap, fence, load_acquire, store_release

SLOTS, SHARD, PROCESSES = 2, 4096, 256
Floats = NDArray[np.float32]


def table_layout(count: int, latent: int) -> Layout:
    """The table of N = `count` actions with latents of so many numbers."""
    shards = -(-count // SHARD)
    return {
        "latents": ((SLOTS, count, latent), np.float32),
        "keys": ((SLOTS,), np.int64),
        "done": ((SLOTS, shards), np.int64),
        "turn": ((1,), np.int64),
        "process": ((PROCESSES,), np.int64),
        "busy": ((PROCESSES,), np.int64),
        "embedded": ((PROCESSES,), np.int64),
    }


def is_alive(process: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class LatentTable(Latents):
    """One process's way to the table: which latents are those of some parameters, in the table or in memory of its own.

    latents   [N, d] of the newest `of`
    features  [N, F] of the set
    """

    def __init__(self, form: NDArray[np.int64], work: Floats):
        """`form`: of the head (`towers`); `work`: its scratch."""
        self._form, self._work = form, work
        # Pages of its own memory are taken only where it embeds for itself.
        self._private = np.zeros((int(form[PLACES]), int(form[LATENT])), np.float32)
        self._own: Floats | None = None
        self._slot, self._key, self._announced, self._place = -1, 0, 0, -1
        self.latents = self._private
        self.embedded_alone = 0
        """How often it has embedded the set in memory of its own."""

    def layout(self) -> Layout:
        return table_layout(*self._private.shape)

    def attach(self, caches: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[Any]]) -> None:
        self._words, self.features = caches, tables["features"]
        self._slot, self._place, self._own = -1, -1, None

    def announce(self, own: Floats) -> None:
        """The head's own parameters [D] of a version are worth sharing; others, such as a candidate's, are embedded apart."""
        self._announced = int(content_key(own))

    def of(self, own: Floats) -> Floats:
        """The latents [N, d] of the parameters own[D], embedded where they are not there yet."""
        if self._own is not None and same(own, self._own) and self.stands():
            return self.latents
        self._key, self._slot = int(content_key(own)), -1
        if self._key == self._announced:
            self._slot = self._shared(own)
        if self._slot < 0:
            return self.alone(own)
        self._own, self.latents = own.copy(), self._words["latents"][self._slot]
        return self.latents

    def forget(self) -> None:
        """Look again what the latents are when they are next asked for: the set may have changed."""
        self._own = None

    def alone(self, own: Floats) -> Floats:
        """The same in memory of its own, which nobody takes away."""
        embed(self._form, own, self.features, self._work, self._private)
        self.embedded_alone += 1
        self._own, self._slot, self.latents = own.copy(), -1, self._private
        return self.latents

    def stands(self) -> bool:
        """Whether the latents of the newest `of`, and all that was read of them until now, are what they were."""
        if self._slot < 0:
            return True
        fence()
        return int(load_acquire(self._words["keys"], self._slot)) == self._key

    def _shared(self, own: Floats) -> int:
        """The slot that holds the latents of own[D], or -1 where it cannot be had."""
        place = self._place = self.claim() if self._place < 0 else self._place
        slot = self._slot_for(self._key) if place >= 0 else -1
        if slot < 0:
            return -1
        busy, keys = self._words["busy"], self._words["keys"]
        store_release(busy, place, slot + 1)
        fence()  # busy before the key is read: who gives the slot away reads them in the other order
        if load_acquire(keys, slot) == self._key:
            self._embed(own, slot, place)
        store_release(busy, place, 0)
        return slot if load_acquire(keys, slot) == self._key else -1

    def _embed(self, own: Floats, slot: int, place: int) -> None:
        """Embed every shard that the slot lacks, beginning at another than other processes do."""
        latents, done, embedded = self._words["latents"][slot], self._words["done"][slot], self._words["embedded"]
        shards = len(done)
        for number in range(shards):
            shard = (number + 7919 * place) % shards
            if load_acquire(done, shard) == self._key:
                continue
            rows = slice(shard * SHARD, (shard + 1) * SHARD)
            store_release(done, shard, 0)
            fence()
            embed(self._form, own, self.features[rows], self._work, latents[rows])
            store_release(embedded, place, int(embedded[place]) + 1)
            store_release(done, shard, self._key)

    def _slot_for(self, key: int) -> int:
        """The slot of this version, which is given to it if it has none; -1 where that cannot be done now."""
        keys, turn = self._words["keys"], self._words["turn"]
        given = int(load_acquire(turn, 0))
        for slot in range(SLOTS):
            if load_acquire(keys, slot) == key:
                return slot
        slot = (given + 1) % SLOTS
        before = int(load_acquire(keys, slot))
        if before not in (0, key):
            compare_and_swap(keys, slot, before, 0)
        fence()
        if load_acquire(keys, slot) == 0:
            if self._is_busy(slot):
                return -1
            if compare_and_swap(keys, slot, 0, key) == 0:
                compare_and_swap(turn, 0, given, given + 1)
        return slot if load_acquire(keys, slot) == key else -1

    def _is_busy(self, slot: int) -> bool:
        """Whether a living process may write to the slot."""
        busy, process = self._words["busy"], self._words["process"]
        places = np.flatnonzero(busy == slot + 1)
        return any(is_alive(int(load_acquire(process, place))) for place in places)

    def claim(self) -> int:
        """A place for this process: the one that it has, a free one, or that of a process that has ended; -1 where there is none."""
        process, me = self._words["process"], os.getpid()
        for place in range(PROCESSES):
            holder = int(load_acquire(process, place))
            if holder == me or (holder == 0 and compare_and_swap(process, place, 0, me) == 0):
                return place
        for place in range(PROCESSES):
            holder = int(load_acquire(process, place))
            if not is_alive(holder) and compare_and_swap(process, place, holder, me) == holder:
                return place
        return -1
