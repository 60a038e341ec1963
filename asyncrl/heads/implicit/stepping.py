"""What binds the kernels of `acting` to what they should read, and calls them: one compiled call a step as long as nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.acting import (
    AMONG,
    CELLS,
    CODES,
    GIVEN_AWAY,
    KINDS,
    PROJECTIONS,
    UNKNOWN,
    act_among,
    act_by_cells,
    act_by_codes,
    act_by_projections,
)
from asyncrl.heads.implicit.latents import Latents
from asyncrl.heads.implicit.selection import Coded, PrincipalTree, Projections
from asyncrl.heads.implicit.selection.selection import Selection
from asyncrl.heads.rounds import TEMPERATURE, RoundArrays
from asyncrl.shared.bundles import Bundle, Kind, bundle
from asyncrl.shared.compiled import ready

PICKING: dict[type[Selection], tuple[Any, tuple[Kind, ...]]] = {
    Coded: (act_by_codes, CODES),
    PrincipalTree: (act_by_cells, CELLS),
    Projections: (act_by_projections, PROJECTIONS),
}
"""The kernel of each selection that may index a table, and the kinds of its `arguments`."""

Arrays = tuple[NDArray[Any], ...]


class Stepping:
    """Binds kernels to the latents of some parameters, or to their index."""

    def __init__(self, latents: Latents, own: NDArray[np.float32], indexed: bool, rounds: RoundArrays, first: Arrays, last: Arrays):
        """own[D]: the head's parameters, in the vector that acts. `indexed`: whether greedy steps go by the index of `latents`.

        first: (plan[K], vector[S]), and (form[FORM], values[N, C], bounds[2, C]); last: what `act_among` takes after the latents.
        """
        r = rounds
        self._latents, self._own, self._indexed, self._knobs, self._last = latents, own, indexed, r.knobs, last
        self._network = (*first[:2], r.work, r.normaliser, r.observation, r.policy_output)
        self._written = (*first[2:], r.knobs, r.noise, r.extra_noise, r.action, r.bounded)

    def bound(self, alone: bool) -> tuple[Any, Bundle]:
        """A kernel for the next step, and what it takes; `alone`: from memory of this process alone, which nobody takes away."""
        latents = self._latents
        if alone:
            latents.alone(self._own)
        else:
            latents.of(self._own)
        if self._indexed and self._knobs[TEMPERATURE] == 0.0:
            index = latents.selection()
            kernel, kinds = PICKING[type(index)]
            return ready(kernel), self._bundle(index.arguments, kinds)
        return ready(act_among), self._bundle((latents.latents, *self._last), AMONG)

    def _bundle(self, beyond: Arrays, kinds: tuple[Kind, ...]) -> Bundle:
        kept, number, at, words = self._latents.standing()
        bound = np.array([number, self._indexed], np.int64)
        return bundle((*self._network, kept, at, words, bound, *self._written, *beyond), (*KINDS, *kinds))


def whole_step(stepping: Stepping, raw: NDArray[Any]) -> Callable[[int], bool]:
    """What does a step t on raw[T+1, E, D], and returns whether all observations are finite."""
    kernel: Any = None
    bundled: Bundle | None = None
    words: Any = None

    def step(t: int) -> bool:
        nonlocal kernel, bundled, words
        found = UNKNOWN if kernel is None else kernel(words, raw, t)
        for alone in (found == GIVEN_AWAY, True):
            if found < 0:
                kernel, bundled = stepping.bound(alone)
                words = bundled.words
                found = kernel(words, raw, t)
        return bool(found > 0)

    return step
