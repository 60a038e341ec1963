"""Places of processes that write to a shared table: who has one, and who is busy.

    process [PLACES]   the process whose place it is. By compare and swap: from 0, or from the number of a process that has ended
    busy [PLACES]      1 + the part of the table that the process writes to; 0: none. Writers: the process of that place; who takes the
                       place over from one that has ended

Crash: a process that has ended counts as busy nowhere, and its place is the next claimer's.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.atomics import compare_and_swap, load_acquire, store_release

PROCESSES = 256
"""Places."""
Words = NDArray[np.int64]


def is_alive(process: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_busy(process: Words, busy: Words, slot: int) -> bool:
    """Whether a living process may write to the slot; process[PLACES], busy[PLACES]."""
    places = np.flatnonzero(busy == slot + 1)
    return any(is_alive(int(load_acquire(process, place))) for place in places)


def claim(process: Words, busy: Words) -> int:
    """A place for this process in process[PLACES], busy[PLACES]: the one that it has, a free one, or that of a process that has ended.

    -1 where there is none.
    """
    me = os.getpid()
    for place in range(len(process)):
        holder = int(load_acquire(process, place))
        if holder == me or (holder == 0 and compare_and_swap(process, place, 0, me) == 0):
            return place
    for place in range(len(process)):
        holder = int(load_acquire(process, place))
        if not is_alive(holder) and compare_and_swap(process, place, holder, me) == holder:
            store_release(busy, place, 0)
            return place
    return -1
