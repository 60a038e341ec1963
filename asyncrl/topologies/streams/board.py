"""The shared words of streams (see `streams`): who has begun which round, and which rounds are still open."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.board import IN_PLACE
from asyncrl.shared.arrays import WORDS_PER_LINE, Layout, padded_words
from asyncrl.shared.atomics import fence, load_acquire, store_release
from asyncrl.shared.compiled import njit
from asyncrl.shared.rings import CONSUMED, HEAD, WORDS

# Words of `lead`, written by the learner alone. Rounds below CLOSED are closed. CLOSING is the newest epoch that has been
# closed: in it, no round above LAST is begun. FIRST is the version at which the epoch began.
EPOCH, CLOSED, LAST, CLOSING, DELAY, BOUND, FIRST, STOP = range(8)
# Words of an actor's line of `actors`: units begun, gate at which it stands, whether its process is dead.
BEGUN, ARRIVED, ABSENT = range(3)

WAIT, NOBODY, GATE, OVER = -1, -2, -3, -4


@njit(cache=True)
def is_over(lead, epoch, round_):  # type: ignore[no-untyped-def]
    """Whether the learner, by its words lead[L], has ended `epoch` before `round_`."""
    # EPOCH last: LAST may already be that of a later epoch.
    ends = load_acquire(lead, CLOSING) >= epoch and round_ > load_acquire(lead, LAST)
    return ends or load_acquire(lead, EPOCH) != epoch


@njit(cache=True)
def permission(lead, rounds, rings, actor, orders, version):  # type: ignore[no-untyped-def]
    """The round that the actor may begin now, WAIT, or OVER. `orders`: its epoch, delay, bound and first version.

    lead[L], rounds[A, slots] and rings[A * words] are the words of `StreamBoard` and of the grid of rings, here and below.
    """
    epoch, delay, bound, first = orders
    slots = rounds.shape[1]
    unit = load_acquire(rings, actor * WORDS + HEAD)
    closed = load_acquire(lead, CLOSED)
    round_ = version
    if delay != IN_PLACE:
        round_ = max(closed, rounds[actor, (unit - 1) % slots] + 1) if unit else closed
    if is_over(lead, epoch, round_):
        return OVER
    if unit - load_acquire(rings, actor * WORDS + CONSUMED) >= slots or round_ + bound < closed:
        return WAIT
    if delay != IN_PLACE and version < max(round_ - delay, first):
        return WAIT
    return round_


@njit(cache=True)
def announce(actors, rounds, rings, actor, round_):  # type: ignore[no-untyped-def]
    """Say in actors[A * padding] and rounds[A, slots] that the actor begins its next unit, of `round_`; rings[A * words] tell which."""
    unit = load_acquire(rings, actor * WORDS + HEAD)
    rounds[actor, unit % rounds.shape[1]] = round_
    store_release(actors, actor * WORDS_PER_LINE + BEGUN, unit + 1)
    fence()  # visible before CLOSED and LAST are looked at again


@njit(cache=True)
def _standing(actors, rings, actor):  # type: ignore[no-untyped-def]
    """(number of the actor's oldest unit that was not consumed, -1 if there is none; whether it has been published)"""
    unit = rings[actor * WORDS + CONSUMED]
    begun = load_acquire(actors, actor * WORDS_PER_LINE + BEGUN) > unit
    published = load_acquire(rings, actor * WORDS + HEAD) > unit
    return (unit if begun or published else -1), published


@njit(cache=True)
def in_turn(actors, rounds, rings, version, turn):  # type: ignore[no-untyped-def]
    """The first actor from `turn` on whose unit of round `version` is to be taken; WAIT where it is still to come; or NOBODY.

    Of actors[A * padding], rounds[A, slots] and rings[A * words].
    """
    for actor in range(turn, rounds.shape[0]):
        absent = load_acquire(actors, actor * WORDS_PER_LINE + ABSENT)  # first: what is settled is settled before
        unit, published = _standing(actors, rings, actor)
        if unit < 0:
            if not absent:
                return WAIT
        elif rounds[actor, unit % rounds.shape[1]] == version:  # a greater one is that of a successor that joins later
            return actor if published else WAIT
    return NOBODY


@njit(cache=True)
def oldest(actors, rounds, rings, turn):  # type: ignore[no-untyped-def]
    """The actor with the oldest unread unit, in turn among equals; or NOBODY. actors[A * padding], rounds[A, slots], rings[A * words]."""
    found, lowest = NOBODY, np.int64(1) << 60
    for step in range(rounds.shape[0]):
        actor = (turn + step) % rounds.shape[0]
        unit, published = _standing(actors, rings, actor)
        if published and rounds[actor, unit % rounds.shape[1]] < lowest:
            found, lowest = actor, rounds[actor, unit % rounds.shape[1]]
    return found


@njit(cache=True)
def due(actors, rounds, rings, version, bound):  # type: ignore[no-untyped-def]
    """An actor with a unit that must be used at `version`; WAIT where such units are still being acted; or NOBODY.

    Of actors[A * padding], rounds[A, slots] and rings[A * words].
    """
    found = NOBODY
    for actor in range(rounds.shape[0]):
        unit, published = _standing(actors, rings, actor)
        if unit >= 0 and rounds[actor, unit % rounds.shape[1]] + bound <= version:
            if published:
                return actor
            found = WAIT
    return found


@njit(cache=True)
def all_at_gate(actors, rings, epoch):  # type: ignore[no-untyped-def]
    """Whether nothing is under way or unread, and every actor stands at the gate that ends `epoch`, or is dead.

    Of actors[A * padding] and rings[A * words].
    """
    for actor in range(actors.size // WORDS_PER_LINE):
        line = actor * WORDS_PER_LINE
        if not load_acquire(actors, line + ABSENT) and load_acquire(actors, line + ARRIVED) <= epoch:
            return False
        if _standing(actors, rings, actor)[0] >= 0:
            return False
    return True


class StreamBoard:
    """The words by which actors and learner agree.

    An *epoch* is the time between two openings of the gate; in it one mode holds. Units begun and not consumed are
    outstanding: unit n of an actor has its round at ``rounds[actor, n % slots]`` and its version at ``acted`` likewise; under
    `--diagnose` also, at ``handed``, the version that was the newest when it was handed over.

    Writers:  ``lead``: the learner. Line i of ``actors`` and row i of ``rounds``, ``acted`` and ``handed``:
              actor i; once it is confirmed dead, whoever settles its estate, until a successor is started.
    Readers:  everybody.
    Stale:    an announced round counts only when it was looked at once more (see the module). The orders of an epoch stay
              until everybody is at the gate; a successor that read them too late finds EPOCH or CLOSING moved.
    When full: an actor announces only when its ring has room, so that no row is overrun.
    Crash:    of an actor: a unit is there when its ring says so, and else was never begun (`Streams.settle`). Of the
              learner: its successor finds which epoch it had opened (EPOCH moves last), which version it had closed (CLOSED),
              and in the rings what it had taken; what that was is for the learner to remember (`LearnerPace.take_up`).
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.int64]]):
        self.lead, self.actors = arrays["lead"], arrays["actors"]
        self.rounds, self.acted, self.handed = arrays["rounds"], arrays["acted"], arrays["handed"]
        self.count, self.slots = self.rounds.shape

    @staticmethod
    def layout(actors: int, slots: int) -> Layout:
        """`slots`: of every actor's ring."""
        line, rows = ((2 * WORDS_PER_LINE,), np.int64), ((actors, slots), np.int64)
        return {"lead": line, "actors": padded_words(actors), "rounds": rows, "acted": rows, "handed": rows}

    def leads(self, word: int) -> int:
        """Read a word of the learner's."""
        return load_acquire(self.lead, word)

    def stand(self, actor: int, word: int, value: int) -> None:
        """Write a word of an actor's line. Owner of the slot only."""
        store_release(self.actors, actor * WORDS_PER_LINE + word, value)
