"""Streams: the update modes for actors -> rings -> learner.

Actors hand *units* (a trajectory, or a batch of evaluations: one record of a ring) to one learner, which makes one update
from some units and publishes the next version. Every unit belongs to a *round*, and is used at version `round + bound` at
the latest:

    sync        round r is the update of version r; acted on by version r; bound 0; the learner takes one unit of every actor
    pipelined   the same, acted on by version r - 1 (the first round of an epoch by its first version)
    bounded:K   the round of a unit is the version that acted; the learner takes the oldest unit first
    async       as bounded:K, with a bound that is never reached

An actor announces its round, and then looks whether that round can still be kept; the learner closes a round, and then looks
who has announced. One of the two sees the other. What is announced and due is waited for and used in the update at hand,
so `publish` never waits. That update then has more units than were asked for: at most what all rings hold.
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
    """Actors x one learner; rings that never drop, made with the places above."""
    parking: Parking

    def settle(self, actor: int) -> None:
        """Take back what a dead actor had announced and not published; nobody waits for it until a successor comes.

        For the owner of its words: after its death is confirmed, before a successor is started. May be repeated.
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
