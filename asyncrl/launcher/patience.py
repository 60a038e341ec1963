"""How long the end of an epoch waits for a worker whose rounds may be long. Writes no shared word."""

from __future__ import annotations

import time

import psutil

from asyncrl.launcher.contract import SharedGround
from asyncrl.launcher.crew import Crew
from asyncrl.launcher.watch import Watch
from asyncrl.scheduler.board import HEARTBEAT, PHASE, PHASES

SILENT_SECONDS = 5.0
"""An actor without a heartbeat for so long is not waited for: its unit is lost, so that the learner can finish its round."""


class Patience:
    """Decides, once the end of an epoch was requested, whether to wait longer for a worker whose rounds may be long (a learner).

    If the run ended without it, some units would not have been learned from, and the resumed run would not have the same bits.
    The learner is waited for as long as it or actors make progress: its own is measured by its processor time, since one update may
    take minutes without a heartbeat, and that of actors by their heartbeats. Actors that hang are killed, since the learner may wait
    for their units.
    """

    def __init__(self, crew: Crew, ground: SharedGround, watch: Watch):
        self._crew, self._board, self._watch = crew, ground.board, watch
        self._signs: object = None
        self._alive = 0.0
        self._told = False
        self._killed: set[int] = set()

    def waits(self, learner: int) -> bool:
        """Whether to wait longer for worker `learner`; to be called repeatedly. The first call tells the user that it is waited for."""
        now, signs = time.monotonic(), self._signs_of_life(learner)
        if not self._told:
            self._told = True
            name = self._watch.name_of(learner)
            self._watch.note(f"{name} finishes its last round and is waited for; a second Ctrl-C ends the run without it")
        if signs != self._signs:
            self._signs, self._alive = signs, now
        self._end_silent(now)
        return now < self._alive + self._watch.hang_seconds

    def _signs_of_life(self, learner: int) -> object:
        """A value that changes if the learner or an actor has worked since."""
        beats = [self._board.stands(worker, HEARTBEAT) for worker in range(self._board.workers)]
        if self._phase(learner) != "learning":
            return beats  # it sleeps and waits for actors
        process = self._crew.slots[learner].process
        if process is None:
            return beats  # it is being replaced
        try:
            spent = psutil.Process(process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return beats  # it has just ended, which the crew will notice
        return beats, spent.user + spent.system

    def _end_silent(self, now: float) -> None:
        for worker, slot in enumerate(self._crew.slots):
            silent = self._crew.silence(worker, now)
            if slot.granted and self._phase(worker) == "acting" and silent > SILENT_SECONDS:
                name = self._watch.name_of(worker)
                self._watch.note(f"{name} has made no progress for {silent:.0f} s (while acting); its last unit is given up")
                # It is replaced once, since the round may need it; not twice, or a worker that always hangs would delay the end for ever.
                self._crew.dismiss(worker, replace=worker not in self._killed)
                self._killed.add(worker)

    def _phase(self, worker: int) -> str:
        return PHASES[self._board.stands(worker, PHASE)]
