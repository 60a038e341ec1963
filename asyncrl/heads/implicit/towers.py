"""Bias-free towers and energies over them, compiled: what the heads itt and iot compute of an action, forward and backward.

`form` [FORM] describes a head to the kernels, `own` [extra_size] are the head's own parameters:

    itt   latent of an action = its features through ACTION_LAYERS matrices; score = K(state latent, action latent)
    iot   latent of an action = W_a a; score = w . (s + latent through REST_LAYERS matrices). So the first layer is W_s s + W_a a: its
          state part is the network's output, and the state is never repeated for each action

`own` holds the action tower's matrices [in, d], one after another, and then (iot) REST_LAYERS of [d, d] and the weights w [d]. The
activation stands between matrices, for iot also before the first of the rest; the last outputs are linear. -score is the energy
of seed 000, equations 2 to 4.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.networks.layers import FAST, tanh
from asyncrl.shared.compiled import njit

ENERGY, PLACES, CHOSEN, FEATURES, LATENT, ACTION_LAYERS, REST_LAYERS, ACTIVATION, NORMALISED, RESAMPLE, HALF, STORED, FORM = range(13)
"""Positions in a form: which energy; actions of the set N, and those among which a transition chooses M; features F of an action; latent
size d; matrices of the action tower and behind it; activation (`kernels.ACTIVATIONS`); whether latents have length 1; when the set
is drawn; bits of half a place (`numbers.half_bits`); numbers of a stored action."""
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
def _activate(kind, x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        y[j] = max(x[j], np.float32(0.0)) if kind == 1 else x[j]
    if kind == 0:
        tanh(y.reshape(1, y.size))


@njit(cache=True, nogil=True, error_model="numpy")
def _slope(kind, y):  # type: ignore[no-untyped-def]
    """The activation's derivative, by its output."""
    if kind == 0:
        return np.float32(1.0) - y * y
    return np.float32(1.0) if kind == 2 or y > np.float32(0.0) else np.float32(0.0)


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
            _activate(form[ACTIVATION], y, y)
            _block_product(y, d, own, at, z, d)
            y, z = z, y
            at += d * d
        _write_block(form, y, latents, start)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for j in range(x.size):
        total += x[j] * y[j]
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _one_tower(form, own, state, latent, work):  # type: ignore[no-untyped-def]
    """The score of iot; leaves the outputs of each hidden layer in work, [1 + REST_LAYERS, d]."""
    d, at = form[LATENT], form[FEATURES] * form[LATENT]
    hidden = work[:d]
    for j in range(d):
        hidden[j] = state[j] + latent[j]
    _activate(form[ACTIVATION], hidden, hidden)
    for layer in range(form[REST_LAYERS]):
        following = work[(layer + 1) * d : (layer + 2) * d]
        _product(hidden, own, at, following)
        _activate(form[ACTIVATION], following, following)
        hidden = following
        at += d * d
    return _dot(hidden, own[at : at + d])


@njit(cache=True, nogil=True, error_model="numpy")
def _kernel(energy, product):  # type: ignore[no-untyped-def]
    if energy == SOFTMAX:
        return np.float32(math.exp(min(np.float64(product), MOST)))
    if energy == ANGULAR:
        return np.float32(1.0 - 2.0 / math.pi * math.acos(min(max(np.float64(product), EDGE - 1.0), 1.0 - EDGE)))
    return product


@njit(cache=True, nogil=True, error_model="numpy")
def _kernel_slope(energy, product):  # type: ignore[no-untyped-def]
    if energy == SOFTMAX:
        return np.float32(math.exp(product) if product <= MOST else 0.0)
    if energy == ANGULAR:
        inside = abs(np.float64(product)) <= 1.0 - EDGE
        return np.float32(2.0 / math.pi / math.sqrt(1.0 - np.float64(product) ** 2) if inside else 0.0)
    return np.float32(1.0)


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
        _activate(form[ACTIVATION], x, x)
        for _ in range(form[REST_LAYERS]):
            _block_product(x, d, own, at, y, d)
            _activate(form[ACTIVATION], y, y)
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
def apply_kernel(form, scores):  # type: ignore[no-untyped-def]
    """scores[N], raw ones, become those of the kernel of form[FORM]; returns the highest."""
    highest = np.float32(-np.inf)
    for n in range(scores.size):
        if form[ENERGY] == SOFTMAX or form[ENERGY] == ANGULAR:
            scores[n] = _kernel(form[ENERGY], scores[n])
        highest = max(highest, scores[n])
    return highest


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


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _hidden(form, own, x, work):  # type: ignore[no-untyped-def]
    """Leave in work[ACTION_LAYERS, d] the outputs of the hidden layers of one action, and its latent before it is normalised."""
    d, at = form[LATENT], form[FEATURES] * form[LATENT]
    before = work[:d]
    _product(x, own, 0, before)
    for layer in range(1, form[ACTION_LAYERS]):
        _activate(form[ACTIVATION], before, before)
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


@njit(cache=True, nogil=True, error_model="numpy")
def state_backward(form, state, d_state):  # type: ignore[no-untyped-def]
    """d_state[d] becomes the derivative by the network's outputs state[d], which form[FORM] may normalise."""
    if form[NORMALISED]:
        _normalised_backward(state, d_state)


def work_size(action_layers: int, rest_layers: int, latent: int, features: int) -> int:
    """Floats of scratch that these functions need."""
    return max((max(action_layers, rest_layers) + 4) * latent, (features + 2 * latent) * BLOCK)
