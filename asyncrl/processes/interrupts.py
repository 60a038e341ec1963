"""Ctrl-C, SIGTERM and SIGHUP that neither get lost nor break anything.

What a signal's handler raises is raised wherever the main thread happens to be. Between two lines of ours that leaves half-made
things behind; while Numba loads or compiles, its tables stay broken for the rest of the process; in a finaliser or in a callback
from C it is printed and dropped. So the handler only remembers, and whoever carries something long out asks. It raises where
somebody has said that it may (`interruptible`), at the second signal, and at the end if nobody has asked.
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
"""Signals that only the main process acts on. A terminal sends the first, `timeout`, systemd or a container that is stopped the
second, and a terminal that is closed the third, to every process of a run: it must still be there to save what it has learned."""
TOGETHER_SECONDS = 0.5
"""Signals that come within so many seconds of the first count as the same: `timeout` sends one to the process and one to its group."""


def ignored_from_the_start(number: int) -> bool:
    """Whether this is SIGHUP, and whoever started this process wants it to be ignored, as `nohup` does."""
    return number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


class _Holds:
    """How often the main thread is within `held` now, and what is raised as the outermost one ends. One of them in a process.

    Writer and reader: the main thread, where signals' handlers run as well.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._due: BaseException | None = None

    def throw(self, error: BaseException) -> None:
        """Raise, now or as the outermost `held` ends."""
        if not self._depth:
            raise error
        self._due = error

    def change(self, by: int) -> None:
        """Enter (1) or leave (-1)."""
        self._depth += by
        if not self._depth and self._due is not None:
            due, self._due = self._due, None
            raise due


HOLDS = _Holds()
"""For handlers of signals that raise: see `held`."""


class Interrupts:
    """While it is entered: the handler of the signals of ENDING. It remembers the first one, and raises KeyboardInterrupt at the second.

    Within another's `with`, it goes on with what that one has seen, and leaves to it what it has seen itself. Without another one, what
    was not answered is raised as it ends. Outside the main thread it does nothing.
    """

    def __init__(self, told: Callable[[], None] = lambda: None, raises: bool = False, numbers: Sequence[int] = ENDING):
        """`told()` is called by the handler at the first signal, to wake whoever should ask. `raises`: the first one raises as well."""
        self.seen = False
        self.answered = False
        """To be set by who tells of the interruption in another way."""
        self.raises = raises
        self._first = -math.inf
        self._told, self._numbers = told, numbers
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt where a signal has come, even if it was raised before and dropped."""
        if self.seen:
            raise KeyboardInterrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """See `signal.signal`."""
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
    """The one that is entered; where there is none, one that nothing will ever come to."""
    handler = signal.getsignal(signal.SIGINT)
    return handler if isinstance(handler, Interrupts) and threading.current_thread() is threading.main_thread() else Interrupts()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first signal raises, also one that has come before: for the user's code, and for waits that may never end."""
    handler = _current()
    before, handler.raises = handler.raises, True
    try:
        handler.check()
        yield
    except Exception:
        handler.check()  # libraries make other errors of it
        raise
    finally:
        handler.raises = before


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it no signal raises, not even the second one, but as it ends: for what must not be cut in two, and is short."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread
        return
    HOLDS.change(1)
    try:
        yield
    finally:
        HOLDS.change(-1)
