"""Recovery after a worker process dies: what each topology does with the shared words that the worker owned.

Each topology implements `Estate`; the launcher calls it. This file is the contract, and what several implementations need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asyncrl.scheduler.board import Board
from asyncrl.scheduler.modes import Mode
from asyncrl.shared.ledger import Ledger
from asyncrl.shared.parking import Parking


class SharedGround(Protocol):
    """What every topology's ground has."""

    @property
    def board(self) -> Board: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def parking(self) -> Parking: ...


class Estate(Protocol):
    """A topology's part of the launcher's work. Implementations subclass it; where it says nothing else, nothing is to be done."""

    def open(self, mode: Mode, owned: Sequence[bool]) -> None:
        """An epoch is about to begin under `mode`; `owned[i]`: worker i's words are its process's. Everybody is at the gate."""

    def opened(self, mode: Mode, owned: Sequence[bool]) -> None:
        """The epoch has begun: its orders are those that whoever stands in reads."""
        return

    def grant(self, worker: int, epoch_runs: bool) -> None:
        """Worker i's words are about to become its process's."""
        return

    def bury(self, worker: int, epoch_runs: bool) -> None:
        """Worker i is confirmed dead; the launcher is the writer of its words from now on."""

    def may_be_silent(self, worker: int) -> bool:
        """Whether worker i may work for minutes without a sign of life: its successor would only begin the same again."""
        return False

    def stand_in(self) -> bool:
        """Make the moves that the dead owe the living. Returns whether any was made."""
        return False

    def owes_nothing(self, worker: int) -> bool:
        """Whether the epoch may end without worker i, which is dead."""

    def close(self) -> None:
        """The epoch is over."""
        return

    def settle_all(self, epoch_runs: bool) -> None:
        """All are dead: finish what was handed over."""
        return

    def version(self) -> int:
        """The newest version of the shared parameters."""

    def updates(self) -> int:
        """Updates that were made so far. A version may hold several, or none: what is published is not always new."""

    def told_below(self) -> int | None:
        """Every finished episode whose `order` is below this has been told. None in modes without an order, where they count as they come.

        To be asked before the episodes are collected.
        """


def complete_below(mode: Mode, version: int) -> int | None:
    """Below which version all acting is over, once `version` is there: round r, the update of version r, acted on r - delay.

    None in modes without an order.
    """
    return None if mode.delay is None else version - mode.delay
