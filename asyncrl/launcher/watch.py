"""Which failures end a run, and which workers hang. Reads shared words, writes none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asyncrl.errors import UserError, WorkerFailed
from asyncrl.launcher.slots import Slot
from asyncrl.scheduler.board import PHASE, PHASES, Board
from asyncrl.workers.messages import Failed

MOST_FAILURES = 3
"""In a row by one worker, or of all at one place in the code, where the user names no other number."""
MOST_REPEATS = 2
"""The same of an exception at one place in the code that comes back soon: another try would most likely come to the same."""
SOON = 60.0
"""Seconds since the process was started within which an exception is taken for one that any process would meet."""

WAITS_FOR_OTHERS = ("waiting", "applying", "at the gate")
"""Phases in which a worker is not in its environment."""


@dataclass
class Watch:
    """How the launcher treats failures and hung workers. The first three fields are the options of the same names."""

    max_failures: int | None
    hang_seconds: float
    replace_hung: bool
    note: Callable[[str], None]
    """Called with warnings for the user."""
    say: Callable[[str], None]
    """Called with other messages for the user."""
    name_of: Callable[[int], str]
    """worker -> its name in messages: worker, environment, seed."""
    same_place: dict[str, int] = field(default_factory=dict)
    """Place in the code -> how often workers have raised there."""
    repeats: dict[str, int] = field(default_factory=dict)
    """The same, of processes that had lived for less than SOON; begun anew by one that had lived longer."""

    def judge(self, worker: int, slot: Slot, code: int, was_built: bool) -> None:
        """Judge the end of a process with exit code `code`. Raises UserError or WorkerFailed if replacing it would not help."""
        failed, name, count, most = slot.failed, self.name_of(worker), slot.failures, self.max_failures or MOST_FAILURES
        if failed is not None:
            count = max(count, self.same_place.get(failed.where, 0) + 1)
            self.same_place[failed.where] = count
            self.repeats[failed.where] = self.repeats.get(failed.where, 0) + 1 if slot.worked_seconds < SOON else 0
            if self.max_failures is None and self.repeats[failed.where] >= MOST_REPEATS:
                most = count
        never_built = failed is not None and not was_built and slot.generation == 1
        hopeless = failed is not None and failed.hopeless
        if count < most and not never_built and not hopeless:
            return
        raise WorkerFailed(f"{name} died {count} times in a row (exit code {code})") if failed is None else _error(name, failed, count)

    def is_to_be_killed(self, worker: int, slot: Slot, board: Board, idle: float, may_be_silent: bool) -> bool:
        """Whether a worker hangs and is to be killed for it. The user is told once that it hangs.

        `idle`: seconds since its last sign of life.

        A worker that may be silent is not killed: one update may take that long, and its replacement would have to repeat it.
        """
        phase = PHASES[board.stands(worker, PHASE)]
        if idle < self.hang_seconds or phase in WAITS_FOR_OTHERS:
            slot.told_hung = False
            return False
        if slot.told_hung:
            return False
        slot.told_hung = True
        kills = self.replace_hung and not may_be_silent
        otherwise = "its updates may be long, and it is waited for" if may_be_silent else "replace such workers with --replace-hung"
        doing = "it is being replaced" if kills else otherwise
        self.note(f"{self.name_of(worker)} has made no progress for {idle:.0f} s (while {phase}); {doing}")
        return kills


def _error(name: str, failed: Failed, count: int) -> UserError | WorkerFailed:
    """The error for the user: one line and the worker's traceback, which is only a note if the error is `Hopeless`."""
    kind = UserError if failed.of_the_user else WorkerFailed
    times = f" ({count} times)" if count > 1 else ""
    line, trace = f"{name}, step {failed.steps}{times}: {failed.text}", failed.traceback.rstrip()
    if not failed.hopeless:
        return kind(f"{line}\n{trace}")
    error = kind(line)
    error.add_note(trace)
    return error
