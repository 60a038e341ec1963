"""What a process says when a library's C code ends it, where no exception can be raised: MuJoCo's fatal errors in compiled rounds.

Writers:  the process itself, at its start, before it makes an environment.
Readers:  the handler of the library that is about to end it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


_say: Callable[[str], None] = _to_stderr


def say_by(say: Callable[[str], None]) -> None:
    """From now on last words of this process are said by `say`."""
    global _say
    _say = say


def says() -> Callable[[str], None]:
    """What says them now."""
    return _say


def end(text: str) -> NoReturn:
    """Say `text` and end the process at once: what C code was doing cannot go on."""
    try:
        _say(text)
    finally:
        sys.stderr.flush()
        os._exit(1)
