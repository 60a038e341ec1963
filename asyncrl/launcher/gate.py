"""The launcher's side of the gate: it opens and closes epochs, orders checkpoints, and ends the run."""

from __future__ import annotations

import time
from collections.abc import Callable

from asyncrl.launcher.contract import Estate, SharedGround
from asyncrl.launcher.crew import Body, Crew
from asyncrl.launcher.patience import Patience
from asyncrl.launcher.slots import Slot
from asyncrl.launcher.watch import Watch
from asyncrl.processes.fork_server import Context
from asyncrl.scheduler.board import ARRIVED, COMMAND, DRAIN, MARK, OBEYED, OPENED, REQUEST, STOP
from asyncrl.scheduler.modes import Mode

SILENT_SECONDS = 4.0
PATIENCE_SECONDS = 3.0


class Launcher:
    """Drives a run's workers from the main process: starts them, opens and closes epochs, and stops them.

    Writes:  all orders of the board, as the only writer. When an epoch opens, the estate's words that say who takes part.
             Words of workers without a process are written by `crew.Crew`.
    Reads:   which workers have arrived at the gate, and which have obeyed an order.
    Stale:   workers may see a request one round apart; the modes allow for that.
    """

    def __init__(
        self, context: Context, ground: SharedGround, estate: Estate, body_of: Body, watch: Watch, crew: Callable[..., Crew] = Crew
    ):
        """`body_of(worker, generation)`: the function that a process runs, and its argument; `crew`: what is given the same as this."""
        self._ground = ground
        self._estate = estate
        self._watch = watch
        self._crew = crew(context, ground, estate, body_of, watch)
        self._patience = Patience(self._crew, ground, watch)

    @property
    def slots(self) -> list[Slot]:
        """The workers' slots."""
        return self._crew.slots

    @property
    def epoch_runs(self) -> bool:
        """Whether an epoch was opened and is not closed yet."""
        return self._crew.epoch_runs

    def start(self, check: Callable[[], None] = lambda: None) -> None:
        """Start every worker and wait until all are built and at the gate. Raises UserError or WorkerFailed if one cannot be built.

        `check` is called twice a second and at the end; an exception that it raises ends the wait.
        """
        self._crew.start_all()
        patience = time.monotonic() + SILENT_SECONDS
        while not (all(slot.granted for slot in self.slots) and self.all_at_gate()):
            self.turn(0.5)
            check()
            if time.monotonic() > patience:
                patience = float("inf")
                self._watch.say("still starting: the first run on a machine compiles its kernels, which takes about half a minute")
        check()
        self._crew.starting = False

    def turn(self, seconds: float) -> None:
        """Sleep until there is something to do, at most `seconds`, and do it."""
        self._crew.turn(seconds)

    def open_gate(self, mode: Mode, mark: int, drain: int = 0) -> None:
        """Begin an epoch under `mode`, which lasts until the steps reach `mark`. All workers must be at the gate.

        `drain`: the step from which on another mode will hold; 0 for none.
        """
        board = self._ground.board
        board.set_mode(mode)
        board.set_order(MARK, mark)
        board.set_order(DRAIN, drain)
        owned = [slot.granted for slot in self.slots]
        self._estate.open(mode, owned)
        self._open()
        self._crew.epoch_runs = True
        self._estate.opened(mode, owned)
        for worker, slot in enumerate(self.slots):
            if slot.ready and not slot.granted:
                self._crew.grant(worker)

    def _open(self) -> None:
        board = self._ground.board
        number = board.order(OPENED) + 1
        board.set_order(REQUEST, number)
        board.set_order(OPENED, number)
        self._ground.parking.wake_all()

    def request_gate(self) -> None:
        """Ask all workers to finish their round and come to the gate."""
        board = self._ground.board
        board.set_order(REQUEST, board.order(OPENED) + 1)
        self._ground.parking.wake_all()

    def all_at_gate(self) -> bool:
        """Whether the epoch is over: every live worker has arrived, and no other worker is needed for it to end."""
        board = self._ground.board
        awaited = board.order(OPENED) + 1
        for worker, slot in enumerate(self.slots):
            if slot.granted and board.stands(worker, ARRIVED) < awaited:
                return False
            if not slot.granted and not self._estate.owes_nothing(worker):
                return False
        return any(slot.granted for slot in self.slots)

    def waits_on(self) -> bool:
        """Whether to continue waiting, after a request, for a worker whose round may be long."""
        silent = [worker for worker in range(len(self.slots)) if self._estate.may_be_silent(worker)]
        return bool(silent) and self._patience.waits(silent[0])

    def close_epoch(self) -> None:
        """End the epoch; to be called when all workers are at the gate."""
        self._crew.epoch_runs = False
        self._estate.close()

    def save_workers(self, steps: int, seconds: float = 60.0) -> None:
        """Order the workers at the gate to write their parts of the checkpoint of this step, and wait until they have.

        A worker without a heartbeat for `seconds` is replaced, since it must not write any more when the checkpoint is sealed. A worker
        that may be silent (a learner with a large replay) is waited for in any case, since its replacement would have to write the same.
        """
        self._ground.board.set_order(COMMAND, steps)
        self._ground.parking.wake_all()
        began, told = time.monotonic(), False
        while writing := [worker for worker in range(len(self.slots)) if self._writes(worker, steps)]:
            for worker in writing:
                now = time.monotonic()
                silent = min(now - began, self._crew.silence(worker, now))
                if silent > seconds and not self._estate.may_be_silent(worker):
                    self._kill_saver(worker)
                elif silent > seconds and not told:
                    told = True
                    name = self._watch.name_of(worker)
                    self._watch.note(f"{name} has saved nothing for {silent:.0f} s and is waited for (a second Ctrl-C ends the run)")
            self.turn(0.05)

    def _writes(self, worker: int, steps: int) -> bool:
        return self.slots[worker].granted and self._ground.board.stands(worker, OBEYED) < steps

    def _kill_saver(self, worker: int) -> None:
        self._watch.note(f"{self._watch.name_of(worker)} did not save its state in time; its part is missing from the checkpoint")
        self._crew.kill(worker)

    def stop(self) -> None:
        """End every worker by an order, then by terminating, then by killing, with one deadline; then complete open updates. Idempotent."""
        self._ground.board.set_order(STOP, 1)
        if self.epoch_runs:
            self.request_gate()
        else:
            self._open()
        # A process that is still being built, or was granted its slot but is not at the gate yet, does not see the order.
        self._crew.end(0.0 if self.epoch_runs or self._crew.starting else PATIENCE_SECONDS)
        self._estate.settle_all(self.epoch_runs)
        self.close_epoch()

    def version(self) -> int:
        """The newest version of the shared parameters."""
        return self._estate.version()

    def updates(self) -> int:
        """How many updates were made so far, as `Estate.updates` counts them."""
        return self._estate.updates()
