"""Handling of Ctrl-C, SIGTERM and SIGHUP, so that a signal is neither lost nor leaves anything half-done.

An exception from a signal handler is raised wherever the main thread happens to be. Between two lines of code it leaves objects
half-built; while Numba loads or compiles, it breaks Numba's tables for the rest of the process; in a finaliser or in a callback from
C, Python prints and drops it. So the handler here only sets a flag, which long operations check. It raises only within
`interruptible`, at the second signal, and when the outermost `Interrupts` ends without the flag having been answered.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals on which only the main process acts. Ctrl-C in a terminal sends the first to every process of a run; `timeout`, systemd and
a container that is stopped send the second, a terminal that is closed the third. The workers must still run, for the checkpoint."""
TOGETHER_SECONDS = 0.5
"""Signals within so many seconds of the first count as one: `timeout` sends one to the process and another to its process group."""


def ignored_from_the_start(number: int) -> bool:
    """Whether this is SIGHUP and it was ignored when this process started, as `nohup` arranges."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class _Holds:
    """Counts how many `held` blocks the main thread is within, and keeps the exception that is raised when the outermost one ends.

    There is one such object in a process. Only the main thread reads and writes it; signal handlers run there too.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._due: BaseException | None = None

    def throw(self, error: BaseException) -> None:
        """Raise `error` now, or when the outermost `held` ends."""
        if not self._depth:
            raise error
        self._due = error

    def change(self, by: int) -> None:
        """Enter a `held` block (by = 1) or leave it (by = -1); leaving the outermost one raises what was kept."""
        self._depth += by
        if not self._depth and self._due is not None:
            due, self._due = self._due, None
            raise due


HOLDS = _Holds()
"""The one of this process. Signal handlers raise through its `throw`, so that `held` can delay the exception."""


class Interrupts:
    """A context manager that handles the signals of ENDING: it remembers the first, and raises KeyboardInterrupt at the second.

    Nested in another one, it starts with the signal that the outer one has seen, and passes its own on to it at the end. The outermost
    one raises KeyboardInterrupt at its end if a signal has come that was not answered. Outside the main thread it does nothing.
    """

    def __init__(self, told: Callable[[], None] = lambda: None, raises: bool = False, numbers: Sequence[int] = ENDING):
        """`told()` is called by the handler at the first signal, to wake a loop that calls `check`.

        `raises`: whether the first signal raises as well. `numbers`: the signals that are handled.
        """
        self.seen = False
        self.answered = False
        """Set by the caller when it reports the interruption itself, such as by the status of its result."""
        self.raises = raises
        self._first = -math.inf
        self._told, self._numbers = told, numbers
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal has come, even if it was raised once already and the exception was dropped."""
        if self.seen:
            raise KeyboardInterrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler that `signal.signal` is given: remember the signal, and raise KeyboardInterrupt at the second or if `raises`."""
        now, again, self.seen = time.monotonic(), self.seen, True
        if not again:
            self._first = now
            self._told()
        elif now < self._first + TOGETHER_SECONDS:
            return
        if again or self.raises:
            HOLDS.throw(KeyboardInterrupt())

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in self._numbers if not ignored_from_the_start(number)]
            self._before = {number: signal.signal(number, self) for number in heeded}
            self.seen |= any(outer.seen for outer in self._outer())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        before, outer = self._before, self._outer()
        for one in outer:
            one.seen |= self.seen
        for number, handler in before.items():
            signal.signal(number, handler)
        self._before = {}
        if kind is None and before and not outer and not self.answered:
            self.check()

    def _outer(self) -> list[Interrupts]:
        return [handler for handler in self._before.values() if isinstance(handler, Interrupts)]


def _current() -> Interrupts:
    """The innermost `Interrupts` that is entered; if there is none, a new one that is not installed and so never sees a signal."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, Interrupts) and threading.current_thread() is threading.main_thread() else Interrupts()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first signal raises, also one that came before: for code of the user's and for waits that may never end."""
    handler = _current()
    before, handler.raises = handler.raises, True
    try:
        handler.check()
        yield
    except Exception:
        handler.check()  # a library may have turned KeyboardInterrupt into an error of its own
        raise
    finally:
        handler.raises = before


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it no signal raises, not even the second; what is due is raised when it ends. For short work that must not be cut off."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread
        return
    HOLDS.change(1)
    try:
        yield
    finally:
        HOLDS.change(-1)
