"""Recovery after a worker process dies: what each topology does with the shared words that the worker owned.

Each topology implements `Estate`; the launcher calls it. This file has the interface, and a function that several topologies use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncrl.scheduler.board import Board
from asyncrl.scheduler.modes import Mode
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parking import Parking


class SharedGround(Protocol):
    """The shared memory that every topology has."""

    @property
    def board(self) -> Board:
        """Orders of the launcher, and the workers' stations."""

    @property
    def ledger(self) -> Ledger:
        """Counts of each worker."""

    @property
    def parking(self) -> Parking:
        """A place to sleep for each worker, and one for the launcher."""


class Estate(Protocol):
    """A topology's part of the launcher's work. The launcher calls it in the main process.

    Implementations subclass it; the bodies here are for topologies that have nothing to do.
    """

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """Called before an epoch under `mode`, while all workers are at the gate. `owned[i]`: whether a process owns worker i's words."""

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        """Called when the epoch has begun and its orders can be read."""
        return

    def grant(self, worker: int, epoch_runs: bool) -> None:
        """Called before a process becomes the owner of the worker's words."""
        return

    def bury(self, worker: int, epoch_runs: bool) -> None:
        """Called when the worker's process is confirmed dead. From now on the launcher writes its words."""

    def may_be_silent(self, worker: int) -> bool:
        """Whether the worker may give no heartbeat for minutes; such a worker is not taken for hanging."""
        return False

    def stand_in(self) -> bool:
        """Do what workers without a process would have to do for the others. Returns whether anything was done."""
        return False

    def owes_nothing(self, worker: int) -> bool:
        """Whether the epoch may end without this worker, which has no process."""

    def close(self) -> None:
        """Called when the epoch is over."""
        return

    def settle_all(self, epoch_runs: bool) -> None:
        """Called when all processes have ended: what was handed over, and not used yet, is used or freed."""
        return

    def version(self) -> int:
        """The newest version of the shared parameters."""

    def updates(self) -> int:
        """How many updates were made so far. A version may contain several updates or none, since versions are also published unchanged."""

    def told_below(self) -> int | None:
        """Returns a number: all finished episodes whose `order` is below it are in their rings.

        `order` is the version that acted, or the place of the evaluation. None in modes without an order, in which episodes
        are counted as they arrive. To be called before the rings are read.
        """


def complete_below(mode: Mode, version: int) -> int | None:
    """Once `version` exists, no worker acts on a version below the number that this returns; None in modes without an order.

    The round that updates version r acts on version r - delay.
    """
    return None if mode.delay is None else version - mode.delay
