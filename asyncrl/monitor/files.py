"""Files that are whole at every moment: JSON that is replaced at once, and a file that only grows by whole pieces."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from asyncrl.durable_files import sync_folder, write_file


def standard_json(data: Any) -> Any:
    """The same data as standard JSON knows it: numpy numbers become plain ones, NaN and infinity become None."""
    if isinstance(data, np.generic | np.ndarray):
        data = data.tolist()
    if isinstance(data, dict):
        return {str(key): standard_json(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [standard_json(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def write_json_atomically(path: str | os.PathLike[str], data: Any) -> None:
    """Make `path` hold `data` as JSON; a reader sees the old file or the new one, never a part.

    Raises OSError when it cannot be written (a full disk, say): the old file stands, and no temporary file is left.
    """
    path = Path(path)
    text = json.dumps(standard_json(data), indent=2, allow_nan=False) + "\n"
    write_file(path, [text.encode()])
    sync_folder(path.parent)


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
