"""The index of a selection beside the latents of each slot of the table: written once for each version that somebody picks greedily from.

    index/NAME [SLOTS, ...]   the array NAME of the selection's layout, but for latents, which the slot has. Writers: who is
                              busy in the slot, all with the same bytes
    indexed [SLOTS]           the word whose index the slot holds. Writers: who is busy in the slot, once the index is written
    filled [PLACES]           indices that the process of that place has written here, ever. Writer: that process

Slots, words, places and who is busy: see `asyncrl.heads.implicit.table`. An index is a function of the latents and of SEED, so that it
does not matter who writes it, nor whether two do so at once, nor whether it lies here or in a process's own memory.

Stale, torn: as latents are; whatever a reader finds in an index that is overwritten is the place of some action.
Crash: a killed process leaves a half-written index, which does not count, and which the next one writes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.implicit.form import ENERGY, NEVER, ONE_TOWER, RESAMPLE
from asyncrl.heads.implicit.options import ImplicitOptions
from asyncrl.heads.implicit.selection import Coded, PrincipalTree, Projections
from asyncrl.heads.implicit.selection.selection import Selection, SelectionOptions
from asyncrl.shared.arrays import Layout, offsets_of
from asyncrl.shared.atomics import load_acquire, store_release

INDICES: dict[str, type[Selection]] = {kind.name: kind for kind in (Projections, PrincipalTree)}
"""Selections whose best action comes faster than by looking at all. The feature tree's does not: it draws, and draws that are not exact
are not the policy that is learned."""
EXACT: dict[str, type[Selection]] = {"brute": Coded}
"""Of what `--selection` calls looking at all: codes of the latents, by which most need not be looked at."""
KINDS = {**EXACT, **INDICES}
SEED = 0
"""Of the random vectors of every index."""
INDEX = "index/"


class TableIndex:
    """One process's way to the indices of N latents [N, d]: those of the table's slots, and one of its own."""

    def __init__(self, options: ImplicitOptions, count: int, latent: int):
        """`count`, `latent`: N and d. The option `selection` names one of KINDS."""
        self._kind, self._options = KINDS[options.selection], _options_of(options)
        self._layout = _layout_of(options, count, latent)
        self._slots: list[Selection] = []
        self._own: Selection | None = None
        self._own_stands = False
        self.filled_alone = 0
        """How often it has written the index of its own."""

    def layout(self, slots: int, places: int) -> Layout:
        """Arrays that all processes share, for a table with so many slots and places."""
        arrays = {f"{INDEX}{name}": ((slots, *shape), dtype) for name, (shape, dtype) in self._layout.items()}
        return {**arrays, "indexed": ((slots,), np.int64), "filled": ((places,), np.int64)}

    def attach(self, caches: Mapping[str, NDArray[Any]]) -> None:
        """Use these arrays of `layout`."""
        self._indexed, self._filled = caches["indexed"], caches["filled"]
        self._slots = []
        for slot in range(len(self._indexed)):
            arrays = {name: caches[f"{INDEX}{name}"][slot] for name in self._layout}
            self._slots.append(self._kind({"latents": caches["latents"][slot], **arrays}, self._options))

    def holds(self, slot: int, word: int) -> bool:
        """Whether the slot's index is that of the slot's latents under this word."""
        return int(load_acquire(self._indexed, slot)) == word

    def fill(self, slot: int, word: int, latents: NDArray[np.float32], place: int) -> None:
        """Write the slot's index of latents [N, d], which it holds under this word; by who is busy in the slot, with this place."""
        self._write(latents, self._slots[slot])
        store_release(self._filled, place, int(self._filled[place]) + 1)
        store_release(self._indexed, slot, word)

    def at(self, slot: int) -> Selection:
        """What picks by the slot's index."""
        return self._slots[slot]

    def of_ones_own(self, latents: NDArray[np.float32]) -> Selection:
        """What picks among latents [N, d], the same array until `release`, by an index in this process's memory.

        It is written where `forget` was called since.
        """
        if self._own is None:
            arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._layout.items()}
            self._own = self._kind({"latents": latents, **arrays}, self._options)
        if not self._own_stands:
            self._write(latents, self._own)
            self._own_stands = True
            self.filled_alone += 1
        return self._own

    def forget(self) -> None:
        """The latents of its own have changed."""
        self._own_stands = False

    def release(self) -> None:
        """Give back the memory of the index of its own, until it is asked for again."""
        self._own, self._own_stands = None, False

    def total(self) -> int:
        """How often an index of the table was written."""
        return int(self._filled.sum())

    def _write(self, latents: NDArray[np.float32], selection: Selection) -> None:
        self._kind.fill(latents, selection.arrays, self._options, np.random.default_rng(SEED))


def _options_of(options: ImplicitOptions) -> SelectionOptions:
    """Nothing is drawn by an index, so that cells need no covariances."""
    return SelectionOptions(scanned=options.scanned, moments=1)


def _layout_of(options: ImplicitOptions, count: int, latent: int) -> Layout:
    """The index's arrays for N = `count` actions, but for the latents themselves, which the table has."""
    arrays = KINDS[options.selection].layout(count, latent, _options_of(options))
    return {name: entry for name, entry in arrays.items() if name != "latents"}


def is_indexed(options: ImplicitOptions, form: NDArray[np.int64]) -> bool:
    """Whether greedy steps of the head of form[FORM] go by an index: its latents stay, and it is their products that count."""
    return options.selection in KINDS and bool(form[RESAMPLE] == NEVER and form[ENERGY] != ONE_TOWER)


def index_numbers(options: ImplicitOptions, count: int, latent: int) -> int:
    """How many float32 numbers an index has for each of N = `count` actions, rounded up."""
    return -(-offsets_of(_layout_of(options, count, latent))[1] // (4 * count))


def check_selection(head: str, allowed: tuple[str, ...], options: ImplicitOptions, resample: str) -> None:
    """Raise UserError for a selection that a head of this name, which has those allowed, cannot have, or not with a set that changes."""
    selection = options.selection
    if selection not in allowed:
        raise UserError(f"selection = {selection} cannot be used with head {head!r} (allowed: {', '.join(allowed)})")
    if selection in INDICES and resample != "never":
        said = f"selection = {selection} cannot be used with resample = {resample}: an index is of a set that stays"
        raise UserError(f"{said} (allowed: resample = never, or selection = brute)")
