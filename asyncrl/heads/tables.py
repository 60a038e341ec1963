"""The shared arrays that a head wants (`Head.table_layout`): in the memory of a run, in a checkpoint, and in an evaluation.

In the memory and in a checkpoint their names begin with ``tables/``; those of caches (`Head.cache_layout`), which are in the memory
alone, with ``caches/``. Heads without tables add nothing to either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.head import Head
from asyncrl.shared.arrays import Layout, SharedArrays, prefixed

Tables = Mapping[str, NDArray[Any]]

TABLES, CACHES = "tables", "caches"


def tables_layout(head: Head) -> Layout:
    """What the head's tables and caches add to the shared memory of a run."""
    return {**prefixed(TABLES, head.table_layout()), **prefixed(CACHES, head.cache_layout())}


def attach_tables(head: Head, memory: SharedArrays) -> None:
    """Have the head use the tables and caches in this memory. Every process of a run does so before it acts or learns."""
    head.attach(memory.part(TABLES))
    head.attach_caches(memory.part(CACHES))


def copied_tables(memory: SharedArrays) -> dict[str, NDArray[Any]]:
    """Copies of the tables, by the head's own names: what an evaluation is given."""
    return {name: table.copy() for name, table in memory.part(TABLES).items()}


def set_tables(head: Head, tables: Tables) -> None:
    """Overwrite the contents of the head's tables with those of `tables`, which has the same names and shapes."""
    for name, table in head.tables.items():
        table[...] = tables[name]


def tables_to_keep(memory: SharedArrays) -> dict[str, NDArray[Any]]:
    """What a checkpoint keeps of the tables: the arrays themselves, by their names there."""
    return {f"{TABLES}/{name}": table for name, table in memory.part(TABLES).items()}


def kept_tables(arrays: Tables) -> dict[str, NDArray[Any]]:
    """The tables among a checkpoint's arrays, by the head's own names."""
    start = f"{TABLES}/"
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def restore_tables(memory: SharedArrays, arrays: Tables) -> None:
    """Take the tables back from a checkpoint's arrays. Raises UserError where they are missing or have another shape."""
    for name, table in tables_to_keep(memory).items():
        given = arrays[name].shape if name in arrays else None
        if given != table.shape:
            raise UserError(f"the checkpoint does not fit: {name} has shape {given}, this run needs {table.shape}")
        table[...] = np.asarray(arrays[name])
