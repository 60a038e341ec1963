"""How long a training episode may be."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from asyncrl.envs.faults import LONGEST_EPISODE
from asyncrl.errors import UserError
from asyncrl.fields import written

MOST = 2**24 - 1
"""A limit travels as float32, which is exact up to here."""

TIMES, LEAST = 10, 10_000
"""An evaluation episode is cut at TIMES the limit of training episodes, but not before LEAST steps (`evaluation_limit`)."""


def evaluation_limit(limit: int) -> int:
    """Steps after which an evaluation episode is cut, of a search whose training has come to `limit`: so many times that, and LEAST
    at least, so that only what would hardly end by itself is cut. 0, never, where training has no limit."""
    return min(max(TIMES * limit, LEAST), LONGEST_EPISODE) if limit else 0


@dataclass(frozen=True)
class EpisodeLimit:
    """A limit of steps that grows by `factor` whenever `share` of a generation's episodes reach it (as in the code of
    Salimans and others 2017). A fixed limit has factor 1; start 0 is no limit."""

    start: int = 0
    share: float = 1.0
    factor: float = 1.0

    @classmethod
    def parse(cls, text: str) -> EpisodeLimit:
        """``none``, ``1000`` or ``adaptive:START,SHARE,FACTOR``. Raises UserError."""
        if text == "none":
            return cls()
        if 0 < (fixed := _whole(text)) <= MOST:
            return cls(fixed)
        kind, _, numbers = text.partition(":")
        parts = numbers.split(",") if kind == "adaptive" else []
        if len(parts) == 3:
            start, share, factor = _whole(parts[0]), _number(parts[1]), _number(parts[2])
            if 1 <= start <= MOST and 0 < share <= 1 and 1 < factor < math.inf:
                return cls(start, share, factor)
        raise UserError(
            f"episode_limit = {text!r} cannot be used (allowed: none, a number of steps, or adaptive:START,SHARE,FACTOR with "
            "START a whole number from 1, 0 < SHARE <= 1, FACTOR a finite number above 1, as in adaptive:200,0.5,1.5)"
        )

    def after(self, limit: int, cut: int, episodes: int) -> int:
        """The limit that follows, when `cut` of so many episodes reached this one: cuts made under an earlier, lower limit say nothing."""
        if limit and self.factor > 1 and episodes and cut >= written(self.share) * episodes:
            return min(math.ceil(limit * written(self.factor)), MOST)
        return limit


def _whole(text: str) -> int:
    """The number; 0 for what is none."""
    return int(text) if re.fullmatch(r"\d+(_\d+)*", text) and len(text) <= 20 else 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
