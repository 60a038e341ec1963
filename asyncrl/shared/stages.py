"""The stages of a worker's round, whose ends it tells: nothing comes of that, or they are recorded, or a virtual clock goes on by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout, padded_words
from asyncrl.shared.atomics import store_release

STAGES = ("act", "compute", "apply")
"""What a round is made of: playing; computing a gradient or the next version; applying it, publishing it, or handing over what was played.
An actor of a stream and a worker of a search act and apply, their learner computes and applies."""
RECORDED = 16384
"""Rounds of each worker that a record keeps: the newest."""


class Stages:
    """What a worker calls when a stage of its round has ended; each call returns the time, in seconds on the worker's own clock.

    Here all of them are `time.perf_counter`, which whoever measures its time would call in any case.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.perf_counter
        """The time, without the end of anything."""
        self.acted: Callable[[], float] = time.perf_counter
        self.computed: Callable[[], float] = time.perf_counter
        self.applied: Callable[[], float] = time.perf_counter


def virtual_layout(places: int) -> Layout:
    """What a simulated run knows of its clock: the time, how often each stage of each worker and learner has ended (see `turns`), and how
    many episodes have been told of."""
    return {"now": ((1,), np.float64), "rounds": ((places, len(STAGES)), np.int64), "told": ((1,), np.int64)}


class RecordedStages(Stages):
    """Records how long each stage of the newest RECORDED rounds took, without what the worker waited for others.

    What lies between two stages belongs to the later one, so that the durations of a worker that never waits add up to its time. The
    first round of a process is left out: its start would be in it.

    Writers:  the worker: its row of ``seconds``, and then its word of ``rounds``. After its death, its successor, which goes on there.
    Readers:  the main process, once nobody works any more.
    When full: the oldest round is overwritten.
    Crash:    a round that was not counted is overwritten by the successor's first.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], worker: int, waited: Callable[[], float]):
        """`arrays`: those of `layout`; `waited()`: seconds that the worker has waited so far."""
        super().__init__()
        rows: list[Any] = [memoryview(row) for row in arrays["seconds"][worker]]  # quicker to write to than arrays
        act, compute, apply = rows
        words, place = arrays["rounds"], worker * (arrays["rounds"].size // len(arrays["seconds"]))
        count, fresh = int(words[place]), True
        at, last = count % RECORDED, 0.0

        def end(row: Any) -> float:
            nonlocal last
            now = time.perf_counter()
            worked = now - waited()
            row[at] = worked - last
            last = worked
            return now

        def applied() -> float:
            nonlocal at, count, fresh
            now = end(apply)
            count, fresh = count + (not fresh), False
            at = count % RECORDED
            store_release(words, place, count)
            return now

        self.acted, self.computed, self.applied = lambda: end(act), lambda: end(compute), applied

    @staticmethod
    def layout(places: int) -> Layout:
        """The record of so many workers and learners."""
        return {"seconds": ((places, len(STAGES), RECORDED), np.float64), "rounds": padded_words(places)}
