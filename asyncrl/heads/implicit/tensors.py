"""The scores of implicit heads by torch, for networks that need its gradients: what `towers` computes and `backward` derives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.form import (
    ACTION_LAYERS,
    ACTIVATION,
    ANGULAR,
    CHOSEN,
    EDGE,
    ENERGY,
    FEATURES,
    HALF,
    LATENT,
    MOST,
    NORMALISED,
    ONE_TOWER,
    PLACES,
    RESAMPLE,
    REST_LAYERS,
    SHORT,
    SOFTMAX,
    SUBSET,
)
from asyncrl.heads.keyed_numbers import part_size, place_in, uniform_box

Form = NDArray[np.int64]


def scores_of(form: Form, state: Any, extra: Any, features: Any, keys: NDArray[np.int64]) -> tuple[Any, NDArray[np.int64] | None]:
    """(scores[n, M], places[n, M] or None for all in order) of state[n, d] and extra[D]; features[N, F] of a fixed set; keys[n].

    M is that of the largest part; behind a smaller one scores are -inf, and places -1.
    """
    import torch

    places = None
    if form[RESAMPLE] > SUBSET:
        drawn = np.zeros((len(keys), form[CHOSEN], form[FEATURES]), np.float32)
        for key, out in zip(keys, drawn):
            uniform_box(key, out)
        latents = _latents(form, extra, torch.from_numpy(drawn).to(extra.dtype))
    else:
        latents = _latents(form, extra, features.to(extra.dtype))
        if form[RESAMPLE] == SUBSET:
            counts = [int(part_size(key)) for key in keys]
            places = np.full((len(keys), max(counts, default=0)), -1)
            for row, key, count in zip(places, keys, counts):
                row[:count] = [place_in(key, m, form[PLACES], form[HALF]) for m in range(count)]
            chosen = torch.from_numpy(places)
            return _scores(form, state, extra, latents[chosen.clamp(min=0)]).masked_fill(chosen < 0, -math.inf), places
    return _scores(form, state, extra, latents), places


def _latents(form: Form, extra: Any, x: Any) -> Any:
    """Of features x[..., F]."""
    d, at = int(form[LATENT]), int(form[FEATURES] * form[LATENT])
    latent = x @ extra[:at].reshape(-1, d)
    for _ in range(1, int(form[ACTION_LAYERS])):
        latent = _activated(form, latent) @ extra[at : at + d * d].reshape(d, d)
        at += d * d
    return _unit(latent) if form[NORMALISED] else latent


def _scores(form: Form, state: Any, extra: Any, latents: Any) -> Any:
    """[n, M] of state[n, d] and latents[M, d] or [n, M, d]."""
    if form[ENERGY] == ONE_TOWER:
        d, at = int(form[LATENT]), int(form[FEATURES] * form[LATENT])
        hidden = _activated(form, state[:, None, :] + latents)
        for _ in range(int(form[REST_LAYERS])):
            hidden = _activated(form, hidden @ extra[at : at + d * d].reshape(d, d))
            at += d * d
        return hidden @ extra[at : at + d]
    state = _unit(state) if form[NORMALISED] else state
    product = (state[:, None, :] * latents).sum(-1)
    if form[ENERGY] == SOFTMAX:
        return product.clamp(max=MOST).exp()
    if form[ENERGY] == ANGULAR:
        return 1.0 - 2.0 / math.pi * product.clamp(EDGE - 1.0, 1.0 - EDGE).acos()
    return product


def _activated(form: Form, x: Any) -> Any:
    return (x.tanh, x.relu, lambda: x)[int(form[ACTIVATION])]()


def _unit(x: Any) -> Any:
    length = x.square().sum(-1, keepdim=True).clamp(min=SHORT**2).sqrt()
    return x / length.where(length > SHORT, length.new_ones(()))
