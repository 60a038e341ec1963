"""Files that are on the disk when we say so: there with their whole content, or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

UNFINISHED = ".unfinished"
SYNC_BYTES = 2**24
"""A file is synced whenever so much has been written: what a slow disk still owes is never more."""


def write_file(path: Path, content: Iterable[bytes | memoryview], beat: Callable[[], None] = lambda: None) -> None:
    """Write, sync and rename: the name appears, or changes, with the whole content or not at all. `sync_folder` makes the name last.

    `beat` is called after every piece that the disk has. Raises OSError (a full disk, say): what was there stands, nothing else is left.
    """
    temporary = path.with_name(path.name + UNFINISHED)
    try:
        with open(temporary, "wb") as file:
            owed = 0
            for piece in content:
                if owed >= SYNC_BYTES:
                    _sync(file)
                    beat()
                    owed = 0
                owed += file.write(piece)
            _sync(file)
            beat()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the disk know the names in a folder."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(content: bytes) -> str:
    """Checksum of bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, read piece by piece: {"bytes", "blake2b"}."""
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return {"bytes": file.tell(), "blake2b": checksum.hexdigest()}


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
