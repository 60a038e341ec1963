"""A worker's place. Processes come and go in it; its words in shared memory stay."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from typing import Any

from asyncrl.workers.messages import Failed


@dataclass
class Slot:
    """A worker's place: the process that has it, or that will."""

    process: Any = None
    connection: mp_connection.Connection | None = None
    generation: int = 0
    """Processes that were started for it."""
    ready: bool = False
    """The process is built and waits for the slot."""
    granted: bool = False
    """The process owns the slot's words; otherwise the launcher does."""
    start_at: float | None = None
    """When a replacement is to be started."""
    kill_at: float | None = None
    """When the process, which was dismissed, is to be killed."""
    failures: int = 0
    """Processes in a row that did not complete a round."""
    rounds_at_grant: float = 0.0
    failed: Failed | None = None
    """What the process said when it failed."""
    told_hung: bool = False
    restarts: int = 0

    def hold(self, process: Any, connection: mp_connection.Connection) -> None:
        """A new process is to have it."""
        self.process, self.connection = process, connection
        self.start_at, self.ready, self.granted, self.failed, self.told_hung = None, False, False, None, False
        self.generation += 1

    def vacate(self) -> None:
        """Its process, if any, has ended: let go of it."""
        if self.process is not None:
            assert self.connection is not None
            self.process.close()
            self.connection.close()
        self.process, self.connection, self.ready, self.granted, self.start_at, self.kill_at = None, None, False, False, None, None
