"""The form that describes an implicit head to its compiled functions, and the scratch that they write to.

`form` [FORM] describes a head to the kernels, `own` [extra_size] are the head's own parameters:

    itt   latent of an action = its features through ACTION_LAYERS matrices; score = K(state latent, action latent)
    iot   latent of an action = W_a a; score = w . (s + latent through REST_LAYERS matrices). So the first layer is W_s s + W_a a: its
          state part is the network's output, and the state is never repeated for each action

`own` holds the action tower's matrices [in, d], one after another, and then (iot) REST_LAYERS of [d, d] and the weights w [d]. The
activation stands between matrices, for iot also before the first of the rest; the last outputs are linear. -score is the energy
of seed 000, equations 2 to 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ENERGY, PLACES, CHOSEN, FEATURES, LATENT, ACTION_LAYERS, REST_LAYERS, ACTIVATION, NORMALISED, RESAMPLE, HALF, STORED, HELD, FORM = range(14)
"""Positions in a form: which energy; actions of the set N, and those among which a transition chooses M, where its worker says nothing
else; features F of an action; latent size d; matrices of the action tower and behind it; activation (`kernels.ACTIVATIONS`); whether
latents have length 1; when the set is drawn; bits of half a place (`numbers.half_bits`); numbers of a stored action; whether parts
stand for a rollout."""
ENERGIES = ("dot", "softmax", "angular", "one-tower")
DOT, SOFTMAX, ANGULAR, ONE_TOWER = range(4)
NEVER, SUBSET, ITERATION, TRANSITION = range(4)

MOST = 60.0
"""Products beyond this count as it under the softmax kernel: their exponential would leave float32."""
EDGE = 1e-6
"""A cosine comes no closer than this to 1 and -1, where the angle has no derivative."""
BLOCK = 64
"""Actions that are computed side by side."""
SHORT = 1e-12
"""Latents that are shorter stay as they are: they have no direction."""


def work_size(action_layers: int, rest_layers: int, latent: int, features: int) -> int:
    """Floats of scratch that these functions need."""
    return max((max(action_layers, rest_layers) + 4) * latent, (features + 2 * latent) * BLOCK)


def scratch_of(form: NDArray[np.int64], size: int) -> tuple[NDArray[Any], ...]:
    """(state[d], work[size], scores[L], part[L or 0, d], drawn_key[1]): what the compiled functions write to. L: the largest M."""
    among, latent = int(form[PLACES] if form[RESAMPLE] == SUBSET else form[CHOSEN]), int(form[LATENT])  # parts may be of any size
    part = np.zeros((among if form[RESAMPLE] == SUBSET else 0, latent), np.float32)  # pages are taken for as much as parts need
    return np.zeros(latent, np.float32), np.zeros(size, np.float32), np.zeros(among, np.float32), part, np.full(1, -1, np.int64)
