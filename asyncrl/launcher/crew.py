"""The workers' processes: starting them, receiving their messages, recovering from their deaths, replacing them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection as mp_connection
from typing import Any

from asyncrl.launcher.contract import Estate, SharedGround
from asyncrl.launcher.slots import Slot
from asyncrl.launcher.watch import Watch
from asyncrl.processes.fork_server import Context
from asyncrl.processes.interrupts import held
from asyncrl.processes.starting import DISMISSED_SECONDS, dismiss, start, stop_all
from asyncrl.scheduler.board import ARRIVED, COMMAND, HEARTBEAT, OBEYED, OPENED, PHASE, PHASES
from asyncrl.workers.messages import Failed, Go, Note, Ready

BACK_OFF_SECONDS = 0.25
LONGEST_BACK_OFF_SECONDS = 30.0

Body = Callable[[int, int], tuple[Callable[..., None], Any]]


class Crew:
    """One slot per worker, and the process in it.

    Writes:  the words of a slot that no process owns, from the confirmed death of its process until the next process is
             granted the slot: its line of `station`, its place of `parking`, and through the estate what others wait for.
    Reads:   heartbeats, phases and rounds of all workers; the orders OPENED and COMMAND. `gate.Launcher` writes the orders.
    Crash:   it belongs to the main process, with which all workers end.
    """

    def __init__(self, context: Context, ground: SharedGround, estate: Estate, body_of: Body, watch: Watch):
        """`body_of(worker, generation)`: the function that a process runs, and its argument."""
        self._context = context
        self._ground = ground
        self._estate = estate
        self._body_of = body_of
        self._watch = watch
        self._place = ground.board.workers
        self._next_hang_check = 0.0
        self.slots = [Slot() for _ in range(ground.board.workers)]
        self.starting = True
        """True before the first epoch. A process that is ready then, or during an epoch, is granted its slot at once. `Launcher` sets
        this and `epoch_runs`."""
        self.epoch_runs = False

    def start_all(self) -> None:
        """Start everybody's process."""
        for worker in range(len(self.slots)):
            self.start(worker)

    def start(self, worker: int) -> None:
        """Start a process for a slot without one."""
        slot = self.slots[worker]
        body, plan = self._body_of(worker, slot.generation)
        with held():
            slot.hold(*start(self._context, body, f"asyncrl-worker-{worker}", (plan,)))

    def grant(self, worker: int) -> None:
        """Give the slot's words to its process; from now on the launcher does not write them."""
        slot, board = self.slots[worker], self._ground.board
        slot.granted = True
        slot.rounds_at_grant = self._rounds(worker)
        self._ground.parking.arise(worker)
        board.stand(worker, HEARTBEAT, time.monotonic_ns())
        board.stand(worker, PHASE, PHASES.index("waiting"))
        # Reset what the predecessor had reached and obeyed: otherwise the gate would not wait for the new process, and it would
        # write its part of a checkpoint that has been sealed without it.
        board.stand(worker, ARRIVED, board.order(OPENED))
        board.stand(worker, OBEYED, board.order(COMMAND))
        self._estate.grant(worker, self.epoch_runs)
        with contextlib.suppress(OSError):  # it has just died, which its sentinel reports
            self._send(worker, Go(self.epoch_runs))
        self._ground.parking.wake_all()

    def _send(self, worker: int, message: Any) -> None:
        """Send a message to a worker's process. Raises OSError."""
        connection = self.slots[worker].connection
        assert connection is not None
        connection.send(message)

    def silence(self, worker: int, now: float) -> float:
        """Seconds since the worker's last sign of life. `now`: time.monotonic()."""
        return now - self._ground.board.stands(worker, HEARTBEAT) / 1e9

    def _orphans(self) -> list[int]:
        """The workers for which the launcher stands in."""
        return [worker for worker, slot in enumerate(self.slots) if not slot.granted]

    def turn(self, seconds: float) -> None:
        """Sleep until there is something to do, at most `seconds`, and do it."""
        due = [at for slot in self.slots for at in (slot.start_at, slot.kill_at) if at is not None]
        seconds = min([seconds] + [max(at - time.monotonic(), 0.0) for at in due])
        parking = self._ground.parking
        dead = self._orphans()
        for place in dead:  # not for the launcher's own place, which a worker that arrives at the gate wakes in any case
            parking.announce(place)
        waiting: dict[Any, int] = {}
        for worker, slot in enumerate(self.slots):
            if slot.process is not None:
                waiting[slot.process.sentinel] = worker
                waiting[slot.connection] = worker
        pipes = [parking.fileno(place) for place in [self._place, *dead]]
        idle = not self._stand_in()  # checked once more after announcing, so that no progress is missed
        woken = mp_connection.wait([*waiting, *pipes], timeout=seconds if idle else 0.0)
        for place in [self._place, *dead]:
            parking.arise(place)
        for one in woken:
            if one in waiting:
                self._receive(waiting[one])
        self._stand_in()
        self._replace()
        self._check_hung()
        self._kill_overdue()

    def kill(self, worker: int) -> None:
        """Kill a worker's process and recover from its death."""
        stop_all([self.slots[worker].process], 0.0)
        self._receive(worker)

    def dismiss(self, worker: int, replace: bool) -> None:
        """Kill a worker's process and recover from its death, without counting it as a failure, since the run is about to end.

        With `replace` a new process is started in its slot.
        """
        slot = self.slots[worker]
        stop_all([slot.process], 0.0)
        slot.vacate()
        self._estate.bury(worker, self.epoch_runs)
        self._ground.parking.wake_all()
        if replace:
            slot.restarts, slot.start_at = slot.restarts + 1, time.monotonic()

    def end(self, patience: float) -> None:
        """End every process: wait `patience` seconds, then terminate and kill. All slots are empty afterwards. Idempotent."""
        for slot in self.slots:
            if slot.process is not None and not slot.granted:
                dismiss(slot.process)  # it is still being built and does not read the orders
        stop_all([slot.process for slot in self.slots if slot.process is not None], patience)
        for slot in self.slots:
            if slot.connection is not None:
                self._read(slot)  # its last messages
            slot.vacate()

    def _receive(self, worker: int) -> None:
        slot = self.slots[worker]
        if slot.process is None:
            return
        if self._read(slot) and (self.epoch_runs or self.starting):
            self.grant(worker)
        if not slot.process.is_alive():
            self._handle_death(worker)

    def _read(self, slot: Slot) -> bool:
        """Receive a process's messages; returns whether it has become ready."""
        ready = [self._take(slot, message) for message in self._messages(slot.connection)]  # all are taken in
        return any(ready)

    def _messages(self, connection: mp_connection.Connection | None) -> Iterator[Any]:
        """What has come over a connection."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while connection is not None and connection.poll():
                yield connection.recv()

    def _take(self, slot: Slot, message: Any) -> bool:
        """Take in one of the slot's messages; returns whether its process has become ready."""
        if isinstance(message, Ready):
            slot.ready = True
            for note in message.notes:
                self._watch.note(note)
        elif isinstance(message, Note):
            self._watch.note(message.text)
        elif isinstance(message, Failed):
            slot.failed = message
        return isinstance(message, Ready)

    def _handle_death(self, worker: int) -> None:
        """Handle the confirmed death of a worker's process: the launcher becomes the writer of its words and recovers from it."""
        slot, watch = self.slots[worker], self._watch
        slot.process.join()
        code, was_built, lost = slot.process.exitcode, slot.ready, slot.process.lost
        if slot.granted and self._rounds(worker) > slot.rounds_at_grant:
            slot.failures = 0
        elif not lost:  # a process that ends with the fork server is no failure of the user's code
            slot.failures += 1
        slot.vacate()
        self._estate.bury(worker, self.epoch_runs)
        self._ground.parking.wake_all()  # workers that waited for it need not wait any more
        watch.judge(worker, slot, code, was_built)
        slot.restarts += 1
        delay = min(BACK_OFF_SECONDS * 2 ** min(slot.failures - 2, 10), LONGEST_BACK_OFF_SECONDS) if slot.failures > 1 else 0.0
        slot.start_at = time.monotonic() + delay
        watch.note(f"{watch.name_of(worker)} {_ending(slot.failed, code, lost)}; it is being replaced")

    def _rounds(self, worker: int) -> float:
        ledger = self._ground.ledger
        return float(ledger.column(ledger.read(worker), "rounds")[0])

    def _stand_in(self) -> bool:
        """Do what workers without a process would have to do for the others. Returns whether anything was done."""
        if not self.epoch_runs or not any(slot.granted for slot in self.slots):
            return False
        return self._estate.stand_in()

    def _replace(self) -> None:
        now = time.monotonic()
        for worker, slot in enumerate(self.slots):
            if slot.start_at is not None and slot.start_at <= now:
                self.start(worker)

    def _check_hung(self) -> None:
        now = time.monotonic()
        if now < self._next_hang_check or not self.epoch_runs:
            return
        self._next_hang_check = now + 0.5
        for worker, slot in enumerate(self.slots):
            may_be_silent = self._estate.may_be_silent(worker)
            if slot.granted and self._watch.is_to_be_killed(worker, slot, self._ground.board, self.silence(worker, now), may_be_silent):
                dismiss(slot.process)  # its sentinel reports the end
                slot.kill_at = now + DISMISSED_SECONDS

    def _kill_overdue(self) -> None:
        """Kill processes that were terminated and have not ended in time."""
        for slot in self.slots:
            if slot.kill_at is not None and slot.kill_at <= time.monotonic():
                slot.kill_at = None
                slot.process.kill()


def _ending(failed: Failed | None, code: int, lost: bool) -> str:
    """How a process ended, as text for the user."""
    if failed:
        return f"failed: {failed.text}"
    if lost:
        return "ended with the fork server, which was killed"
    return f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
