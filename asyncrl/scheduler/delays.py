"""Delays that are injected into workers' rounds, so that some are slower than others (`--delay`).

A spec is ``DURATIONS`` (see `durations`), for all workers, or ``DURATIONS@WORKERS`` for some: ``exponential:0.01@0,2``. Several are
joined by ``+``, each worker in one of them: ``constant:0.001@1..3+pareto:0.01:1.5@0``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np

from asyncrl.errors import UserError
from asyncrl.scheduler.board import HEARTBEAT, OPENED, REQUEST, Board
from asyncrl.scheduler.durations import Durations, parse_durations

DELAYS = 0xDE1
"""What a stream of random numbers is for: part of its key."""

SLICE = 0.1
"""Seconds of sleep after which a delayed worker gives a sign of life, and looks whether it is time for the gate."""


def parse_delays(text: str, workers: int) -> list[Durations | None]:
    """The delay of each worker's rounds, in seconds; None for a worker without. Raises UserError for a spec that can't be used."""
    found: list[Durations | None] = [None] * workers
    for part in filter(None, (piece.strip() for piece in text.split("+"))):
        durations, at, named = part.partition("@")
        drawn = parse_durations(durations)
        for worker in _workers(named, part, workers) if at else range(workers):
            if found[worker] is not None:
                raise UserError(f"delay {text!r} cannot be used: worker {worker} has two (allowed: one for each worker)")
            found[worker] = drawn
    return found


def _workers(text: str, part: str, workers: int) -> list[int]:
    named: list[int] = []
    for word in text.split(","):
        ends = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", word.strip())
        if ends is None:
            raise UserError(f"delay {part!r} cannot be used (allowed: DURATIONS, DURATIONS@0, DURATIONS@0,2 or DURATIONS@0..3)")
        named += range(int(ends[1]), min(int(ends[2] or ends[1]), workers) + 1)
    if not named or max(named) >= workers:
        raise UserError(f"delay {part!r} cannot be used: there are {workers} workers (allowed: numbers from 0 to {workers - 1})")
    return named


class Delay:
    """What one worker sleeps in each of its rounds. Its random numbers are its own, so that nothing else is drawn otherwise."""

    def __init__(self, durations: Durations, board: Board, seed: int, worker: int, generation: int):
        self._durations, self._board, self._worker = durations, board, worker
        self._generator = np.random.default_rng([seed, DELAYS, worker, generation])

    @classmethod
    def of(cls, text: str, workers: int, board: Board, seed: int, worker: int, generation: int) -> Callable[[], float] | None:
        """The `sleep` of this worker; None where it has no delay."""
        durations = parse_delays(text, workers)[worker]
        return None if durations is None else cls(durations, board, seed, worker, generation).sleep

    def sleep(self) -> float:
        """Sleep as long as is drawn for this round, or until the gate is asked for; returns the seconds."""
        board, began = self._board, time.perf_counter()
        ends = began + float(self._durations.draw(self._generator)[0])
        while (left := ends - time.perf_counter()) > 0 and board.order(REQUEST) <= board.order(OPENED):
            board.stand(self._worker, HEARTBEAT, time.monotonic_ns())
            time.sleep(min(left, SLICE))
        return time.perf_counter() - began
