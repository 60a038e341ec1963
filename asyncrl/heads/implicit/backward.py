"""Derivatives of scores by latents and by a head's own parameters, one action at a time, compiled.

What `form` and `own` are, is told in `form`. d_own is float64, since many actions add to it.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.implicit.form import (
    ACTION_LAYERS,
    ACTIVATION,
    ANGULAR,
    EDGE,
    ENERGY,
    FEATURES,
    LATENT,
    MOST,
    NORMALISED,
    ONE_TOWER,
    REST_LAYERS,
    SHORT,
    SOFTMAX,
)
from asyncrl.heads.implicit.towers import activate
from asyncrl.heads.networks.layers import FAST
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _product(x, own, at, y):  # type: ignore[no-untyped-def]
    outputs = y.size
    for j in range(outputs):
        y[j] = np.float32(0.0)
    for i in range(x.size):
        xi, row = x[i], at + i * outputs
        for j in range(outputs):
            y[j] += xi * own[row + j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _slope(kind, y):  # type: ignore[no-untyped-def]
    """The activation's derivative, by its output."""
    if kind == 0:
        return np.float32(1.0) - y * y
    return np.float32(1.0) if kind == 2 or y > np.float32(0.0) else np.float32(0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _kernel_slope(energy, product):  # type: ignore[no-untyped-def]
    if energy == SOFTMAX:
        return np.float32(math.exp(product) if product <= MOST else 0.0)
    if energy == ANGULAR:
        inside = abs(np.float64(product)) <= 1.0 - EDGE
        return np.float32(2.0 / math.pi / math.sqrt(1.0 - np.float64(product) ** 2) if inside else 0.0)
    return np.float32(1.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _product_backward(form, own, at, before, back, spare, d_own):  # type: ignore[no-untyped-def]
    """Through one matrix and the activation below it: spare[d] = the derivative by what went into that activation."""
    d = back.size
    for i in range(before.size):
        row, total = at + i * d, np.float32(0.0)
        for j in range(d):
            d_own[row + j] += before[i] * back[j]
            total += own[row + j] * back[j]
        spare[i] = total * _slope(form[ACTIVATION], before[i])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _one_tower(form, own, state, latent, work):  # type: ignore[no-untyped-def]
    """The score of iot; leaves the outputs of each hidden layer in work, [1 + REST_LAYERS, d]."""
    d, at = form[LATENT], form[FEATURES] * form[LATENT]
    hidden = work[:d]
    for j in range(d):
        hidden[j] = state[j] + latent[j]
    activate(form[ACTIVATION], hidden, hidden)
    for layer in range(form[REST_LAYERS]):
        following = work[(layer + 1) * d : (layer + 2) * d]
        _product(hidden, own, at, following)
        activate(form[ACTIVATION], following, following)
        hidden = following
        at += d * d
    return _dot(hidden, own[at : at + d])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def score_backward(form, own, state, latent, slope, work, d_state, d_latent, d_own):  # type: ignore[no-untyped-def]
    """Add to d_state[d], d_latent[d], d_own[D] the derivatives of slope * score(form[FORM], own[D], state[d], latent[d]); work[W]."""
    d, energy = form[LATENT], form[ENERGY]
    if energy != ONE_TOWER:
        product = _dot(state, latent)
        factor = slope * _kernel_slope(energy, product)
        for j in range(d):
            d_state[j] += factor * latent[j]
            d_latent[j] += factor * state[j]
        return
    _one_tower(form, own, state, latent, work)
    layers = form[REST_LAYERS]
    at = form[FEATURES] * d + layers * d * d
    back, spare = work[(layers + 1) * d : (layers + 2) * d], work[(layers + 2) * d : (layers + 3) * d]
    hidden = work[layers * d : (layers + 1) * d]
    for j in range(d):
        d_own[at + j] += slope * hidden[j]
        back[j] = slope * own[at + j] * _slope(form[ACTIVATION], hidden[j])
    for layer in range(layers - 1, -1, -1):
        at -= d * d
        before = work[layer * d : (layer + 1) * d]
        _product_backward(form, own, at, before, back, spare, d_own)
        back, spare = spare, back
    for j in range(d):
        d_state[j] += back[j]
        d_latent[j] += back[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _hidden(form, own, x, work):  # type: ignore[no-untyped-def]
    """Leave in work[ACTION_LAYERS, d] the outputs of the hidden layers of one action, and its latent before it is normalised."""
    d, at = form[LATENT], form[FEATURES] * form[LATENT]
    before = work[:d]
    _product(x, own, 0, before)
    for layer in range(1, form[ACTION_LAYERS]):
        activate(form[ACTIVATION], before, before)
        following = work[layer * d : (layer + 1) * d]
        _product(before, own, at, following)
        before = following
        at += d * d


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _normalised_backward(x, back):  # type: ignore[no-untyped-def]
    """back[d] becomes the derivative by x[d] where it was that by x / |x|."""
    length = np.float32(math.sqrt(_dot(x, x)))
    if length < np.float32(SHORT):
        return
    along = _dot(x, back) / (length * length)
    for j in range(x.size):
        back[j] = (back[j] - along * x[j]) / length


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def embed_backward(form, own, features, d_latents, work, d_own):  # type: ignore[no-untyped-def]
    """Add to d_own[D] the derivatives of sum of d_latents[n, d] * embed(features[n, F]); form[FORM], own[D], work[work_size]."""
    d, layers = form[LATENT], form[ACTION_LAYERS]
    back, spare = work[layers * d : (layers + 1) * d], work[(layers + 1) * d : (layers + 2) * d]
    for n in range(features.shape[0]):
        x = features[n]
        _hidden(form, own, x, work)
        for j in range(d):
            back[j] = d_latents[n, j]
        if form[NORMALISED]:
            _normalised_backward(work[(layers - 1) * d : layers * d], back)
        at = form[FEATURES] * d + (layers - 1) * d * d
        for layer in range(layers - 2, -1, -1):
            at -= d * d
            _product_backward(form, own, at, work[layer * d : (layer + 1) * d], back, spare, d_own)
            back, spare = spare, back
        for i in range(x.size):
            for j in range(d):
                d_own[i * d + j] += x[i] * back[j]


@njit(cache=True, nogil=True, error_model="numpy")
def state_backward(form, state, d_state):  # type: ignore[no-untyped-def]
    """d_state[d] becomes the derivative by the network's outputs state[d], which form[FORM] may normalise."""
    if form[NORMALISED]:
        _normalised_backward(state, d_state)
