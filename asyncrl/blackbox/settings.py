"""Exploration settings of black-box search: ``sigma:0.02,0.1+directions:gaussian,orthogonal``.

A setting belongs to directions, not to workers: direction j of a generation has setting j modulo their number. Who
evaluates it does not matter, so the same seed gives the same bits with any number of workers.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.blackbox.kinds import KINDS
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError, unknown

SETTINGS = {
    "sigma": "black-box search: deviation of perturbations, a number, a list or a ladder a..b (one for each worker)",
    "directions": f"black-box search: kind of perturbations, a list of {', '.join(KINDS)}",
}
"""What can be set, with a line for each."""


def parse_settings(text: str, options: SearchOptions, workers: int) -> tuple[Setting, ...]:
    """The settings, in turn; without any in `text` the one of the options. Raises UserError."""
    sigmas, kinds = [options.sigma], [str(options.directions)]
    seen: set[str] = set()
    for part in filter(None, (piece.strip() for piece in text.split("+"))):
        kind, colon, values = part.partition(":")
        if kind not in SETTINGS:
            raise unknown("exploration of black-box search", kind, SETTINGS)
        if not colon or not values or kind in seen:
            raise UserError(
                f"exploration {part!r} cannot be read (allowed, each once: sigma:0.02,0.1 or sigma:0.02..0.1, directions:NAME,NAME)"
            )
        seen.add(kind)
        if kind == "sigma":
            sigmas = _numbers(values, workers, part)
        else:
            kinds = [word.strip() for word in values.split(",")]
            for word in kinds:
                if word not in KINDS:
                    raise unknown("kind of directions", word, KINDS)
    count = max(len(sigmas), len(kinds))
    return tuple(Setting(sigmas[i % len(sigmas)], kinds[i % len(kinds)]) for i in range(count))


def label(setting: Setting) -> str:
    """How a setting is called in reports."""
    return f"sigma:{setting.sigma:g}+directions:{setting.kind}"


def _numbers(values: str, workers: int, part: str) -> list[float]:
    first, dots, last = values.partition("..")
    try:
        ends = [float(first), float(last)] if dots else [float(word) for word in values.split(",")]
    except ValueError:
        ends = [math.nan]
    if not all(math.isfinite(end) and end > 0 for end in ends):
        raise UserError(f"exploration {part!r}: sigma must be above 0, as in sigma:0.02,0.1 or sigma:0.02..0.1")
    return [float(value) for value in np.exp(np.linspace(math.log(ends[0]), math.log(ends[1]), workers))] if dots else ends
