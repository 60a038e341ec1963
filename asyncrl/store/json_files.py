"""Files in standard JSON that are replaced atomically."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from asyncrl.store.durable_files import sync_folder, write_file


def standard_json(data: Any) -> Any:
    """The same data in types of standard JSON: numpy numbers and arrays become numbers and lists, NaN and infinity become None."""
    if isinstance(data, np.generic | np.ndarray):
        data = data.tolist()
    if isinstance(data, dict):
        return {str(key): standard_json(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [standard_json(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds; None where there is no file, or none that can be read."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError):
        return None


def write_json_atomically(path: str | os.PathLike[str], data: Any) -> None:
    """Write `data` to `path` as JSON; readers see the old file or the new one, never a part.

    Raises OSError if it cannot be written (a full disk, for example); then the old file remains, and no temporary one is left.
    """
    path = Path(path)
    text = json.dumps(standard_json(data), indent=2, allow_nan=False) + "\n"
    write_file(path, [text.encode()])
    sync_folder(path.parent)
