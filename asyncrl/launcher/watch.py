"""How trouble is taken: which failures end a run, who is hung. Reads shared words, writes none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from asyncrl.errors import UserError, WorkerFailed
from asyncrl.launcher.slots import Slot
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES, Board
from asyncrl.workers.messages import Failed

WAITS_FOR_OTHERS = ("waiting", "applying", "at the gate")
"""Phases in which a worker is not in its environment."""


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

    def judge(self, worker: int, slot: Slot, code: int, was_built: bool) -> None:
        """A process has ended with exit code `code`. Raises UserError or WorkerFailed where replacing it would not help."""
        failed, name, count = slot.failed, self.name_of(worker), slot.failures
        if failed is not None:
            count = max(count, self.same_place.get(failed.where, 0) + 1)
            self.same_place[failed.where] = count
        never_built = failed is not None and not was_built and slot.generation == 1
        hopeless = failed is not None and failed.hopeless
        if count < self.max_failures and not never_built and not hopeless:
            return
        raise WorkerFailed(f"{name} died {count} times in a row (exit code {code})") if failed is None else _error(name, failed, count)

    def is_to_be_killed(self, worker: int, slot: Slot, board: Board, now: float, may_be_silent: bool) -> bool:
        """Say once when a worker hangs; whether it is to be killed for it. `now`: time.monotonic().

        One that may be silent is only spoken of: an update may take that long, and another would have to make the same.
        """
        idle = now - board.stands(worker, HEARTBEAT) / 1e9
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
    """What the user is told: the line, and the worker's traceback, as a note where it would tell nothing more."""
    kind = UserError if failed.of_the_user else WorkerFailed
    times = f" ({count} times)" if count > 1 else ""
    line, trace = f"{name}, step {failed.steps}{times}: {failed.text}", failed.traceback.rstrip()
    if not failed.hopeless:
        return kind(f"{line}\n{trace}")
    error = kind(line)
    error.add_note(trace)
    return error
