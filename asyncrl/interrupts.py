"""Ctrl-C and SIGTERM that neither get lost nor break anything.

What a signal's handler raises is raised wherever the main thread happens to be. Between two lines of ours that leaves half-made
things behind; while Numba loads or compiles, its tables stay broken for the rest of the process; in a finaliser or in a callback
from C it is printed and dropped. So the handler only remembers, and whoever carries something long out asks. It raises where
somebody has said that it may (`interruptible`), and at the second signal.
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

TOGETHER_SECONDS = 0.5
"""Signals that come within so many seconds of the first count as the same: `timeout` sends one to the process and one to its group."""


class Interrupts:
    """While it is entered: the handler of SIGINT and SIGTERM. It remembers the first one, and raises KeyboardInterrupt at the second.

    Entered within another's `with`, it goes on with what that one has seen. Outside the main thread it does nothing.
    """

    def __init__(
        self, told: Callable[[], None] = lambda: None, raises: bool = False, numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)
    ):
        """`told()` is called by the handler at the first signal, to wake whoever should ask. `raises`: the first one raises as well."""
        self.seen = False
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
            raise KeyboardInterrupt

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self) for number in self._numbers}
            self.seen |= any(isinstance(handler, Interrupts) and handler.seen for handler in self._before.values())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first signal raises, also one that has come before: for the user's code, and for waits that may never end."""
    handler = signal.getsignal(signal.SIGINT)
    if not isinstance(handler, Interrupts) or threading.current_thread() is not threading.main_thread():
        yield
        return
    before, handler.raises = handler.raises, True
    try:
        handler.check()
        yield
    finally:
        handler.raises = before
