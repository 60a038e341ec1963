"""How a process that runs the user's code ends: it closes its environments and does what `atexit` was told, within a time.

All ways lead here: the end of its work, an error, and the launcher's dismissal (`processes.dismiss`), whatever it is doing then.
Only SIGKILL, and an end of the main process, leave it no time.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType

from asyncrl.envs.closing import close_all, collect
from asyncrl.processes.interrupts import HOLDS
from asyncrl.processes.starting import CLOSING_SECONDS, DISMISSAL


class Dismissed(BaseException):
    """The launcher does not wait for this process any longer. Not an Exception: the user's code should not take it for one."""


class _Life:
    """Whether the process works or leaves, as the handler of DISMISSAL: what is raised is raised once, and only while it works."""

    def __init__(self) -> None:
        self.works = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """See `signal.signal`."""
        if self.works:
            self.works = False
            HOLDS.throw(Dismissed())


def live(work: Callable[[], int], tell: Callable[[str], None]) -> None:
    """Process body: `work()`, which returns an exit code, and then the end. `tell`: what went wrong at the end, for the user.

    One that was dismissed kills itself at last: it is one of those that the launcher has killed.
    """
    life, dismissed, code = _Life(), False, 1
    signal.signal(DISMISSAL, life)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [DISMISSAL])
    _forget_exits_of_the_fork_server()
    made = collect()
    try:
        life.works = True
        code = work()
        life.works = False
    except Dismissed:
        dismissed = True
    finally:
        life.works = False
        last = _Last(dismissed, code, tell)
        close_all(made, tell, last.begins)
        last.begins("what was registered with atexit")
        atexit._run_exitfuncs()
        last.begins("a thread or a process of its own")
        if dismissed:
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]
            last.end()
    if code:
        sys.exit(code)


class _Last:
    """Sees to it that the end has an end: CLOSING_SECONDS after it was made, the process is gone, whatever it is doing."""

    def __init__(self, dismissed: bool, code: int, tell: Callable[[str], None]):
        self._dismissed, self._code, self._tell = dismissed, code, tell
        self._doing = ""
        timer = threading.Timer(CLOSING_SECONDS, self._give_up)
        timer.daemon = True
        timer.start()

    def begins(self, what: str) -> None:
        """From now on this is waited for."""
        self._doing = what

    def end(self) -> None:
        """End the process at once."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self._dismissed:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(self._code)

    def _give_up(self) -> None:
        self._tell(f"{self._doing} did not end within {CLOSING_SECONDS:g} s; its process was ended")
        for child in multiprocessing.active_children():
            child.kill()
        self.end()


def to_stderr(text: str) -> None:
    """Tell the user where nobody else would."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def _forget_exits_of_the_fork_server() -> None:
    """What was registered with `atexit` before this process was forked is its parent's to do (as Python itself does from 3.14 on)."""
    if multiprocessing.get_start_method(allow_none=True) != "forkserver":
        return
    atexit._clear()
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False
    # Of those that Python registers once, where they are first needed:
    atexit.register(logging.shutdown)
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
