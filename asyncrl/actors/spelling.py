"""How exploration settings are spelled on the command line, and which of them each worker gets.

A spec is ``KIND:VALUES``, several joined by ``+``. VALUES is a number (the same for all workers), a list ``a,b,c`` (worker i takes the
i-th, round and round), a ladder ``a..b`` (geometric from the first worker to the last) or, for epsilon, ``paper`` (each worker draws
0.1, 0.01 or 0.5 with probability 0.4, 0.3, 0.3: Mnih and others 2016, section 5.1). ``@STEPS`` after it anneals linearly over so many
steps: epsilon from 1, the deviation of action noise to a hundredth.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.actors.exploration import EXPLORATIONS, Exploration
from asyncrl.errors import UserError, unknown

PAPER_EPSILONS, PAPER_PROBABILITIES = (0.1, 0.01, 0.5), (0.4, 0.3, 0.3)


def parse_exploration(text: str, workers: int, seed: int) -> list[list[Exploration]]:
    """The settings of every worker. Raises UserError for a spec that can't be read."""
    settings: list[list[Exploration]] = [[] for _ in range(workers)]
    for part in filter(None, (piece.strip() for piece in text.split("+"))):
        kind, colon, values = part.partition(":")
        if kind not in EXPLORATIONS:
            raise unknown("exploration", kind, EXPLORATIONS)
        values, at, steps = values.partition("@")
        if not colon or not values or (at and not hasattr(EXPLORATIONS[kind], "anneal_steps")):
            raise _unreadable(part)
        extra = (_anneal_steps(steps, part),) if at else ()
        turned = EXPLORATIONS[kind].turns
        if any(turned == setting.turns for setting in settings[0]):
            raise UserError(f"exploration {part!r}: the {turned} is given twice in {text!r}")
        for worker, value in enumerate(_spread(values, workers, seed, part, kind)):
            settings[worker].append(EXPLORATIONS[kind](value, *extra))
    return settings


def _spread(values: str, workers: int, seed: int, part: str, kind: str) -> list[float]:
    if values == "paper" and kind == "epsilon":
        generator = np.random.default_rng([seed, 0xE9])
        return [float(one) for one in generator.choice(PAPER_EPSILONS, size=workers, p=PAPER_PROBABILITIES)]
    if ".." in values:
        first, _, last = values.partition("..")
        low, high = _number(first, part), _number(last, part)
        if low <= 0 or high <= 0:
            raise UserError(f"exploration {part!r}: a ladder a..b needs numbers > 0")
        return [float(one) for one in np.geomspace(low, high, workers)] if workers > 1 else [low]
    listed = [_number(one, part) for one in values.split(",")]
    return [listed[worker % len(listed)] for worker in range(workers)]


def _anneal_steps(text: str, part: str) -> int:
    steps = int(_number(text, part))
    if steps < 1:
        raise UserError(f"exploration {part!r}: it is annealed over at least 1 step")
    return steps


def _number(text: str, part: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _unreadable(part) from None
    if not math.isfinite(number):
        raise _unreadable(part)
    return number


def _unreadable(part: str) -> UserError:
    allowed = "KIND:0.1, KIND:0.1,0.2, KIND:0.01..0.1, epsilon:paper, epsilon:0.1@50000, ou:0.2@500000"
    return UserError(f"exploration {part!r} can't be read (allowed: {allowed})")
