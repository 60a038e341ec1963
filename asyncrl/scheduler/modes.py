"""The update modes by name, and which of them holds when. Adding one: a class here (or in a file of its own) and its line in `MODES`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from asyncrl.errors import UserError, unknown

UNBOUNDED = 1 << 40
LONGEST = 12
"""Digits of a number of steps or of a bound: it stays below UNBOUNDED."""


@dataclass(frozen=True)
class Mode:
    """An update mode: the base class, for modes without a number of their own.

    A mode of rounds has a `delay`, a mode in place has none; the paces of every topology read nothing else of a mode than these two
    numbers. So a variant of either kind is a class in this file and its line in `MODES`.
    """

    name: ClassVar[str]
    """Its word on the command line."""
    usage: ClassVar[str]
    """The word with its number, as messages show it."""
    description: ClassVar[str]
    """A line of `asyncrl list`."""
    delay: ClassVar[int | None]
    """Rounds by which a round's update is applied late; None: every worker updates in place, without rounds."""
    bound: ClassVar[int]
    """In place: rounds that a worker may be ahead of the slowest."""

    @classmethod
    def parse(cls, number: str | None, text: str) -> Mode:
        """The mode that a user means by ``NAME:number`` (None: by ``NAME`` alone). Raises UserError, which quotes `text`."""
        if number is not None:
            raise UserError(f"mode {text!r}: only bounded takes a number (allowed: {', '.join(_usages())})")
        return cls()

    @classmethod
    def with_bound(cls, bound: int) -> Mode:
        """The mode that the shared words describe, where its bound is this one."""
        return cls()

    def __str__(self) -> str:
        return self.name


class Sync(Mode):
    """One update a round from the mean of all workers' gradients; nobody acts on an old version."""

    name = usage = "sync"
    description = "the gradients of a round are averaged in worker order into one update; lag 0, bit-exact (A2C)"
    delay = 0
    bound = 0


class Pipelined(Mode):
    """As sync, but a round's gradients are applied after the next round has acted."""

    name = usage = "pipelined"
    description = "as sync, but applied after the next round has acted; lag 1, bit-exact, overlapped"
    delay = 1
    bound = 0


@dataclass(frozen=True)
class Bounded(Mode):
    """Lock-free updates in place; nobody starts a round more than `bound` rounds ahead of the slowest."""

    name = "bounded"
    usage = "bounded:K"
    description = "lock-free updates in place, nobody more than K rounds ahead of the slowest (bounded:K)"
    delay = None
    bound: int = 1  # type: ignore[misc]  # of every mode a number of the class, of this one the user's

    @classmethod
    def parse(cls, number: str | None, text: str) -> Mode:
        if number == "inf":
            return Async()
        if number is None or not re.fullmatch(r"\d+", number) or len(number) > LONGEST:
            raise UserError(f"mode {text!r}: the bound must be a whole number >= 0 or inf, as in bounded:2")
        return cls(int(number)) if int(number) else Sync()

    @classmethod
    def with_bound(cls, bound: int) -> Mode:
        return cls(bound)

    def __str__(self) -> str:
        return f"{self.name}:{self.bound}"


class Async(Mode):
    """Lock-free updates in place; nobody waits (Hogwild)."""

    name = usage = "async"
    description = "lock-free updates in place, no waiting (Hogwild, A3C)"
    delay = None
    bound = UNBOUNDED


MODES: dict[str, type[Mode]] = {
    mode.name: mode
    for mode in (
        Sync,
        Pipelined,
        Bounded,
        Async,
    )
}


def _usages() -> list[str]:
    return [mode.usage for mode in MODES.values()]


def parse_mode(text: str) -> Mode:
    """``sync | pipelined | bounded:K | async``; ``bounded:0`` is sync, ``bounded:inf`` is async."""
    word, colon, number = text.strip().partition(":")
    if word not in MODES:
        raise unknown("mode", text, _usages())
    return MODES[word].parse(number if colon else None, text)


def parse_modes(text: str) -> list[tuple[int, Mode]]:
    """``MODE``, or a schedule ``MODE@STEP,MODE@STEP,...`` from step 0 on, steps rising."""
    if "@" not in text:
        return [(0, parse_mode(text))]
    stages = []
    for part in text.split(","):
        word, _, step = part.strip().partition("@")
        if not re.fullmatch(r"\d+(_\d+)*", step) or len(step.replace("_", "")) > LONGEST:
            raise UserError(f"mode schedule {text!r}: {part.strip()!r} is not MODE@STEP, as in async@0,sync@500000")
        stages.append((int(step), parse_mode(word)))
    steps = [step for step, _ in stages]
    if steps[0] != 0 or any(later <= earlier for earlier, later in pairwise(steps)):
        raise UserError(f"mode schedule {text!r}: the steps must begin with 0 and rise (given: {steps})")
    return stages


class Stages:
    """The steps at which a run's epochs end, from its modes, its number of steps and its checkpoints."""

    def __init__(self, modes: Sequence[tuple[int, Mode]], steps: int, checkpoint_every: int):
        """`modes`: each with the step from which on it holds; `steps`: of the whole run; `checkpoint_every`: 0 for none."""
        self._modes = modes
        self._steps, self._every = steps, checkpoint_every

    def at(self, steps: int) -> tuple[Mode, int]:
        """The mode after `steps` steps, and the step at which the epoch that begins there ends."""
        marks = [self._steps] + [step for step, _ in self._modes if step > steps]
        if self._every:
            marks.append((steps // self._every + 1) * self._every)
        return [mode for step, mode in self._modes if step <= steps][-1], min(marks)

    def next_change(self, steps: int) -> int:
        """The step after `steps` from which on another mode holds; 0 if there is none."""
        return next((step for step, _ in self._modes if step > steps), 0)

    def checkpoint_due(self, steps: int, saved: int) -> bool:
        """Whether a multiple of the interval was passed since `saved`, the step of the newest checkpoint."""
        return bool(self._every) and steps // self._every > saved // self._every
