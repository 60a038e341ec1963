"""Writing files so that they are on disk with their complete content or not at all, also after a crash or a power failure."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

UNFINISHED = ".unfinished"
SYNC_BYTES = 2**24
"""A file is synced after every so many bytes, which limits the time of one sync on a slow disk."""


def write_file(path: Path, content: Iterable[bytes | memoryview], beat: Callable[[], None] = lambda: None) -> None:
    """Write a file under a temporary name, sync and rename it, so that `path` has the old content or all of the new.

    `sync_folder` makes the new name durable. `beat` is called after every sync. Raises OSError (a full disk, for example);
    then the old file remains, and the temporary one is removed.
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
    """Sync a folder, so that new and changed names in it are on disk."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(content: bytes) -> str:
    """Checksum of `content`: BLAKE2b of 16 bytes in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, read piece by piece: {"bytes", "blake2b"}."""
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return {"bytes": file.tell(), "blake2b": checksum.hexdigest()}


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
