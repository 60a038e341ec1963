"""The launcher: starts workers, watches them, settles the estate of the dead, replaces them, opens and closes the gate.

It runs in the main process and is the one writer of the board's orders. Everything happens in `turn`, which sleeps until
a process ends, a worker says something, or somebody's progress concerns it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection as mp_connection
from multiprocessing.context import BaseContext
from typing import Any

from asyncrl.errors import UserError, WorkerFailed
from asyncrl.estates import Estate, SharedGround
from asyncrl.processes import start, stop_all
from asyncrl.scheduler.board import ARRIVED, COMMAND, DRAIN, HEARTBEAT, MARK, OBEYED, OPENED, PHASE, PHASES, REQUEST, STOP
from asyncrl.scheduler.modes import Mode
from asyncrl.workers.messages import Failed, Go, Note, Ready

BACK_OFF_SECONDS = 0.25
LONGEST_BACK_OFF_SECONDS = 30.0
SILENT_SECONDS = 4.0
PATIENCE_SECONDS = 3.0


@dataclass
class Slot:
    """A worker's place: the process that has it, or that will."""

    process: Any = None
    connection: mp_connection.Connection | None = None
    generation: int = 0
    ready: bool = False
    """The process is built and waits for the slot."""
    granted: bool = False
    """The process owns the slot's words; otherwise the launcher does."""
    start_at: float | None = None
    """When a replacement is to be started."""
    failures: int = 0
    """Processes in a row that did not complete a round."""
    rounds_at_grant: float = 0.0
    failed: Failed | None = None
    told_hung: bool = False
    restarts: int = 0


@dataclass
class Watch:
    """How the launcher treats trouble."""

    max_failures: int
    hang_seconds: float
    replace_hung: bool
    note: Callable[[str], None]
    """Where warnings go."""
    say: Callable[[str], None]
    """Where news goes."""
    name_of: Callable[[int], str]
    """worker -> how messages call it: worker, environment, seed."""
    same_place: dict[str, int] = field(default_factory=dict)
    """Where workers raised, and how often."""


Body = Callable[[int, int], tuple[Callable[..., None], Any]]


