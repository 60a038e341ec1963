"""The learner's side of streams (see `streams`): which units an update takes, and when the epoch is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import IN_PLACE
from asyncrl.scheduler.modes import Mode
from asyncrl.scheduler.pace import slept
from asyncrl.shared.atomics import fence, store_release
from asyncrl.topologies.streams.board import (
    BOUND,
    CLOSED,
    CLOSING,
    DELAY,
    EPOCH,
    FIRST,
    GATE,
    LAST,
    NOBODY,
    STOP,
    WAIT,
    all_at_gate,
    due,
    in_turn,
    oldest,
)
from asyncrl.topologies.streams.streams import Streams, Unit


class LearnerPace:
    """The learner's side. A successor of a learner that died goes on in the midst of the epoch (`take_up`). Its loop, in every mode::

        pace.open(mode)
        while not pace.at_gate:
            for unit in pace.units(batch):
                ...                         # copy or use up unit.slot; unit.lag is final
            if not pace.at_gate:
                pace.publish(vector)
    """

    def __init__(self, streams: Streams, asked: Callable[[], bool] = lambda: False):
        """`asked`: whether the launcher wants the epoch closed. Whoever makes that true wakes the learner."""
        board = streams.board
        self._asked = asked
        self.at_gate = False
        self.wait_seconds = 0.0
        self._streams, self._board = streams, board
        self._words = streams.rings.words
        self._rings = [streams.rings.ring(actor, 0) for actor in range(board.count)]
        self._tables = board.actors, board.rounds, self._words
        self._delay, self._bound = board.leads(DELAY), board.leads(BOUND)
        self._taken, self._turn, self._closed = 0, 0, False

    def take_up(self, actors: Sequence[int], at_gate: bool) -> None:
        """Go on where a predecessor died: it had consumed units of these actors, in this order, for the version at hand.

        `at_gate`: it had seen the epoch that was opened last to its end, so that the next one is to be opened.
        """
        self._taken, self._turn = len(actors), actors[-1] + 1 if actors else 0
        self._closed = self._board.leads(CLOSED) > self.version
        self.at_gate = at_gate

    @property
    def version(self) -> int:
        """The newest version; the one being made is the next."""
        return self._streams.snapshots.version

    def units(self, count: int = 1) -> Iterator[Unit]:
        """The units of the update at hand, each consumed when the next is asked for.

        sync, pipelined: one of every live actor, in actor order; `count` is ignored. Otherwise waits for `count` units, and
        takes whatever is due beside them. While the epoch is being closed there may be fewer; with none left, `at_gate` is
        set. Leaving the loop early leaves the unit unconsumed, and the next call goes on from there.
        """
        while (actor := self._next(count)) >= 0:
            yield self._unit(actor)
            self._consume(actor)
        self.at_gate = actor == GATE

    def publish(self, vector: NDArray[np.float32]) -> int:
        """Make vector [N] the next version; returns it. Due after every `units` that was not the gate. Never waits."""
        if not self._closed:
            raise RuntimeError("publish before the units of this update were taken")
        version = self._streams.snapshots.publish(vector)
        self._taken, self._turn, self._closed = 0, 0, False
        self._streams.parking.wake_all()
        return version

    def close(self) -> None:
        """End the epoch: actors finish what they have begun and go to the gate.

        sync and pipelined: so many rounds more that all actors make the same ones: up to that of the version that acts now. So
        who has enough with the update at hand closes before it publishes: in sync there is then no round more.
        Go on with `units` and `publish` until `at_gate`: what is outstanding is used.
        """
        board, epoch = self._board, self._board.leads(EPOCH)
        if board.leads(CLOSING) >= epoch:
            return
        self._lead(LAST, -1 if self._delay == IN_PLACE else self.version + self._delay)
        self._lead(CLOSING, epoch)
        fence()  # visible before anybody's announcements are looked at
        self._streams.parking.wake_all()

    def open(self, mode: Mode) -> None:
        """Begin an epoch under `mode`. At the start, or at the gate."""
        self._delay, self._bound = IN_PLACE if mode.delay is None else mode.delay, mode.bound
        self._next_epoch(stop=False)

    def stop(self) -> None:
        """Send everybody home. At the start, or at the gate."""
        self._next_epoch(stop=True)

    def _next_epoch(self, stop: bool) -> None:
        epoch = self._board.leads(EPOCH)
        if epoch and not self.at_gate:
            raise RuntimeError("an epoch begins at the gate: close the one that runs, and use its units")
        version = self.version
        orders = {DELAY: self._delay, BOUND: self._bound, FIRST: version, CLOSED: version, STOP: int(stop)}
        for word, value in orders.items():
            self._lead(word, value)
        self._lead(EPOCH, epoch + 1)
        self.at_gate = False
        self._streams.parking.wake_all()

    def _lead(self, word: int, value: int) -> None:
        store_release(self._board.lead, word, value)

    # The parts of a turn. Others may do anything between any two of them.

    def _next(self, count: int) -> int:
        """The actor to take from now; NOBODY: the update has its units; GATE."""
        while (found := self._look(count)) == WAIT:
            self.wait_seconds += slept(self._streams.parking, self._board.count, lambda: self._look(count) != WAIT)
        return found

    def _unit(self, actor: int) -> Unit:
        number, slot = self._rings[actor].consumed, self._rings[actor].front()
        assert slot is not None
        board, place, now = self._board, (actor, number % self._board.slots), self.version
        version = int(board.acted[place])
        return Unit(actor, number, version, now - version, slot, now - int(board.handed[place]))

    def _consume(self, actor: int) -> None:
        self._rings[actor].release()
        self._taken += 1
        self._turn = actor + 1

    def _look(self, count: int) -> int:
        if self._asked():
            self.close()
        if not self._closed:
            found = self._choose(count)
            if found != NOBODY:
                return found
            self._close_round()
        return self._due()

    def _choose(self, count: int) -> int:
        """While the round is open: an actor, WAIT, GATE, or NOBODY: it can be closed."""
        version, gate_is_full = self.version, self._gate_is_full()
        if self._taken == 0 and gate_is_full and self._board.leads(LAST) < version:
            return GATE
        if self._delay != IN_PLACE:
            found = in_turn(*self._tables, version, self._turn)
            return WAIT if found == NOBODY and self._taken == 0 else found  # all are dead: wait for a successor
        if self._taken >= count:
            return NOBODY
        found = int(oldest(*self._tables, self._turn))
        return WAIT if found == NOBODY and not gate_is_full else found

    def _gate_is_full(self) -> bool:
        epoch = self._board.leads(EPOCH)
        return self._board.leads(CLOSING) >= epoch and bool(all_at_gate(self._board.actors, self._words, epoch))

    def _close_round(self) -> None:
        self._lead(CLOSED, self.version + 1)
        fence()  # visible before the announcements are looked at
        self._closed = True

    def _due(self) -> int:
        return int(due(*self._tables, self.version, self._bound))
