"""When parameters rest: some are varied and updated in some generations of a search only, such as the action tower of head itt.

Source: [S000] section 2.3, "lazy action-tower updates": less frequently, or with a frequency that decays in time, for instance
exponentially. Which generations those are is a function of the generation's number alone, so it is the same in every process, after a
kill and in a resumed run. A frequency that decays is met by turns: after g generations as many have varied all as its integral over
them says, rounded up, and no two runs differ in which.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from asyncrl.errors import UserError

ALLOWED = "a whole number from 1, the period in generations, or decay:G, where the frequency halves in every G generations"
LARGEST = 10**15
"""Of a period and a half-life: up to here floating-point numbers count every generation."""


@dataclass(frozen=True)
class Lazy:
    """Parameters that are varied and updated in some generations only: those after the first `size`. From generation 0 on."""

    size: int
    period: int = 1
    """Generations from one that varies all to the next; with a half-life, at the start."""
    half_life: int = 0
    """Generations in which the frequency halves; 0: never."""

    @classmethod
    def parse(cls, text: str, size: int) -> Lazy:
        """``5`` or ``decay:200``, for those after the first `size` parameters. Raises UserError for another text."""
        found = re.fullmatch(r"(decay:)?(\d{1,16})", text.strip())
        if not found or not 1 <= int(found[2]) <= LARGEST:
            raise UserError(f"lazy = {text} cannot be used (allowed: {ALLOWED})")
        return cls(size, half_life=int(found[2])) if found[1] else cls(size, period=int(found[2]))

    def varied(self, generation: int) -> slice:
        """The parameters that a generation varies and its update may change."""
        return slice(None) if self._varies_all(generation) else slice(0, self.size)

    def _varies_all(self, generation: int) -> bool:
        if not self.half_life:
            return generation % self.period == 0
        return math.ceil(self._turns(generation + 1)) > math.ceil(self._turns(generation))

    def _turns(self, generations: int) -> float:
        """The integral of 2^(-t / half-life) over so many generations; at most half-life / ln 2."""
        rate = math.log(2) / self.half_life
        return -math.expm1(-rate * generations) / rate


def refuse_lazy(lazy: Lazy | None, name: str, why: str) -> None:
    """Raise UserError where parameters are to rest in a search of this name, in which they cannot: `why`."""
    if lazy is not None:
        raise UserError(f"lazy cannot be used with {name}: {why} (allowed: lazy = 1)")
