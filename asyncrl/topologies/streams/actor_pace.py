"""An actor's side of streams (see `streams`): which unit it may begin, and on which version."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import IN_PLACE
from asyncrl.scheduler.pace import slept
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.topologies.streams.board import (
    ABSENT,
    ARRIVED,
    BEGUN,
    BOUND,
    CLOSED,
    DELAY,
    EPOCH,
    FIRST,
    OVER,
    STOP,
    WAIT,
    announce,
    is_over,
    permission,
)
from asyncrl.topologies.streams.streams import Streams


class ActorPace:
    """One actor's side. Its loop, in every mode::

        pace.arrive()
        while pace.enter():
            while (version := pace.start_unit(local)) is not None:
                slot = pace.ring.reserve()  # there is room
                ...                         # act with `local`, fill the slot
                pace.finish_unit()
            pace.arrive()
    """

    def __init__(self, streams: Streams, actor: int, copies: OldCopies | None = None, tells_age: bool = False):
        """`copies`: of older versions, on which the actor acts; None: it acts on the one that its mode gives. `tells_age`: whether
        the learner is told which version was the newest when a unit was handed over."""
        self.actor = actor
        self._copies, self._tells_age = copies, tells_age
        self.ring = streams.rings.ring(actor, 0)
        if self.ring.when_full == "drop_oldest" or self.ring.slots != streams.board.slots:
            raise ValueError(f"the rings of streams must keep every unit and have {streams.board.slots} slots")
        self.wait_seconds = 0.0
        self._streams, self._board = streams, streams.board
        self._words = streams.rings.words
        self._orders = (0, 0, 0, 0)

    def arrive(self) -> None:
        """Go to the end of the epoch (the first call: to the beginning of the first). There `scheduler.gate` has its orders."""
        self._board.stand(self.actor, ARRIVED, self._orders[0] + 1)
        self._board.stand(self.actor, ABSENT, 0)
        self._streams.parking.wake_all()

    def enter(self) -> bool:
        """Wait for the next epoch (the first call: for the one that runs); False is the end."""
        self._wait(lambda: self._board.leads(EPOCH) > self._orders[0])
        return self._enter()

    def start_unit(self, local: NDArray[np.float32]) -> int | None:
        """Wait for permission and for room in the ring, copy the parameters into local [N]; returns their version, None for the gate.

        Under injected staleness local has older ones in the end, whose version the learner is told; that of the unit is returned.
        """
        while True:
            round_ = self._permission()
            if round_ == OVER:
                return None
            if round_ == WAIT:
                self._wait(lambda: self._permission() != WAIT)
                continue
            self._announce(round_)
            if self._confirmed(round_):
                return self._copy(round_, local)
            self._withdraw()

    def finish_unit(self) -> None:
        """Publish the slot that was reserved: the unit is the learner's."""
        if self._tells_age:
            self._board.handed[self.actor, self.ring.published % self._board.slots] = self._streams.snapshots.version
        self.ring.publish()

    # The parts of a turn. Others may do anything between any two of them.

    def _enter(self) -> bool:
        epoch = self._board.leads(EPOCH)
        self._orders = (epoch, self._board.leads(DELAY), self._board.leads(BOUND), self._board.leads(FIRST))
        return not self._board.leads(STOP)

    def _permission(self) -> int:
        board = self._board
        return permission(board.lead, board.rounds, self._words, self.actor, self._orders, self._streams.snapshots.version)

    def _announce(self, round_: int) -> None:
        announce(self._board.actors, self._board.rounds, self._words, self.actor, round_)

    def _confirmed(self, round_: int) -> bool:
        """Whether the learner is bound to see the announcement in time."""
        return not is_over(self._board.lead, self._orders[0], round_) and round_ + self._orders[2] >= self._board.leads(CLOSED)

    def _withdraw(self) -> None:
        self._board.stand(self.actor, BEGUN, self.ring.published)
        self._streams.parking.wake_all()

    def _copy(self, round_: int, local: NDArray[np.float32]) -> int:
        _, delay, _, first = self._orders
        snapshots, place = self._streams.snapshots, self.ring.published % self._board.slots
        version = snapshots.copy(local, None if delay == IN_PLACE else max(round_ - delay, first))
        if version is None:
            raise RuntimeError(f"the parameters of round {round_} are gone: the learner did not wait for actor {self.actor}")
        self._board.acted[self.actor, place] = version if self._copies is None else self._copies.exchange(local, version)
        if delay == IN_PLACE and version > round_:
            self._board.rounds[self.actor, place] = version  # newer than announced: due later, and nobody need wait for it
            self._streams.parking.wake_all()
        return version

    def _wait(self, condition: Callable[[], bool]) -> None:
        if not condition():
            self.wait_seconds += slept(self._streams.parking, self.actor, condition)
