"""Successive actors, compiled, for one step: what each outputs, told what those before it propose."""

from __future__ import annotations

import math

from asyncrl.heads.networks.following import follow
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def proposed(cell, vector, start, observation, first, told_noise, extra_noise, outputs, proposals, work):  # type: ignore[no-untyped-def]
    """Write outputs[K, O] and proposals[K, C], tanh of their first C, at observation[1, D]. The two may be one array.

    first[O] are the first actor's outputs, the cells of the others lie at vector[start:]. With extra_noise[K * C ..] where those that
    follow are told it.
    """
    actors, components = proposals.shape
    outputs[0] = first
    for i in range(actors):
        if i:
            start = follow(cell, vector, start, observation, proposals, i, work, outputs[i : i + 1])
        for c in range(components):
            a = math.tanh(outputs[i, c])
            proposals[i, c] = min(max(a + extra_noise[i * components + c], -1.0), 1.0) if told_noise else a
