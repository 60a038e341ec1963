"""Exploration settings of black-box search: ``sigma:0.02,0.1+directions:gaussian,orthogonal``.

Settings belong to directions, not to workers: direction j of a generation has setting j modulo their number. It does not
depend on the worker that evaluates it, so the same seed gives the same bits with any number of workers.
"""

from __future__ import annotations

import math
import re

import numpy as np

from asyncrl.blackbox.kinds import KINDS
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError, unknown

SETTINGS = {
    "sigma": "black-box search: deviation of perturbations, a number, a list or a ladder a..b/N of N rungs (5 without /N)",
    "directions": f"black-box search: kind of perturbations, a list of {', '.join(KINDS)}",
}
"""What can be set, with a description for `asyncrl list`."""


RUNGS = 5
"""Rungs of a ladder a..b, or fewer if a generation has fewer directions. It does not depend on the number of workers."""
MOST_RUNGS = 1000


def parse_settings(text: str, options: SearchOptions) -> tuple[Setting, ...]:
    """The settings that `text` describes, in order; sigma and directions that it does not name are those of the options.

    Raises UserError if the text cannot be read.
    """
    sigmas, kinds = [options.sigma], [str(options.directions)]
    seen: set[str] = set()
    for part in filter(None, (piece.strip() for piece in text.split("+"))):
        kind, colon, values = part.partition(":")
        if kind not in SETTINGS:
            raise unknown("exploration of black-box search", kind, SETTINGS)
        if not colon or not values or kind in seen:
            raise UserError(
                f"exploration {part!r} cannot be read (allowed, each once: sigma:0.02,0.1 or sigma:0.02..0.1/5, "
                "directions:NAME,NAME)"
            )
        seen.add(kind)
        if kind == "sigma":
            sigmas = _numbers(values, max(2, min(RUNGS, options.population // 2)), part)
        else:
            kinds = [word.strip() for word in values.split(",")]
            for word in kinds:
                if word not in KINDS:
                    raise unknown("kind of directions", word, KINDS)
    count = max(len(sigmas), len(kinds))
    settings = tuple(Setting(sigmas[i % len(sigmas)], kinds[i % len(kinds)]) for i in range(count))
    labels = [label(setting) for setting in settings]
    if len(set(labels)) < len(labels):
        twice = next(one for one in labels if labels.count(one) > 1)
        raise UserError(f"exploration {text!r}: the setting {twice} is given twice")
    return settings


def label(setting: Setting) -> str:
    """The name of a setting in reports."""
    return f"sigma:{setting.sigma:g}+directions:{setting.kind}"


def _numbers(values: str, rungs: int, part: str) -> list[float]:
    """The numbers of a list ``a,b,c``, or of a ladder ``a..b/N``: N numbers in geometric progression."""
    ladder = re.fullmatch(r"([^/]*)\.\.([^/]*)(?:/(\d{1,9}))?", values)
    try:
        numbers = [float(word) for word in (ladder.groups()[:2] if ladder else values.split(","))]
    except ValueError:
        numbers = [math.nan]
    if ladder and ladder[3]:
        rungs = int(ladder[3])
    if not all(math.isfinite(one) and one > 0 for one in numbers) or not 2 <= rungs <= MOST_RUNGS:
        raise UserError(
            f"exploration {part!r} cannot be used (allowed: numbers above 0, sigma:0.02,0.1, or a ladder of 2 to {MOST_RUNGS:,} rungs, "
            "sigma:0.02..0.1/5)"
        )
    return [float(value) for value in np.geomspace(numbers[0], numbers[1], rungs)] if ladder else numbers
