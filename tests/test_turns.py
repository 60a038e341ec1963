"""Virtual workers' turns: who goes on when, by the virtual clock alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from asyncrl.shared.turns import Turns


class Tape:
    """Turns whose events are kept: (time, place, what)."""

    def __init__(self, *bodies: Callable[[Tape, int], Any], heard: Callable[[Tape], Any] = lambda tape: None):
        self.events: list[tuple[float, int, str]] = []
        self.entered: list[int] = []
        self._heard = heard
        self.turns = Turns(np.zeros(1), self.entered.append, self._listen)
        self.listened = 0
        for place, body in enumerate(bodies):
            self.turns.add(place, lambda body=body, place=place: body(self, place))

    def _listen(self, seconds: float) -> None:
        if seconds:
            self.listened += 1
            assert self.listened < 10, "nobody goes on"
            self._heard(self)

    def says(self, place: int, what: str) -> None:
        self.events.append((self.turns.now, place, what))

    def run(self) -> list[tuple[float, int, str]]:
        self.turns.run()
        return self.events


def walker(*seconds: float) -> Callable[[Tape, int], None]:
    """Lets these times pass."""

    def body(tape: Tape, place: int) -> None:
        for one in seconds:
            tape.turns.pass_time(place, one)
            tape.says(place, "went")

    return body


def test_whoever_is_earliest_goes_on():
    tape = Tape(walker(3.0, 3.0), walker(2.0, 2.0, 2.0))
    assert tape.run() == [(2.0, 1, "went"), (3.0, 0, "went"), (4.0, 1, "went"), (6.0, 0, "went"), (6.0, 1, "went")]


def test_who_runs_alone_keeps_the_turn():
    tape = Tape(walker(*[1.0] * 5))
    tape.run()
    assert tape.entered == [0]
    assert tape.turns.now == 5.0


def test_who_waits_goes_on_when_woken_at_the_time_of_whoever_has_woken():
    done: list[int] = []

    def waits(tape: Tape, place: int) -> None:
        tape.turns.wait(place, lambda: done)
        tape.says(place, "woke")

    def works(tape: Tape, place: int) -> None:
        tape.turns.pass_time(place, 5.0)
        done.append(1)
        tape.turns.wake(0)
        tape.turns.pass_time(place, 1.0)
        tape.says(place, "went")

    assert Tape(waits, works).run() == [(5.0, 0, "woke"), (6.0, 1, "went")]


def test_a_wake_that_looking_causes_is_not_lost():
    """A condition may wake others, as the learner's does when it closes an epoch."""
    begun, closed = [], []

    def learner(tape: Tape, place: int) -> None:
        def look() -> bool:
            if begun and not closed:
                closed.append(1)
                tape.turns.wake_all()
            return bool(closed)

        tape.turns.wait(place, look)
        tape.says(place, "closed")

    def actor(tape: Tape, place: int) -> None:
        tape.turns.wait(place, lambda: closed)
        tape.says(place, "went home")

    def other(tape: Tape, place: int) -> None:
        tape.turns.pass_time(place, 1.0)
        begun.append(1)
        tape.turns.wake(1)
        tape.turns.pass_time(place, 9.0)

    assert Tape(actor, learner, other).run() == [(1.0, 0, "went home"), (1.0, 1, "closed")]


def test_the_main_process_is_listened_to_when_nobody_can_go_on():
    opened: list[int] = []

    def waits(tape: Tape, place: int) -> None:
        tape.turns.pass_time(place, 1.0 + place)
        tape.turns.wait(place, lambda: opened)
        tape.says(place, "entered")

    tape = Tape(waits, waits, heard=lambda tape: opened.append(1))
    assert tape.run() == [(2.0, 0, "entered"), (2.0, 1, "entered")]


def test_all_of_whom_the_gate_opens_go_on_in_order_of_their_places():
    """It opens in the midst of being looked at: then those that were looked at before would come after the others."""
    looks: list[int] = []

    def waits(tape: Tape, place: int) -> None:
        tape.turns.wait(place, lambda: looks.append(place) or len(looks) > 5)
        tape.says(place, "entered")

    assert [place for _, place, _ in Tape(waits, waits, waits, waits).run()] == [0, 1, 2, 3]


def test_nobody_passes_the_limit_before_it_is_raised():
    def heard(tape: Tape) -> None:
        tape.says(-1, "asked")
        tape.turns.limit = 100.0

    tape = Tape(walker(2.0, 2.0), walker(3.0, 1.5), heard=heard)
    tape.turns.limit = 3.5
    assert tape.run() == [(2.0, 0, "went"), (3.0, 1, "went"), (3.5, -1, "asked"), (4.0, 0, "went"), (4.5, 1, "went")]


def test_what_a_worker_raises_is_raised():
    def breaks(tape: Tape, place: int) -> None:
        tape.turns.pass_time(place, 1.0)
        raise KeyError(place)

    with pytest.raises(KeyError):
        Tape(walker(5.0), breaks).run()
