"""Files to which complete pieces are appended: reports and event files."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from asyncrl.store.durable_files import sync_folder, write_file


def keep_lines_to(path: str | os.PathLike[str], step: int) -> None:
    """Remove the lines of steps after `step` from a file of JSON lines, each with a "step". The file is replaced atomically.

    A line that cannot be read (the incomplete last one of a writer that was killed) is removed too. The file may be missing.
    Raises OSError if there is no room for the new file beside the old one, which then remains.
    """
    path = Path(path)
    if not path.exists():
        return
    with open(path, "rb") as old:
        if all(_is_of(line, step) for line in old):
            return
        old.seek(0)
        write_file(path, (line for line in old if _is_of(line, step)))
    sync_folder(path.parent)


def _is_of(line: bytes, step: int) -> bool:
    """Whether `line` is complete and reports `step` or an earlier step."""
    if not line.endswith(b"\n"):
        return False
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


class GrowingFile:
    """A file to which `write` appends all bytes or, with OSError, none.

    Otherwise a disk that is full for a moment would leave an incomplete record, at which readers of event files stop for good.
    One writer. A writer killed inside `write` can leave an incomplete last piece; its replacement cuts it off, by the number
    of confirmed bytes (`keep`) or in a file of lines by the last line's end (`whole_lines`).
    """

    def __init__(self, path: str | os.PathLike[str], whole_lines: bool = False, keep: int | None = None):
        """Open or create the file; cut off what is beyond the first `keep` bytes and, with `whole_lines`, an incomplete last line."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = os.fstat(self._descriptor).st_size
        if keep is not None and keep < self._size:
            self._size = keep
            self._truncate()
        if whole_lines:
            self._cut_torn_line()

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._size

    def write(self, data: bytes) -> None:
        """Append `data`. Raises OSError and leaves the file as it was if there is no room."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._truncate()
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file; all bytes were already passed to the operating system."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _cut_torn_line(self) -> None:
        end = self._size
        while end > 0:
            start = max(0, end - 65536)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < self._size:
            self._size = end
            self._truncate()

    def _truncate(self) -> None:
        # A device such as /dev/full cannot be truncated; the earlier error is the one to report.
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
