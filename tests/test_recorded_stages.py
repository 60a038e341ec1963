"""The record of how long the stages of a worker's rounds took."""

from __future__ import annotations

import time

import numpy as np
import pytest

from asyncrl.shared import stages
from asyncrl.shared.arrays import WORDS_PER_LINE
from asyncrl.shared.stages import RecordedStages, Stages


class Clock:
    """Time that a test lets pass, some of it in waiting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = self.waited = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        layout = RecordedStages.layout(2)
        self.arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in layout.items()}

    def stages(self) -> RecordedStages:
        return RecordedStages(self.arrays, 1, lambda: self.waited)

    def round(self, told: Stages, *seconds: float, waits: float = 0.0) -> None:
        """Act, compute and apply so long; wait within the last."""
        for one, tell in zip(seconds, (told.acted, told.computed, told.applied)):
            if tell is told.applied:
                self.now, self.waited = self.now + waits, self.waited + waits
            self.now += one
            assert tell() == self.now

    def recorded(self) -> list[list[float]]:
        count = min(self.arrays["rounds"][WORDS_PER_LINE], stages.RECORDED)
        return self.arrays["seconds"][1, :, :count].T.tolist()


def test_each_stage_has_what_was_worked_since_the_one_before(monkeypatch):
    clock = Clock(monkeypatch)
    told = clock.stages()
    clock.round(told, 100, 100, 100)  # a process's first round, with its start in it
    clock.round(told, 3, 2, 1)
    clock.round(told, 5, 4, 0.5, waits=50)
    assert clock.recorded() == [[3, 2, 1], [5, 4, 0.5]]
    assert not clock.arrays["seconds"][0].any()


def test_a_successor_goes_on_with_the_record(monkeypatch):
    clock = Clock(monkeypatch)
    first = clock.stages()
    for _ in range(3):
        clock.round(first, 1, 1, 1)
    first.acted()  # and is killed
    second = clock.stages()
    clock.round(second, 9, 9, 9)
    clock.round(second, 2, 2, 2)
    assert clock.recorded() == [[1, 1, 1], [1, 1, 1], [2, 2, 2]]


def test_the_newest_rounds_are_kept(monkeypatch):
    monkeypatch.setattr(stages, "RECORDED", 4)
    clock = Clock(monkeypatch)
    told = clock.stages()
    for seconds in range(8):
        clock.round(told, seconds, 0, 0)
    assert sorted(row[0] for row in clock.recorded()) == [4, 5, 6, 7]
    assert clock.arrays["rounds"][WORDS_PER_LINE] == 7


def test_without_a_record_nothing_is_called_but_the_clock():
    told = Stages()
    assert told.acted is told.computed is told.applied is told.now is time.perf_counter
