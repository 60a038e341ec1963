"""Ctrl-C and SIGTERM that do not get lost.

A signal's handler raises wherever the main thread happens to be. What it raises in a finaliser or in a callback from C is
printed and dropped by Python; while modules are imported and kernels loaded there are thousands of those. So the handler also
remembers, and whoever carries something long out asks.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

TOGETHER_SECONDS = 0.5
"""Signals that come within so many seconds of the first count as the same: `timeout` sends one to the process and one to its group."""


class Interrupts:
    """While it is entered: the handler of SIGINT and SIGTERM. It remembers them, and raises KeyboardInterrupt unless told to wait.

    Entered again or within another's `with`, it goes on with what was seen before. Outside the main thread it does nothing.
    """

    def __init__(self, waits: Callable[[], bool] = lambda: False, numbers: Sequence[int] = (signal.SIGINT, signal.SIGTERM)):
        """`waits()`: whether the first signal is only to be remembered now; the second raises in any case."""
        self.seen = False
        self._first = -math.inf
        self._waits, self._numbers = waits, numbers
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
        elif now < self._first + TOGETHER_SECONDS:
            return
        if again or not self._waits():
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
