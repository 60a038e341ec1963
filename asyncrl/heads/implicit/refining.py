"""Actions that are refined beyond the set that they start from: what head iot plays under `--selection refine`.

The set's features are the first samples of `asyncrl.heads.implicit.selection.refinement`, in [-1, 1] from bound to bound; their energies
are the head's own. What is random is drawn by a key alone, so that a candidate earns the same whoever plays it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.implicit.form import CHOSEN, FEATURES, ITERATION, LATENT, RESAMPLE, SUBSET, TRANSITION
from asyncrl.heads.implicit.selection.refinement import Refinement
from asyncrl.heads.implicit.towers import embed, raw_scores
from asyncrl.heads.keyed_numbers import key_at, uniform_box
from asyncrl.shared.compiled import njit

Floats = NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def energies_of(form, own, state, samples, work, latents, energies):  # type: ignore[no-untyped-def]
    """Write energies[N] of samples[N, F] at state[d] by form[FORM] and own[D]; work[W] and latents[N, d] are scratch."""
    embed(form, own, samples, work, latents)
    raw_scores(form, own, state, latents, work, energies)
    for n in range(energies.size):
        energies[n] = -energies[n]


@njit(cache=True, nogil=True, error_model="numpy")
def write_refined(features, bounds, extra_noise, bounded):  # type: ignore[no-untyped-def]
    """Write bounded[C] of features[C] in [-1, 1], and of extra_noise[C] in half ranges; bounds[2, C]."""
    for c in range(bounded.size):
        low, high = bounds[0, c], bounds[1, c]
        moved = np.float64(features[c]) + extra_noise[c]
        bounded[c] = min(max(low + 0.5 * (moved + 1.0) * (high - low), low), high)


class Refining:
    """Finds the action of least energy near those of a set of N; holds the scratch for it.

    samples   [N, C], features: what the newest `best` has made of the set, and chosen from
    """

    def __init__(self, form: NDArray[np.int64], work: Floats, bounds: NDArray[np.float64]):
        """form [FORM]: of the head; `work`: its scratch; bounds [2, C]. Raises UserError where actions cannot be refined."""
        if not bounds.size or bounds.shape[1] != form[FEATURES]:
            raise UserError("selection = refine cannot be used with this environment's actions (allowed: Box actions)")
        if not np.isfinite(bounds).all():
            raise UserError("selection = refine cannot be used: this environment's actions reach to infinity (allowed: finite bounds)")
        if form[RESAMPLE] == SUBSET:
            raise UserError("selection = refine cannot be used with resample = subset (allowed: never, iteration, transition)")
        self._form, self._work = form, work
        self.samples = np.zeros((form[CHOSEN], form[FEATURES]), np.float32)
        self._latents = np.zeros((form[CHOSEN], form[LATENT]), np.float32)
        size = int(form[FEATURES])
        self._refine = Refinement(np.full(size, -1.0, np.float32), np.ones(size, np.float32))

    def best(self, own: Floats, state: Floats, features: Floats, base: int, count: int) -> Floats:
        """The features [C] of the action that own[D] and state [d] refine: the head's `count`-th of those that belong to `base`.

        It starts from features [N, C] of the set, or from one that the keys draw where it is drawn anew.
        """
        form, key = self._form, key_at(base, count)
        if form[RESAMPLE] == TRANSITION:
            uniform_box(key, self.samples)
        elif form[RESAMPLE] == ITERATION:
            uniform_box(key_at(base, 0), self.samples)
        else:
            self.samples[:] = features

        def energy(samples: Floats, energies: Floats) -> None:
            energies_of(form, own, state, samples, self._work, self._latents, energies)

        return self.samples[self._refine(energy, self.samples, np.random.default_rng(key))]
