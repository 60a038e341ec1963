"""What a process has once, where several workers are in it: each has its own, which is put up with its turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncrl.envs import own_generators, take_generators
from asyncrl.processes.identity import Worker, introduce, worker
from asyncrl.processes.last_words import say_by, says

NOBODY = -1


class Belongings:
    """What `asyncrl.worker` says, who says last words, and the process's own generators.

    Writers and readers: the one process that the workers are in.
    """

    def __init__(self) -> None:
        self._owner, self._names = NOBODY, dict[int, tuple[Worker, Callable[[str], None]]]()
        self._drawer, self._generators = NOBODY, dict[int, tuple[Any, ...]]()

    def enter(self, place: int, draws: bool) -> None:
        """Let them be those of the worker at `place`; the generators only where it `draws` from them."""
        if place != self._owner:
            self._names[self._owner] = worker(), says()
            me, say = self._names.get(place, (Worker(), says()))
            introduce(me)
            say_by(say)
            self._owner = place
        if place != self._drawer and draws:
            self._generators[self._drawer] = own_generators()
            if place in self._generators:
                take_generators(self._generators[place])
            self._drawer = place
