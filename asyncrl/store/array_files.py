"""Files of arrays in the safetensors format, written and read without a copy of them in memory.

The library's own writer copies nothing either, but it cannot report progress, does not sync, and hides the disk's error; its reader
copies. The format is simple: the header's size in 8 bytes, the header as JSON, the arrays. Reading first has the library check the
file (`safe_open`).
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8", "BOOL": "|b1",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}
NAMES = {np.dtype(kind): name for name, kind in KINDS.items()}

PIECE = 2**24
"""Largest number of bytes in one piece."""


def pieces(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """The bytes of a file with these arrays, in order. An array that is not contiguous is copied, one at a time."""
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))  # so that every array is aligned
    header, end = {}, 0
    for name in order:
        array, begin = arrays[name], end
        end += array.nbytes
        kind = NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        flat = np.asarray(arrays[name], arrays[name].dtype.newbyteorder("<"), order="C").reshape(-1).view(np.uint8)
        for first in range(0, flat.size, PIECE):
            yield flat[first : first + PIECE].data


def mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file, mapped into memory privately: the caller may write to them, and only written pages take memory.

    Raises OSError, SafetensorError, or KeyError for an element type that `pieces` does not write.
    """
    with safe_open(path, framework="np"):  # raises if the header is invalid or arrays are missing
        pass
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    header.pop("__metadata__", None)
    return {
        name: np.ndarray(tuple(one["shape"]), KINDS[one["dtype"]], memory, start + one["data_offsets"][0]) for name, one in header.items()
    }
