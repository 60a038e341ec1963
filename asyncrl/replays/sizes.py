"""The size of a replay in bytes, computed and checked before it is allocated."""

from __future__ import annotations

from asyncrl.errors import UserError
from asyncrl.replays.store import Replay
from asyncrl.shared.arrays import Layout, offsets_of

SHARE = 0.8
"""The share of the free memory that a suggested size uses."""


def bytes_needed(
    capacity: int, fields: Layout, streams: int = 1, n_steps: int = 1, prioritised: bool = False, ahead: int = 0
) -> int:
    """Bytes of a replay of `capacity` transitions of `fields`; the arguments are those of `Replay.layout`."""
    return offsets_of(Replay.layout(capacity, fields, streams, n_steps, prioritised, ahead))[1]


def largest_that_fits(
    free: int, fields: Layout, streams: int = 1, n_steps: int = 1, prioritised: bool = False, ahead: int = 0
) -> int:
    """The largest capacity that takes at most SHARE of `free` bytes, rounded down to two digits; 0 if none fits."""
    low, high = 0, max(free, 1)
    while low < high:
        middle = (low + high + 1) // 2
        if bytes_needed(middle, fields, streams, n_steps, prioritised, ahead) <= SHARE * free:
            low = middle
        else:
            high = middle - 1
    unit = 10 ** max(len(str(low)) - 2, 0)
    return low // unit * unit


def check_batch(batch: int, free: int, fields: Layout, units: int) -> int:
    """The bytes that remain of `free` after a batch: its copy and the outputs of `units` hidden units for each of its transitions.

    Raises UserError if the batch does not fit.
    """
    needed = bytes_needed(batch, fields) + 4 * units * batch
    if needed > free:
        raise UserError(f"batch = {batch:,} needs at least {needed:,} bytes of memory, {free:,} are free")
    return free - needed


def check_size(
    capacity: int,
    batch: int,
    free: int,
    fields: Layout,
    streams: int = 1,
    n_steps: int = 1,
    prioritised: bool = False,
    ahead: int = 0,
    option: str = "replay",
) -> int:
    """Check the size of a replay before it is allocated, and return it in bytes. `free`: free bytes (`shared.arrays.free_bytes`).

    Raises UserError, with the name `option`, if the replay is smaller than a batch or does not fit in memory.
    """
    if capacity < batch:
        raise UserError(f"{option} {capacity:,} is smaller than a batch of {batch:,}; allowed: {batch:,} or more")
    needed = bytes_needed(capacity, fields, streams, n_steps, prioritised, ahead)
    if needed > free:
        most = largest_that_fits(free, fields, streams, n_steps, prioritised, ahead)
        advice = f"{option} {most:,} would fit" if most >= batch else f"not even a batch of {batch:,} fits"
        raise UserError(f"{option} {capacity:,} needs {needed:,} bytes of memory, {free:,} are free; {advice}")
    return needed
