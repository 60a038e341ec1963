"""A transition as a record of bytes, and batches of them."""

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
    action            [B, C]       float32, as the policy gave it: within [-1, 1]
    reward            [B]          float32, sum of gamma^k r_k over the window's m steps (m <= n)
    discount          [B]          float32, gamma^m; 0 where the episode terminated within the window
    next_observation  [B, *shape]  the true successor of the window's last step
    version           [B]          int64, the version of the parameters that acted at the window's first step
    step              [B]          int64, how many steps the replay had been fed before that step
    weight            [B]          float32, importance weights of prioritised draws, at most 1; all 1 for uniform ones
    position          [B]          int64, which transition it is, counted from the first one ever stored
    extras            the same for fields of the algorithm's own
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
    """Fields of one transition; `observation`: (shape, dtype), `components` of an action, `extras`: the algorithm's own fields."""
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
    """Where each field of a transition lies within its bytes: wide numbers first, so that every one is aligned."""

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
        """A number that differs (all but certainly) for different fields."""
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
        """Fields of `count` records as `gather` leaves them in flat[count * size]: whole arrays [count, *shape]."""
        found = {}
        for name, (shape, dtype) in self.fields.items():
            first, size = self.place[name]
            found[name] = flat[count * first : count * (first + size)].view(dtype).reshape(count, *shape)
        return found

    def table(self) -> tuple[NDArray[np.int64], int]:
        """(first and size of each field [F, 2], the unit in bytes in which both are counted): what `gather` needs."""
        places = np.array(list(self.place.values()), np.int64)
        unit = 4 if not (places % 4).any() else 1
        return places // unit, unit


@njit(cache=True, nogil=True, error_model="numpy")
def gather(rows, slots, table, out):  # type: ignore[no-untyped-def]
    """Copy the records rows[slots[n]] to out, field after field: all of the first field, all of the second, ...

    Returns a number without meaning.
    """
    count, width = slots.size, rows.shape[1]
    touched = rows[0, 0]
    for begin in range(0, count, _BLOCK):
        end = min(begin + _BLOCK, count)
        # A look at every cache line first: these loads wait for memory together, those of the copies one after another.
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
