"""A worker's slot: it keeps its words in shared memory, while the processes in it are replaced."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from typing import Any

from asyncrl.workers.messages import Failed


@dataclass
class Slot:
    """A worker's slot and its present process, if there is one."""

    process: Any = None
    connection: mp_connection.Connection | None = None
    generation: int = 0
    """How many processes were started for it."""
    ready: bool = False
    """Whether the process is built and waits to be granted the slot."""
    granted: bool = False
    """Whether the process owns the slot's words; otherwise the launcher does."""
    start_at: float | None = None
    """When a replacement is to be started, by time.monotonic(); None for never."""
    kill_at: float | None = None
    """When the process, which was terminated, is to be killed, by time.monotonic(); None for never."""
    failures: int = 0
    """How many processes in a row did not complete a round."""
    rounds_at_grant: float = 0.0
    """The worker's completed rounds when the process was granted the slot."""
    started_at: float = 0.0
    """When the process was started, by time.monotonic()."""
    failed: Failed | None = None
    """The message of a process that has raised an exception."""
    told_hung: bool = False
    """Whether the user was told that the process hangs."""
    restarts: int = 0
    """How many processes were replaced."""

    @property
    def worked_seconds(self) -> float:
        """Seconds since the newest process was started."""
        return time.monotonic() - self.started_at

    def hold(self, process: Any, connection: mp_connection.Connection) -> None:
        """Put a new process into the slot."""
        self.process, self.connection, self.started_at = process, connection, time.monotonic()
        self.start_at, self.ready, self.granted, self.failed, self.told_hung = None, False, False, None, False
        self.generation += 1

    def vacate(self) -> None:
        """Release the process, if there is one, after it has ended."""
        if self.process is not None:
            assert self.connection is not None
            self.process.close()
            self.connection.close()
        self.process, self.connection, self.ready, self.granted, self.start_at, self.kill_at = None, None, False, False, None, None
