"""Streams: the update modes for actors -> rings -> learner.

Actors hand *units* to one learner, which makes one update from some units and publishes the next version. A unit is one record of a
ring: a trajectory. Every unit belongs to a *round*, and is used at the latest in the update of version `round + bound`:

    sync        round r acts with version r and makes version r + 1; bound 0; the learner takes one unit of every actor
    pipelined   the same, but round r acts with version r - 1 (an epoch's first round with the version that the epoch began with)
    bounded:K   the round of a unit is the version that acted; the learner takes the oldest unit first
    async       as bounded:K, with a bound that is never reached

An actor may begin a unit of round r only while the learner has not closed round r. Neither side waits for the other to decide that:
the actor first announces its round and then reads whether it is closed; the learner first closes the round and then reads who has
announced it. Whatever the timing, at least one of them sees the other's word. If it is the actor, it takes a later round; if it is the
learner, it waits for that unit and uses it in the update at hand. So that update may have more units than were asked for, at most as
many as all rings hold; and when it is published, every unit that had to be used has been.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncrl.shared.atomics import load_acquire
from asyncrl.shared.grid import Grid
from asyncrl.shared.parameters import Snapshots
from asyncrl.shared.parking import Parking
from asyncrl.shared.rings import HEAD, WORDS, Ring, Slot
from asyncrl.topologies.streams.board import ABSENT, BEGUN, StreamBoard


@dataclass(frozen=True)
class Streams:
    """The shared parts that every side works on. Actor i sleeps at place i of `parking`, the learner at the place after."""

    board: StreamBoard
    snapshots: Snapshots
    """At least two buffers."""
    rings: Grid[Ring]
    """One ring from each actor to the learner. They never drop; each is made with the places where its two sides sleep."""
    parking: Parking

    def settle(self, actor: int) -> None:
        """Take back the units that a dead actor had announced and not published. Until it has a successor nobody waits for this actor.

        Called by whoever owns the dead actor's words, once its death is confirmed and before a successor is started. May be repeated.
        """
        self.board.stand(actor, BEGUN, load_acquire(self.rings.words, actor * WORDS + HEAD))
        self.board.stand(actor, ABSENT, 1)
        self.parking.wake_all()


@dataclass(frozen=True)
class Unit:
    """One record in the learner's hands. `slot` is to be copied or used up before the next one is asked for."""

    actor: int
    number: int
    version: int
    lag: int
    slot: Slot
    queued: int = 0
    """The part of its lag since it was handed over; told under `--diagnose` alone, and not of a unit that a dead learner had taken."""
