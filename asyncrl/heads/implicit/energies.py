"""Energies of any actions at one state, whether they are in the set or not: what a picture of an implicit head shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.action_sets import values_of
from asyncrl.heads.implicit.choosing import BASE, COUNT, place_of
from asyncrl.heads.implicit.form import (
    ACTION_LAYERS,
    CHOSEN,
    FEATURES,
    ITERATION,
    LATENT,
    NORMALISED,
    RESAMPLE,
    REST_LAYERS,
    SUBSET,
    work_size,
)
from asyncrl.heads.implicit.towers import apply_kernel, embed, normalised, raw_scores
from asyncrl.heads.keyed_numbers import key_at, part_key

Floats = NDArray[np.float32]


def energies_at(form: NDArray[np.int64], own: Floats, output: Floats, features: Floats) -> NDArray[np.float64]:
    """The energies [n] of actions with features [n, F] where the network's output is output[d], by form[FORM] and own[D].

    The scratch is of this call alone, so that acting goes on as if nobody had looked.
    """
    state = output.copy()
    if form[NORMALISED]:
        normalised(state, state)
    work = np.zeros(work_size(form[ACTION_LAYERS], form[REST_LAYERS], form[LATENT], form[FEATURES]), np.float32)
    latents, scores = np.zeros((len(features), int(form[LATENT])), np.float32), np.zeros(len(features), np.float32)
    embed(form, own, np.ascontiguousarray(features, np.float32), work, latents)
    raw_scores(form, own, state, latents, work, scores)
    apply_kernel(form, scores)
    return -scores.astype(np.float64)


def newest_set(
    form: NDArray[np.int64], turns: NDArray[np.int64], tables: Mapping[str, NDArray[Any]], drawn: Floats, bounds: NDArray[np.float64]
) -> tuple[Floats, NDArray[Any]]:
    """(features [M, F], actions [M, C]) among which the newest greedy step has chosen, by form[FORM] and turns[TURNS].

    tables: of a fixed set; drawn[N, F], features of one that was drawn for that step, in a box of bounds[2, C].
    """
    if form[RESAMPLE] >= ITERATION:
        return drawn, values_of(drawn, bounds)
    places: list[int] | slice = slice(None)
    if form[RESAMPLE] == SUBSET:
        key = part_key(key_at(turns[BASE], turns[COUNT]), form[CHOSEN])
        places = [place_of(form, key, m) for m in range(int(form[CHOSEN]))]
    return tables["features"][places], tables["values"][places]
