"""Files that grow by whole pieces: reports and event files."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from asyncrl.store.durable_files import sync_folder, write_file


def keep_lines_to(path: str | os.PathLike[str], step: int) -> None:
    """Make a file of JSON lines, each with a "step", one without those of later steps; replaced at once, and as whole as before if not.

    A line that cannot be read (the torn last one of a writer that was killed) is left out too. The file may be missing.
    Raises OSError where there is no room for the new one beside the old.
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
    """Whether a whole line is a report of `step` or an earlier one."""
    if not line.endswith(b"\n"):
        return False
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


class GrowingFile:
    """A file that grows by whole pieces: `write` appends all of its bytes or, raising OSError, none of them.

    Without this a disk that is full for a moment would leave a torn record, at which readers of event files stop for ever.
    One writer. A writer killed inside `write` can leave a torn last piece: whoever goes on knows how many bytes were confirmed, or
    repairs a file of lines.
    """

    def __init__(self, path: str | os.PathLike[str], whole_lines: bool = False, keep: int | None = None):
        """What was left beyond the first `keep` bytes is cut off; with `whole_lines`, so is a last line without its end."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = os.fstat(self._descriptor).st_size
        if keep is not None and keep < self._size:
            self._size = keep
            self._truncate()
        if whole_lines:
            self._cut_torn_line()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def write(self, data: bytes) -> None:
        """Append `data`; raises OSError and leaves the file as it was where there is no room."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._truncate()
            raise
        self._size += len(data)

    def close(self) -> None:
        """Give back the descriptor; all bytes are with the operating system already."""
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
        # A device such as /dev/full has no length to cut; the error that led here is the one to report.
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
