"""A transition as a record of bytes, and batches of transitions."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from asyncrl.shared.arrays import CACHE_LINE, Layout
from asyncrl.shared.compiled import njit

OWN_FIELDS = ("observation", "action", "reward", "discount", "next_observation", "version", "step")
_BLOCK = 64


@dataclass
class Batch:
    """B transitions. There is no `done`: the target of a value is reward + discount * (value of next_observation).

    observation       [B, *shape]  float32 or uint8
    action            [B, C]       float32, as the policy computed it: within [-1, 1]
    reward            [B]          float32, sum of gamma^k r_k over the window's m steps (m <= n)
    discount          [B]          float32, gamma^m; 0 if the episode terminated within the window
    next_observation  [B, *shape]  the observation after the window's last step, also at the end of an episode
    version           [B]          int64, the version of the parameters that acted at the window's first step
    step              [B]          int64, the number of steps added to the replay before that step
    weight            [B]          float32, importance weights of prioritised sampling, at most 1; all 1 for uniform sampling
    position          [B]          int64, the transition's number, counted from the first one ever stored
    extras            name -> [B, *shape], further fields of the algorithm
    """

    observation: NDArray[Any]
    action: NDArray[np.float32]
    reward: NDArray[np.float32]
    discount: NDArray[np.float32]
    next_observation: NDArray[Any]
    version: NDArray[np.int64]
    step: NDArray[np.int64]
    weight: NDArray[np.float32]
    position: NDArray[np.int64]
    extras: dict[str, NDArray[Any]] = field(default_factory=dict)


def fields_of(
    observation: tuple[tuple[int, ...], DTypeLike], components: int, extras: Layout | None = None
) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
    """Fields of one transition, name -> (shape, dtype).

    `observation`: (shape, dtype); `components`: C, of an action; `extras`: further fields of the algorithm. Raises ValueError if
    one of them has the name of another field.
    """
    fields: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
        "observation": observation,
        "action": ((components,), np.float32),
        "reward": ((), np.float32),
        "discount": ((), np.float32),
        "next_observation": observation,
        "version": ((), np.int64),
        "step": ((), np.int64),
    }
    for name, entry in (extras or {}).items():
        if name in OWN_FIELDS:
            raise ValueError(f"a replay's own field cannot be given as an extra one: {name!r}")
        fields[name] = entry
    return fields


class Record:
    """The layout of a transition's fields within its bytes: fields with large elements first, so that every one is aligned."""

    def __init__(self, fields: Layout):
        self.fields = dict(fields)
        self.place: dict[str, tuple[int, int]] = {}
        position = 0
        for name in sorted(fields, key=lambda name: -np.dtype(fields[name][1]).itemsize):
            shape, dtype = fields[name]
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            self.place[name] = (position, size)
            position += size
        self.size = -(-position // 8) * 8

    @property
    def mark(self) -> int:
        """A checksum of the fields, by which a saved replay with other fields is recognised."""
        return zlib.crc32(repr([(name, shape, np.dtype(dtype).str) for name, (shape, dtype) in self.fields.items()]).encode())

    def views(self, rows: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Fields of rows[..., size] as strided arrays [..., *shape]."""
        found = {}
        for name, (shape, dtype) in self.fields.items():
            first, _ = self.place[name]
            inner = np.zeros(shape, dtype).strides
            found[name] = np.ndarray((*rows.shape[:-1], *shape), dtype, rows, first, (*rows.strides[:-1], *inner))
        return found

    def columns(self, flat: NDArray[np.uint8], count: int) -> dict[str, NDArray[Any]]:
        """Fields of `count` records as `gather` writes them to flat[count * size]: contiguous arrays [count, *shape]."""
        found = {}
        for name, (shape, dtype) in self.fields.items():
            first, size = self.place[name]
            found[name] = flat[count * first : count * (first + size)].view(dtype).reshape(count, *shape)
        return found

    def table(self) -> tuple[NDArray[np.int64], int]:
        """For `gather`: offset and size of each field [F, 2], and the unit in bytes in which both are counted."""
        places = np.array(list(self.place.values()), np.int64)
        unit = 4 if not (places % 4).any() else 1
        return places // unit, unit


@njit(cache=True, nogil=True, error_model="numpy")
def gather(rows, slots, table, out):  # type: ignore[no-untyped-def]
    """Copy the records rows[slots[n]] to out, field after field: all of the first field, all of the second, and so on.

    rows[capacity, W], slots[n], table[F, 2] (of `Record.table`) and out[n * W] count in the table's unit. The returned number
    has no meaning; it keeps the compiler from removing the loads that prefetch.
    """
    count, width = slots.size, rows.shape[1]
    touched = rows[0, 0]
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        # Prefetch: load one element of every cache line first, since these loads overlap and those of the copies do not.
        for i in range(begin, end):
            for j in range(0, width, CACHE_LINE // rows.itemsize):
                touched ^= rows[slots[i], j]
            touched ^= rows[slots[i], width - 1]
        for i in range(begin, end):
            row = rows[slots[i]]
            for f in range(table.shape[0]):
                first, size = table[f, 0], table[f, 1]
                to = count * first + i * size
                for j in range(size):
                    out[to + j] = row[first + j]
    return touched
