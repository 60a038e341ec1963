"""Whether latents are still those of some parameters, as compiled functions: what lets a whole step be one compiled call.

A process's `at` says where the latents lie that it was given last. Writer: `asyncrl.heads.implicit.table` in that process; readers: its
compiled functions, which are bound to those latents (or to their index) and to their number.
"""

from __future__ import annotations

from asyncrl.heads.keyed_numbers import same
from asyncrl.shared.atomics import fence, load_acquire
from asyncrl.shared.compiled import njit

SLOT, WORD, NUMBER, STANDING = range(4)
"""Positions in `at`: the slot of the table, below 0 for memory of the process's own; the slot's word; how often others were given, or what
was given was forgotten; how many numbers there are."""


@njit(cache=True, nogil=True, error_model="numpy")
def stands(at, words):  # type: ignore[no-untyped-def]
    """Whether what was read until now at at[STANDING] was not overwritten meanwhile; words[SLOTS]: see the table."""
    if at[SLOT] < 0:
        return True
    fence()
    return load_acquire(words, at[SLOT]) == at[WORD]


@njit(cache=True, nogil=True, error_model="numpy")
def is_of(own, kept, number, at, words):  # type: ignore[no-untyped-def]
    """Whether latents of this number are those of own[D], and may be read: kept[D] are the parameters that they were given for.

    at[STANDING], words[SLOTS].
    """
    return at[NUMBER] == number and same(own, kept) and stands(at, words)
