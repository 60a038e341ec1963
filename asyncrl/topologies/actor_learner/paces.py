"""Which pace an actor-learner runs under: the one place where a mode becomes the code that keeps it."""

from __future__ import annotations

from asyncrl.scheduler.board import DELAY, IN_PLACE
from asyncrl.scheduler.pace import Books, Ground, Pace
from asyncrl.topologies.actor_learner.in_place import InPlacePace
from asyncrl.topologies.actor_learner.rounds import RoundsPace


def pace_of(ground: Ground, worker: int, books: Books) -> Pace:
    """The pace of this epoch's mode, for an actor-learner."""
    if ground.board.order(DELAY) == IN_PLACE:
        return InPlacePace(ground, worker, books)
    return RoundsPace(ground, worker, books)
