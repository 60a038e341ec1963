"""`python -m asyncrl`, and the console script. Worker processes import this file again, so it must stay light."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from asyncrl.processes.interrupts import ENDING, ignored_from_the_start


def main() -> NoReturn:
    """Run the command line; signals are heard from before the first import until after the last line."""
    for number in ENDING:
        if not ignored_from_the_start(number):
            signal.signal(number, _end_at_once)
    _look_where_the_caller_is()
    from asyncrl.cli.main import main as run

    code = run()
    for number in ENDING:  # the command is over: all that could be interrupted is Python's own end
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _look_where_the_caller_is() -> None:
    """Find modules of the caller's folder, for ids such as ``module:Env-v0``: `python -m` does, a console script looks in its own folder.

    Workers are handed the same path.
    """
    if not sys.flags.safe_path:
        with contextlib.suppress(FileNotFoundError):  # a folder that was removed
            here = os.getcwd()
            if here not in sys.path:
                sys.path.insert(0, here)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """While modules are imported nothing is half-done, and nothing is there to be tidied up."""
    os.write(2, b"asyncrl: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
