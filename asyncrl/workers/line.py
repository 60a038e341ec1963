"""The end of a virtual worker's line to the launcher: what a connection is to a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class Line:
    """Many lines lie on the one connection of the process in which the workers are; each message says whose it is."""

    def __init__(self, place: int, send: Callable[[Any], None], wait: Callable[[int, Callable[[], Any]], None]):
        """`send`: over the connection; `wait(place, condition)`: until it is true."""
        self._place, self._send, self._wait = place, send, wait
        self.inbox: deque[Any] = deque()

    def send(self, message: Any) -> None:
        """To the launcher. Raises OSError."""
        self._send((self._place, message))

    def recv(self) -> Any:
        """The launcher's next message."""
        if not self.inbox:
            self._wait(self._place, lambda: self.inbox)
        return self.inbox.popleft()
