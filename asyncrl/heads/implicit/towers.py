"""Bias-free towers and energies over them, compiled: what the heads itt and iot compute of actions, BLOCK of them side by side.

What `form` and `own` are, is told in `form`.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.implicit.form import (
    ACTION_LAYERS,
    ACTIVATION,
    ANGULAR,
    BLOCK,
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
from asyncrl.heads.networks.layers import FAST, tanh
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def activate(kind, x, y):  # type: ignore[no-untyped-def]
    """Write y[n] of x[n], which may be the same array: the activation of this kind."""
    for j in range(x.size):
        y[j] = max(x[j], np.float32(0.0)) if kind == 1 else x[j]
    if kind == 0:
        tanh(y.reshape(1, y.size))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def normalised(x, y):  # type: ignore[no-untyped-def]
    """Write y[d] = x[d] / |x|; returns |x|, below SHORT of which y = x."""
    square = np.float32(0.0)
    for j in range(x.size):
        square += x[j] * x[j]
    length = np.float32(math.sqrt(square))
    scale = np.float32(1.0) / length if length >= np.float32(SHORT) else np.float32(1.0)
    for j in range(x.size):
        y[j] = x[j] * scale
    return length


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _block_product(x, inputs, own, at, y, outputs):  # type: ignore[no-untyped-def]
    """y[outputs, BLOCK] = own[at:] as [inputs, outputs], transposed, times x[inputs, BLOCK]; both are flat. Four inputs a pass."""
    y[: outputs * BLOCK] = np.float32(0.0)
    i = 0
    while i + 4 <= inputs:
        for j in range(outputs):
            w, row, column = at + i * outputs + j, i * BLOCK, j * BLOCK
            w0, w1, w2, w3 = own[w], own[w + outputs], own[w + 2 * outputs], own[w + 3 * outputs]
            for m in range(BLOCK):
                first = w0 * x[row + m] + w1 * x[row + BLOCK + m]
                y[column + m] += first + (w2 * x[row + 2 * BLOCK + m] + w3 * x[row + 3 * BLOCK + m])
        i += 4
    while i < inputs:
        for j in range(outputs):
            weight, row, column = own[at + i * outputs + j], i * BLOCK, j * BLOCK
            for m in range(BLOCK):
                y[column + m] += weight * x[row + m]
        i += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _write_block(form, y, latents, start):  # type: ignore[no-untyped-def]
    """latents[start + m, d] = column m of y[d, BLOCK], of length 1 if the form says so."""
    d = form[LATENT]
    for m in range(min(BLOCK, latents.shape[0] - start)):
        scale = np.float32(1.0)
        if form[NORMALISED]:
            square = np.float32(0.0)
            for j in range(d):
                square += y[j * BLOCK + m] * y[j * BLOCK + m]
            length = np.float32(math.sqrt(square))
            scale = np.float32(1.0) / length if length >= np.float32(SHORT) else np.float32(1.0)
        for j in range(d):
            latents[start + m, j] = y[j * BLOCK + m] * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def embed(form, own, features, work, latents):  # type: ignore[no-untyped-def]
    """Write latents[n, d] of features[n, F] by form[FORM] and own[D]; work[work_size]. BLOCK actions at a time, side by side.

    Nothing but the result is written to `latents`: others may read it, where the same was written before.
    """
    d, width = form[LATENT], form[FEATURES]
    x, y, z = work[: width * BLOCK], work[width * BLOCK :][: d * BLOCK], work[(width + d) * BLOCK :][: d * BLOCK]
    for start in range(0, features.shape[0], BLOCK):
        count = min(BLOCK, features.shape[0] - start)
        for i in range(width):
            for m in range(count):
                x[i * BLOCK + m] = features[start + m, i]
        _block_product(x, width, own, 0, y, d)
        at = width * d
        for _ in range(1, form[ACTION_LAYERS]):
            activate(form[ACTIVATION], y, y)
            _block_product(y, d, own, at, z, d)
            y, z = z, y
            at += d * d
        _write_block(form, y, latents, start)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def dot_products(state, latents, scores):  # type: ignore[no-untyped-def]
    """scores[N] = latents[N, d] @ state[d]. Four actions a pass."""
    count, d = latents.shape
    zero = np.float32(0.0)
    k = 0
    while k + 4 <= count:
        a, b, c, e = zero, zero, zero, zero
        for j in range(d):
            x = state[j]
            a += x * latents[k, j]
            b += x * latents[k + 1, j]
            c += x * latents[k + 2, j]
            e += x * latents[k + 3, j]
        scores[k], scores[k + 1], scores[k + 2], scores[k + 3] = a, b, c, e
        k += 4
    while k < count:
        a = zero
        for j in range(d):
            a += state[j] * latents[k, j]
        scores[k] = a
        k += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def one_tower_scores(form, own, state, latents, work, scores):  # type: ignore[no-untyped-def]
    """scores[N] of iot for latents[N, d] at state[d] by form[FORM] and own[D]; work[work_size]. BLOCK actions at a time."""
    d, first = form[LATENT], form[FEATURES] * form[LATENT]
    x, y = work[: d * BLOCK], work[d * BLOCK :][: d * BLOCK]
    for start in range(0, scores.size, BLOCK):
        count = min(BLOCK, scores.size - start)
        for j in range(d):
            for m in range(count):
                x[j * BLOCK + m] = state[j] + latents[start + m, j]
        at = first
        activate(form[ACTIVATION], x, x)
        for _ in range(form[REST_LAYERS]):
            _block_product(x, d, own, at, y, d)
            activate(form[ACTIVATION], y, y)
            x, y = y, x
            at += d * d
        _block_product(x, d, own, at, y, 1)
        scores[start : start + count] = y[:count]


@njit(cache=True, nogil=True, error_model="numpy")
def raw_scores(form, own, state, latents, work, scores):  # type: ignore[no-untyped-def]
    """What orders actions: their scores[N] but for the kernel, which grows with it.

    state[d], latents[N, d]; form[FORM], own[D], work[work_size].
    """
    if form[ENERGY] == ONE_TOWER:
        one_tower_scores(form, own, state, latents, work, scores)
    else:
        dot_products(state, latents, scores)


@njit(cache=True, nogil=True, error_model="numpy")
def _kernel(energy, product):  # type: ignore[no-untyped-def]
    if energy == SOFTMAX:
        return np.float32(math.exp(min(np.float64(product), MOST)))
    if energy == ANGULAR:
        return np.float32(1.0 - 2.0 / math.pi * math.acos(min(max(np.float64(product), EDGE - 1.0), 1.0 - EDGE)))
    return product


@njit(cache=True, nogil=True, error_model="numpy")
def apply_kernel(form, scores):  # type: ignore[no-untyped-def]
    """scores[N], raw ones, become those of the kernel of form[FORM]; returns the highest."""
    highest = np.float32(-np.inf)
    for n in range(scores.size):
        if form[ENERGY] == SOFTMAX or form[ENERGY] == ANGULAR:
            scores[n] = _kernel(form[ENERGY], scores[n])
        highest = max(highest, scores[n])
    return highest
