"""Virtual workers: many in one process, each in a greenlet, on a virtual clock. One runs at a time, whoever's time is the earliest."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from typing import Any

import numpy as np
from greenlet import getcurrent, greenlet
from numpy.typing import NDArray

from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.shared.atomics import store_release
from asyncrl.shared.parking import Parking
from asyncrl.shared.stages import STAGES, Stages

LOOKS_EVERY = 64
"""Turns after which the main process is listened to, where workers leave no time without that."""

Draws = Callable[[int, int, int], Iterator[float]]
"""(place, number of the stage in `STAGES`, first round) -> virtual seconds of that stage, round after round."""


class Turns:
    """Gives virtual workers their turns, in the order of the virtual time at which each goes on; at equal times the lower place first.

    A worker keeps its turn until a stage of its round ends (`pass_time`) or it waits (`wait`). Nothing here depends on how long
    anything takes, so the order is a function of the durations alone. What a worker waits for is looked at when somebody has woken
    it, at the end of that one's turn; and of all of them when nobody else could go on, since the main process may have done something.

    Writers:  the process in which the workers are: all words here are its own. ``now`` is read by the main process.
    Crash:    the workers die together.
    """

    def __init__(self, now: NDArray[np.float64], enter: Callable[[int], None], listen: Callable[[float], None]):
        """`now` [1]: the virtual time. `enter(place)` is called before a worker has its turn. `listen(seconds)` waits at most so long,
        0 for not at all, until the main process has news, and takes them in; where that was for long, all that wait are looked at."""
        self._word, self._enter, self._listen = now, enter, listen
        self.now = float(now[0])
        self.limit = math.inf
        """No time after this comes until it is raised, which `listen` may do."""
        self._due: list[tuple[float, int]] = []
        self._waiting: dict[int, Callable[[], Any]] = {}
        self._woken: set[int] = set()
        self._places: dict[int, greenlet] = {}
        self._hub: greenlet | None = None

    def add(self, place: int, body: Callable[[], Any]) -> None:
        """A worker, which begins at the present time. Before `run`."""
        self._places[place] = greenlet(body)
        self._places[place].gr_context = contextvars.copy_context()
        heappush(self._due, (self.now, place))

    def run(self) -> None:
        """Give turns until every worker has ended. What one of them raises is raised here."""
        self._hub = getcurrent()
        turns = 0
        while self._due or self._waiting:
            turns += 1
            if turns % LOOKS_EVERY == 0:
                self._listen(0.0)
            while self._woken:  # looking may wake others
                woken, self._woken = self._woken, set()
                self._look(woken)
            if not self._due:
                self._look_at_all()
            if not self._due:
                self._listen(math.inf)
            elif self._due[0][0] > self.limit:
                self.now = self._word[0] = self.limit
                self._listen(math.inf)
            else:
                self._go_on()

    def _go_on(self) -> None:
        self.now, place = heappop(self._due)
        self._enter(place)
        self._places[place].switch()

    # Called by the worker that has the turn.

    def pass_time(self, place: int, seconds: float) -> float:
        """Let so much virtual time pass for the worker at `place`; returns the time."""
        at = self.now + seconds
        if self._woken or at > self.limit or (self._due and self._due[0] < (at, place)):
            heappush(self._due, (at, place))
            self._hub.switch()  # type: ignore[union-attr]
        self.now = self._word[0] = at
        return at

    def wait(self, place: int, condition: Callable[[], Any]) -> None:
        """Give the turn back until `condition()` is true."""
        self._waiting[place] = condition
        self._hub.switch()  # type: ignore[union-attr]

    def wake(self, place: int) -> None:
        """What the worker at `place` waits for may have happened."""
        if place in self._waiting:
            self._woken.add(place)

    def wake_all(self) -> None:
        """The same for everybody who waits."""
        self._woken.update(self._waiting)

    def _look(self, places: Iterable[int]) -> bool:
        """Let those go on, now, of whom what they wait for is true. Returns whether there are any."""
        found = [place for place in sorted(places) if place in self._waiting and self._waiting[place]()]
        for place in found:
            del self._waiting[place]
            heappush(self._due, (self.now, place))
        return bool(found)

    def _look_at_all(self) -> None:
        """Nobody is due, so it is the main process that lets them go on, and it may do so while they are looked at: then all are looked at
        once more, so that nobody's turn depends on when that was."""
        while self._look(self._waiting):
            continue


class VirtualParking(Parking):
    """The parking of virtual workers, in their process: who waits gives its turn back. The last place is the main process's.

    Whoever has woken the main process, and waits for it then, goes on with all others for whom it does something, in the order of their
    places: not at once, where it was quick.

    Writers, Readers, Crash: as `Parking`; but all words of ``sleeping`` are written by this process.
    """

    def __init__(self, sleeping: NDArray[np.int64], pipes: list[tuple[int, int]], turns: Turns, draws: Draws, rounds: NDArray[np.int64]):
        """`rounds` [places, stages]: how often each stage of each worker has ended, over all sessions of the run."""
        super().__init__(sleeping, pipes)
        self._turns, self._draws, self._rounds = turns, draws, rounds
        self.now = lambda: turns.now
        self._reported = False

    def stages(self, place: int) -> VirtualStages:
        return VirtualStages(self._turns, place, self._draws, self._rounds[place])

    def wait(self, place: int, condition: Callable[[], Any], seconds: float | None = None) -> bool:
        if seconds is not None:
            raise ValueError("virtual workers wait without a limit")
        if self._reported or not condition():
            self._reported = False
            store_release(self._sleeping, place * WORDS_PER_LINE, 1)
            self._turns.wait(place, condition)
            store_release(self._sleeping, place * WORDS_PER_LINE, 0)
        return True

    def wake(self, place: int) -> None:
        if place == len(self._pipes) - 1:
            super().wake(place)
            self._reported = True
        else:
            self._turns.wake(place)

    def wake_all(self) -> None:
        self._turns.wake_all()


class VirtualStages(Stages):
    """Each stage takes as long, on the virtual clock, as is drawn for it."""

    def __init__(self, turns: Turns, place: int, draws: Draws, rounds: NDArray[np.int64]):
        """`rounds` [stages]: how often each has ended."""
        super().__init__()
        self.now = lambda: turns.now
        ends = [_end(turns, place, draws(place, stage, int(rounds[stage])), rounds[stage : stage + 1]) for stage in range(len(STAGES))]
        self.acted, self.computed, self.applied = ends


def _end(turns: Turns, place: int, seconds: Iterator[float], rounds: NDArray[np.int64]) -> Callable[[], float]:
    """What is called at the end of a stage; rounds[1] counts how often that was."""

    def end() -> float:
        rounds[0] += 1
        return turns.pass_time(place, next(seconds))

    return end
