"""The update modes by name. Adding one: a class here (or in a file of its own) and its line in `MODES`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from asyncrl.errors import UserError, unknown

UNBOUNDED = 1 << 40
LONGEST = 12
"""Digits of a number of steps or of a bound: it stays below UNBOUNDED."""


@dataclass(frozen=True)
class Sync:
    """One update a round from the mean of all workers' gradients; nobody acts on an old version."""

    name: ClassVar[str] = "sync"
    description: ClassVar[str] = "the gradients of a round are averaged in worker order into one update; lag 0, bit-exact (A2C)"
    delay: ClassVar[int | None] = 0
    bound: ClassVar[int] = 0

    def __str__(self) -> str:
        return "sync"


@dataclass(frozen=True)
class Pipelined:
    """As sync, but a round's gradients are applied after the next round has acted."""

    name: ClassVar[str] = "pipelined"
    description: ClassVar[str] = "as sync, but applied after the next round has acted; lag 1, bit-exact, overlapped"
    delay: ClassVar[int | None] = 1
    bound: ClassVar[int] = 0

    def __str__(self) -> str:
        return "pipelined"


@dataclass(frozen=True)
class Bounded:
    """Lock-free updates in place; nobody starts a round more than `bound` rounds ahead of the slowest."""

    name: ClassVar[str] = "bounded"
    description: ClassVar[str] = "lock-free updates in place, nobody more than K rounds ahead of the slowest (bounded:K)"
    delay: ClassVar[int | None] = None
    bound: int = 1

    def __str__(self) -> str:
        return f"bounded:{self.bound}"


@dataclass(frozen=True)
class Async:
    """Lock-free updates in place; nobody waits (Hogwild)."""

    name: ClassVar[str] = "async"
    description: ClassVar[str] = "lock-free updates in place, no waiting (Hogwild, A3C)"
    delay: ClassVar[int | None] = None
    bound: ClassVar[int] = UNBOUNDED

    def __str__(self) -> str:
        return "async"


Mode = Sync | Pipelined | Bounded | Async

MODES: dict[str, type[Mode]] = {kind.name: kind for kind in (Sync, Pipelined, Bounded, Async)}


def parse_mode(text: str) -> Mode:
    """``sync | pipelined | bounded:K | async``; ``bounded:0`` is sync, ``bounded:inf`` is async."""
    word, colon, bound = text.strip().partition(":")
    if word not in MODES:
        raise unknown("mode", text, ("sync", "pipelined", "bounded:K", "async"))
    if word != "bounded":
        if colon:
            raise UserError(f"mode {text!r}: only bounded takes a number (allowed: sync, pipelined, bounded:K, async)")
        return MODES[word]()
    if bound == "inf":
        return Async()
    if not re.fullmatch(r"\d+", bound) or len(bound) > LONGEST:
        raise UserError(f"mode {text!r}: the bound must be a whole number >= 0 or inf, as in bounded:2")
    return Bounded(int(bound)) if int(bound) else Sync()


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
