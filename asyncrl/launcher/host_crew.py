"""The crew of a simulated run: virtual workers, all in one process."""

from __future__ import annotations

from multiprocessing import connection as mp_connection
from typing import Any

from asyncrl.errors import WorkerFailed
from asyncrl.launcher.contract import Estate, SharedGround
from asyncrl.launcher.crew import Body, Crew
from asyncrl.launcher.watch import Watch
from asyncrl.processes.fork_server import Context
from asyncrl.processes.interrupts import held
from asyncrl.processes.starting import dismiss, start, stop_all
from asyncrl.scheduler.board import HEARTBEAT
from asyncrl.workers.hosting import Hosting, run_host


class HostCrew(Crew):
    """Slots as ever, which share one process and one connection: its messages say whose they are.

    Nobody is replaced: a worker that raises would raise again, since its run is the same to the bit, and what the others do after
    its death would depend on when that is seen. So the first failure ends the run.

    Writes, Reads, Crash: as `Crew`; but the places of ``parking`` stay the host's.
    """

    def __init__(self, context: Context, ground: SharedGround, estate: Estate, body_of: Body, watch: Watch, hosting: Hosting):
        super().__init__(context, ground, estate, body_of, watch)
        self._hosting = hosting
        self._process: Any = None
        self._connection: mp_connection.Connection | None = None

    def start_all(self) -> None:
        bodies = [self._body_of(worker, slot.generation) for worker, slot in enumerate(self.slots)]
        with held():
            self._process, self._connection = start(self._context, run_host, "asyncrl-host", (bodies, self._hosting))
            for slot in self.slots:
                slot.hold(self._process, self._connection)

    def kill(self, worker: int) -> None:
        """End the host, and with it everybody."""
        stop_all([self._process], 0.0)
        self._receive(worker)

    def dismiss(self, worker: int, replace: bool) -> None:
        """The same without counting it as a failure, since the run is about to end."""
        stop_all([self._process], 0.0)
        self._vacate()

    def end(self, patience: float) -> None:
        if self._process is None:
            return
        if not all(slot.granted for slot in self.slots):
            dismiss(self._process)
        stop_all([self._process], patience)
        self._read_all()
        self._vacate()

    def silence(self, worker: int, now: float) -> float:
        """Of the worker that gave the newest sign of life; the others wait for their turns."""
        board = self._ground.board
        signs = [board.stands(one, HEARTBEAT) for one in range(len(self.slots))]
        return now - signs[worker] / 1e9 if signs[worker] == max(signs) else 0.0

    def _orphans(self) -> list[int]:
        """None: who has no turn yet is no dead worker."""
        return []

    def _send(self, worker: int, message: Any) -> None:
        assert self._connection is not None
        self._connection.send((worker, message))

    def _receive(self, worker: int) -> None:
        if self._process is None:
            return
        for ready in self._read_all():
            self.grant(ready)
        if not self._process.is_alive():
            self._handle_death(worker)

    def _read_all(self) -> list[int]:
        """Receive all messages; returns the workers that have become ready."""
        ready = []
        for worker, message in self._messages(self._connection):
            if self._take(self.slots[worker], message):
                ready.append(worker)
        return ready

    def _handle_death(self, worker: int) -> None:
        """The end of the run. Raises UserError or WorkerFailed."""
        self._process.join()
        code = self._process.exitcode
        failed = next((one for one, slot in enumerate(self.slots) if slot.failed is not None), None)
        slot = self.slots[worker if failed is None else failed]
        was_built = slot.ready
        self._vacate()
        if failed is not None:
            self._watch.judge(failed, slot, code, was_built)
        how = f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
        raise WorkerFailed(f"the process of all virtual workers {how}; `asyncrl resume` goes on from the newest checkpoint")

    def _vacate(self) -> None:
        self._process = None
        for worker, slot in enumerate(self.slots):
            slot.vacate()
            self._estate.bury(worker, self.epoch_runs)