class Launcher:
    """See the module."""

    def __init__(self, context: BaseContext, ground: SharedGround, estate: Estate, body_of: Body, watch: Watch):
        """`body_of(worker, generation)`: the function that a process runs, and what it is handed."""
        self._context = context
        self._ground = ground
        self._estate = estate
        self._body_of = body_of
        self._watch = watch
        self._place = ground.board.workers
        self.slots = [Slot() for _ in range(ground.board.workers)]
        self._starting = True
        self._epoch_runs = False
        self._next_hang_check = 0.0

    # Processes.

    def start(self) -> None:
        """Start every worker and wait until all are built and at the gate. Raises UserError or WorkerFailed where one can't be."""
        for worker in range(len(self.slots)):
            self._start(worker)
        patience = time.monotonic() + SILENT_SECONDS
        while not (all(slot.granted for slot in self.slots) and self.all_at_gate()):
            self.turn(0.5)
            if time.monotonic() > patience:
                patience = float("inf")
                self._watch.say("still starting: the first run on a machine compiles its kernels, which takes about half a minute")
        self._starting = False

    def _start(self, worker: int) -> None:
        slot = self.slots[worker]
        body, plan = self._body_of(worker, slot.generation)
        slot.process, slot.connection = start(self._context, body, f"asyncrl-worker-{worker}", (plan,))
        slot.start_at, slot.ready, slot.granted, slot.failed, slot.told_hung = None, False, False, None, False
        slot.generation += 1

    def _grant(self, worker: int) -> None:
        """Hand the slot's words to its process; the launcher writes none of them from now on."""
        slot, board = self.slots[worker], self._ground.board
        slot.granted = True
        slot.rounds_at_grant = self._rounds(worker)
        self._ground.parking.arise(worker)
        board.stand(worker, HEARTBEAT, time.monotonic_ns())
        board.stand(worker, PHASE, PHASES.index("waiting"))
        # What its predecessor had reached and obeyed is not its own: else the gate would not wait for it, and it would write
        # its part of a checkpoint that has been sealed without it.
        board.stand(worker, ARRIVED, board.order(OPENED))
        board.stand(worker, OBEYED, board.order(COMMAND))
        self._estate.grant(worker, self._epoch_runs)
        assert slot.connection is not None
        with contextlib.suppress(OSError):  # it died just now: its sentinel tells
            slot.connection.send(Go(self._epoch_runs))
        self._ground.parking.wake_all()

    def _rounds(self, worker: int) -> float:
        ledger = self._ground.ledger
        return float(ledger.column(ledger.read(worker), "rounds")[0])

    # Watching.

    def turn(self, seconds: float) -> None:
        """Sleep until something concerns the launcher (at most so long), and deal with it."""
        seconds = min([seconds] + [max(slot.start_at - time.monotonic(), 0.0) for slot in self.slots if slot.start_at])
        parking = self._ground.parking
        dead = [worker for worker, slot in enumerate(self.slots) if not slot.granted]
        for place in dead:  # the launcher's own place needs none: who arrives at the gate wakes it in any case
            parking.announce(place)
        waiting: dict[Any, int] = {}
        for worker, slot in enumerate(self.slots):
            if slot.process is not None:
                waiting[slot.process.sentinel] = worker
                waiting[slot.connection] = worker
        doors = [parking.fileno(place) for place in [self._place, *dead]]
        idle = not self._stand_in()  # once more after announcing, so that nothing was missed
        woken = mp_connection.wait([*waiting, *doors], timeout=seconds if idle else 0.0)
        for place in [self._place, *dead]:
            parking.arise(place)
        for one in woken:
            if one in waiting:
                self._hear(waiting[one])
        self._stand_in()
        self._replace()
        self._check_hung()

    def _hear(self, worker: int) -> None:
        slot = self.slots[worker]
        if slot.process is None:
            return
        with contextlib.suppress(EOFError, ConnectionResetError):
            while slot.connection is not None and slot.connection.poll():
                message = slot.connection.recv()
                if isinstance(message, Ready):
                    slot.ready = True
                    for note in message.notes:
                        self._watch.note(note)
                    if self._epoch_runs or self._starting:
                        self._grant(worker)
                elif isinstance(message, Note):
                    self._watch.note(message.text)
                elif isinstance(message, Failed):
                    slot.failed = message
        if not slot.process.is_alive():
            self._bury(worker)

    def _bury(self, worker: int) -> None:
        """A worker's process is confirmed dead: the launcher becomes the writer of its words."""
        slot, watch = self.slots[worker], self._watch
        slot.process.join()
        code = slot.process.exitcode
        slot.process.close()
        assert slot.connection is not None
        slot.connection.close()
        was_built = slot.ready
        slot.failures = 0 if slot.granted and self._rounds(worker) > slot.rounds_at_grant else slot.failures + 1
        slot.process, slot.connection, slot.ready, slot.granted = None, None, False, False
        self._estate.bury(worker, self._epoch_runs)
        self._ground.parking.wake_all()  # whoever waited for it need not any more
        self._judge(worker, code, was_built)
        slot.restarts += 1
        delay = min(BACK_OFF_SECONDS * 2 ** min(slot.failures - 2, 10), LONGEST_BACK_OFF_SECONDS) if slot.failures > 1 else 0.0
        slot.start_at = time.monotonic() + delay
        how = f"failed: {slot.failed.text}" if slot.failed else f"was killed (signal {-code})" if code < 0 else f"ended with code {code}"
        watch.note(f"{watch.name_of(worker)} {how}; it is being replaced")

    def _judge(self, worker: int, code: int, was_built: bool) -> None:
        """Raise where replacing would not help."""
        slot, watch = self.slots[worker], self._watch
        count = slot.failures
        if slot.failed is None and self._estate.irreplaceable(worker):
            raise WorkerFailed(
                f"{watch.name_of(worker)} died (exit code {code}), and with it what it had learned since the last checkpoint; "
                "go on from there with `asyncrl resume`"
            )
        if slot.failed is not None:
            count = max(count, watch.same_place.get(slot.failed.where, 0) + 1)
            watch.same_place[slot.failed.where] = count
        never_built = slot.failed is not None and not was_built and slot.generation == 1
        hopeless = slot.failed is not None and slot.failed.hopeless
        if count < watch.max_failures and not never_built and not hopeless and not self._estate.irreplaceable(worker):
            return
        if slot.failed is None:
            raise WorkerFailed(f"{watch.name_of(worker)} died {count} times in a row (exit code {code})")
        kind = UserError if slot.failed.of_the_user else WorkerFailed
        times = f" ({count} times)" if count > 1 else ""
        line, trace = f"{watch.name_of(worker)}, step {slot.failed.steps}{times}: {slot.failed.text}", slot.failed.traceback.rstrip()
        if not hopeless:
            raise kind(f"{line}\n{trace}")
        error = kind(line)
        error.add_note(trace)
        raise error

    def _stand_in(self) -> bool:
        """Make the moves that the dead owe the living. Returns whether any was made."""
        if not self._epoch_runs or not any(slot.granted for slot in self.slots):
            return False
        return self._estate.stand_in()

    def _replace(self) -> None:
        now = time.monotonic()
        for worker, slot in enumerate(self.slots):
            if slot.start_at is not None and slot.start_at <= now:
                self._start(worker)

    def _check_hung(self) -> None:
        now = time.monotonic()
        if now < self._next_hang_check or not self._epoch_runs:
            return
        self._next_hang_check = now + 0.5
        board, watch = self._ground.board, self._watch
        for worker, slot in enumerate(self.slots):
            if not slot.granted:
                continue
            idle = now - board.stands(worker, HEARTBEAT) / 1e9
            phase = PHASES[board.stands(worker, PHASE)]
            waits = phase in ("waiting", "applying", "at the gate")  # for others, not in its environment
            if idle < watch.hang_seconds or waits:
                slot.told_hung = False
            elif not slot.told_hung:
                slot.told_hung = True
                doing = "it is being replaced" if watch.replace_hung else "replace such workers with --replace-hung"
                watch.note(f"{watch.name_of(worker)} has made no progress for {idle:.0f} s (while {phase}); {doing}")
                if watch.replace_hung:
                    slot.process.kill()

    # The gate.

    def open_gate(self, mode: Mode, mark: int, drain: int = 0) -> None:
        """Begin an epoch: all are at the gate; go on under `mode` until the steps reach `mark`.

        `drain`: from so many steps on another mode holds; 0: none.
        """
        board = self._ground.board
        board.set_mode(mode)
        board.set_order(MARK, mark)
        board.set_order(DRAIN, drain)
        owned = [slot.granted for slot in self.slots]
        self._estate.open(mode, owned)
        self._open()
        self._epoch_runs = True
        self._estate.opened(mode, owned)
        for worker, slot in enumerate(self.slots):
            if slot.ready and not slot.granted:
                self._grant(worker)

    def _open(self) -> None:
        board = self._ground.board
        number = board.order(OPENED) + 1
        board.set_order(REQUEST, number)
        board.set_order(OPENED, number)
        self._ground.parking.wake_all()

    def request_gate(self) -> None:
        """Ask everybody to finish the round and come to the gate."""
        board = self._ground.board
        board.set_order(REQUEST, board.order(OPENED) + 1)
        self._ground.parking.wake_all()

    def all_at_gate(self) -> bool:
        """Whether the epoch is over: every live worker has arrived, and the dead owe nothing."""
        board = self._ground.board
        awaited = board.order(OPENED) + 1
        for worker, slot in enumerate(self.slots):
            if slot.granted and board.stands(worker, ARRIVED) < awaited:
                return False
            if not slot.granted and not self._estate.owes_nothing(worker):
                return False
        return any(slot.granted for slot in self.slots)

    def close_epoch(self) -> None:
        """To be called when all are at the gate."""
        self._epoch_runs = False
        self._estate.close()

    def save_workers(self, steps: int, seconds: float = 60.0) -> None:
        """Order all at the gate to write their parts of the checkpoint of this step, and wait for it."""
        board = self._ground.board
        board.set_order(COMMAND, steps)
        self._ground.parking.wake_all()
        deadline = time.monotonic() + seconds
        while any(slot.granted and board.stands(worker, OBEYED) < steps for worker, slot in enumerate(self.slots)):
            if time.monotonic() > deadline:
                self._kill_savers(steps)
                return
            self.turn(0.05)

    def _kill_savers(self, steps: int) -> None:
        """Replace those who still write: they must not go on when the checkpoint is sealed."""
        for worker, slot in enumerate(self.slots):
            if slot.granted and self._ground.board.stands(worker, OBEYED) < steps:
                self._watch.note(f"{self._watch.name_of(worker)} did not save its state in time; its part is missing from the checkpoint")
                slot.process.kill()
                slot.process.join()
                self._hear(worker)

    def stop(self) -> None:
        """End every worker: ask, terminate, kill, with one deadline. Then settle what all of them leave. Idempotent."""
        self._ground.board.set_order(STOP, 1)
        if self._epoch_runs:
            self.request_gate()
        else:
            self._open()
        for slot in self.slots:
            if slot.process is not None and not slot.granted:
                slot.process.terminate()  # it knows of no gate yet
        processes = [slot.process for slot in self.slots if slot.process is not None]
        stop_all(processes, 0.0 if self._epoch_runs else PATIENCE_SECONDS)
        for slot in self.slots:
            if slot.process is not None:
                slot.process.close()
                assert slot.connection is not None
                slot.connection.close()
            slot.process, slot.connection, slot.ready, slot.granted, slot.start_at = None, None, False, False, None
        self._estate.settle_all(self._epoch_runs)
        self.close_epoch()

    def version(self) -> int:
        """Updates that the shared parameters have seen."""
        return self._estate.version()
