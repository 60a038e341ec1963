"""Summaries of a list of proposals, compiled, for one list at a time: what `asyncrl.heads.networks.summaries` is in torch.

    mean, max      a DeepSet (Zaheer and others 2017): each element by itself, then the mean over them, or the largest of each number
    lstm           each element by itself, then two layers of an LSTM in both directions, then the mean over elements and directions
    transformer    two layers of attention with one head over the elements, each followed by two linear layers, normalised as in
                   Vaswani and others (2017), without positions; then the mean over elements

An element is [s, a_j]. After the pooling all have a linear layer (H units), relu, and a linear layer to the Z numbers of the summary.
Sizes and layers are those of SAVO's authors' program (seed 002, appendix F.1 names the three).
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.networks.layers import FAST, dense, relu
from asyncrl.shared.compiled import njit

OBSERVATION, ACTION, OUTPUTS, WIDTH, SUMMARY, HOW, TOLD, MLP, CELL, UNITS = range(10)
"""Positions in an actor's cell's plan: S, A, its outputs, units of the summary (H), its numbers (Z), its place in SUMMARISING, how the MLP
is told (its place in `following.TELLING`), numbers of the MLP, of the cell, first hidden size."""
SUMMARISING = ("mean", "max", "lstm", "transformer")
BY_MEAN, BY_LARGEST, BY_LSTM, BY_TRANSFORMER = range(4)
LAYERS = 2
"""Of an LSTM, and of a transformer."""
EPSILON = 1e-5
"""Added to the variance where a transformer normalises: torch's number."""


def summary_shapes(summariser: str, element: int, width: int, summary: int) -> list[tuple[int, int]]:
    """(inputs, outputs) of a summary's layers, in the order of the vector. One without inputs is a bias alone, and begins at 0.

    LSTM: of each layer and direction the input's part of the four gates (input, forget, cell, output) and the state's. Transformer: of
    each layer queries, keys and values in one; their output; factors, less 1, and shifts of the normalisation; two linear layers; factors
    and shifts again.
    """
    last = [(width, width), (width, summary)]
    if summariser == "lstm":
        inputs = [width, *[2 * width] * (LAYERS - 1)]
        gates = [shape for size in inputs for _ in range(2) for shape in ((size, 4 * width), (width, 4 * width))]
        return [(element, width), (width, width), *gates, *last]
    if summariser == "transformer":
        norm = [(0, element), (0, element)]
        layer = [(element, 3 * element), (element, element), *norm, (element, width), (width, element), *norm]
        return [*layer * LAYERS, (element, width), (width, summary)]
    return [(element, width), (width, width), *last]


def summary_scratch(summariser: str, longest: int, element: int, width: int, summary: int) -> int:
    """Numbers of scratch that `summarise` needs for lists of at most `longest` elements."""
    if summariser == "lstm":
        return 4 * longest * width + 12 * width + element + summary
    if summariser == "transformer":
        return 4 * longest * element + longest + 3 * element + 2 * width + summary
    return 4 * width


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def linear(vector, offset, inputs, left, outputs, x, y):  # type: ignore[no-untyped-def]
    """y[1, outputs] of x[1, inputs], both of which may be wider, by a layer of which the last `left` inputs are left out.

    vector[N]. Returns the offset after the layer.
    """
    bias, after = offset + (inputs + left) * outputs, offset + inputs * outputs
    dense(x, vector[offset:after].reshape(inputs, outputs), vector[bias : bias + outputs], y)
    return bias + outputs


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _row(scratch, start, size):  # type: ignore[no-untyped-def]
    return scratch[start : start + size].reshape(1, size)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _pooled(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """What a DeepSet says of the first `given` proposals, pooled: left in work[1]. Returns the offset after its layers."""
    inputs, actions, width, largest = plan[OBSERVATION], plan[ACTION], plan[WIDTH], plan[HOW] == BY_LARGEST
    second = offset + (inputs + actions) * width + width
    after, state, element, total, share = second, work[0, 0], work[2, 0], work[3, 0], np.float32(1.0 / given)
    linear(vector, offset, inputs, actions, width, observation, work[0])
    for h in range(width):
        total[h] = np.float32(-np.inf if largest else 0.0)
    for j in range(given):
        for h in range(width):
            element[h] = state[h]
        for c in range(actions):
            weight, a = vector[offset + (inputs + c) * width :][:width], proposals[j, c]
            for h in range(width):
                element[h] += a * weight[h]
        if largest:
            relu(work[2, :, :width])
            after = linear(vector, second, width, 0, width, work[2], work[1])
            for h in range(width):
                total[h] = max(total[h], work[1, 0, h])
        else:
            for h in range(width):
                total[h] += max(element[h], np.float32(0.0)) * share
    if largest:
        work[1, 0, :width] = total[:width]
        return after
    return linear(vector, second, width, 0, width, work[3], work[1])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return np.float32(1.0) / (np.float32(1.0) + np.float32(math.exp(-x)))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _directed(vector, offset, inputs, width, x, y, column, backwards, gates, state):  # type: ignore[no-untyped-def]
    """One direction of an LSTM's layer along x[L, inputs], into the columns of y[L, ..] from `column` on. Returns the offset after it.

    gates[2, 1, 4H] and state[2, 1, H] (what is said, what is remembered) are scratch.
    """
    state[:] = np.float32(0.0)
    second = offset + inputs * 4 * width + 4 * width
    after = second
    for step in range(x.shape[0]):
        j = x.shape[0] - 1 - step if backwards else step
        linear(vector, offset, inputs, 0, 4 * width, x[j : j + 1], gates[0])
        after = linear(vector, second, width, 0, 4 * width, state[0], gates[1])
        for h in range(width):
            into, forget = _sigmoid(gates[0, 0, h] + gates[1, 0, h]), _sigmoid(gates[0, 0, width + h] + gates[1, 0, width + h])
            new = np.float32(math.tanh(gates[0, 0, 2 * width + h] + gates[1, 0, 2 * width + h]))
            out = _sigmoid(gates[0, 0, 3 * width + h] + gates[1, 0, 3 * width + h])
            state[1, 0, h] = forget * state[1, 0, h] + into * new
            state[0, 0, h] = out * np.float32(math.tanh(state[1, 0, h]))
            y[j, column + h] = state[0, 0, h]
    return after


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _by_lstm(plan, vector, offset, observation, proposals, given, scratch):  # type: ignore[no-untyped-def]
    """The mean over elements and directions of the last layer [H]: (where it lies in scratch, the offset after the LSTM)."""
    inputs, actions, width = plan[OBSERVATION], plan[ACTION], plan[WIDTH]
    half = 2 * given * width
    gates = scratch[2 * half : 2 * half + 8 * width].reshape(2, 1, 4 * width)
    at = 2 * half + 8 * width
    state = scratch[at : at + 2 * width].reshape(2, 1, width)
    at += 2 * width
    pair, after, size = _row(scratch, at, inputs + actions), offset, width
    for j in range(given):
        pair[0, :inputs], pair[0, inputs:] = observation[0, :inputs], proposals[j]
        after = linear(vector, offset, inputs + actions, 0, width, pair, state[0])
        relu(state[0])
        after = linear(vector, after, width, 0, width, state[0], _row(scratch, j * width, width))
    source, goal = 0, half
    for _ in range(LAYERS):
        x = scratch[source : source + given * size].reshape(given, size)
        y = scratch[goal : goal + given * 2 * width].reshape(given, 2 * width)
        after = _directed(vector, after, size, width, x, y, 0, False, gates, state)
        after = _directed(vector, after, size, width, x, y, width, True, gates, state)
        source, goal, size = goal, source, 2 * width
    share, said = np.float32(0.5 / given), scratch[source:]
    for h in range(width):
        total = np.float32(0.0)
        for j in range(given):
            total += said[2 * j * width + h] + said[(2 * j + 1) * width + h]
        state[0, 0, h] = total * share
    return at - 2 * width, after


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _normalised(vector, offset, size, x):  # type: ignore[no-untyped-def]
    """x[1, size] at mean 0 and deviation 1, times 1 + factors, plus shifts. Returns the offset after these."""
    mean = np.float32(0.0)
    for d in range(size):
        mean += x[0, d]
    mean /= np.float32(size)
    variance = np.float32(0.0)
    for d in range(size):
        variance += (x[0, d] - mean) * (x[0, d] - mean)
    scale = np.float32(1.0) / np.sqrt(variance / np.float32(size) + np.float32(EPSILON))
    for d in range(size):
        x[0, d] = (x[0, d] - mean) * scale * (np.float32(1.0) + vector[offset + d]) + vector[offset + size + d]
    return offset + 2 * size


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _attended(asked, size, i, shares, mixed):  # type: ignore[no-untyped-def]
    """mixed[1, D]: of asked[L, 3 D] (queries, keys, values) the values by how well their keys fit the i-th query. shares[L]: scratch."""
    given, highest, total = asked.shape[0], np.float32(-np.inf), np.float32(0.0)
    for j in range(given):
        product = np.float32(0.0)
        for d in range(size):
            product += asked[i, d] * asked[j, size + d]
        shares[j] = product / np.float32(math.sqrt(size))
        highest = max(highest, shares[j])
    for j in range(given):
        shares[j] = np.float32(math.exp(shares[j] - highest))
        total += shares[j]
    mixed[:] = np.float32(0.0)
    for j in range(given):
        share = shares[j] / total
        for d in range(size):
            mixed[0, d] += share * asked[j, 2 * size + d]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _encoded(vector, offset, width, x, asked, shares, mixed, hidden):  # type: ignore[no-untyped-def]
    """One layer of a transformer over x[L, D], in place. asked[L, 3 D], shares[L], mixed[2, 1, D], hidden[1, H]: scratch."""
    given, size = x.shape
    for j in range(given):
        linear(vector, offset, size, 0, 3 * size, x[j : j + 1], asked[j : j + 1])
    first = offset + (size + 1) * 3 * size
    after = first
    for i in range(given):
        row = x[i : i + 1]
        _attended(asked, size, i, shares, mixed[0])
        after = linear(vector, first, size, 0, size, mixed[0], mixed[1])
        for d in range(size):
            row[0, d] += mixed[1, 0, d]
        after = _normalised(vector, after, size, row)
        after = linear(vector, after, size, 0, width, row, hidden)
        relu(hidden)
        after = linear(vector, after, width, 0, size, hidden, mixed[1])
        for d in range(size):
            row[0, d] += mixed[1, 0, d]
        after = _normalised(vector, after, size, row)
    return after


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _by_transformer(plan, vector, offset, observation, proposals, given, scratch):  # type: ignore[no-untyped-def]
    """The mean over the elements [S + A] of what the last layer says: (where it lies in scratch, the offset after the layers)."""
    inputs, size, width = plan[OBSERVATION], plan[OBSERVATION] + plan[ACTION], plan[WIDTH]
    x, at = scratch[: given * size].reshape(given, size), given * size
    asked, at = scratch[at : at + 3 * given * size].reshape(given, 3 * size), at + 3 * given * size
    shares, at = scratch[at : at + given], at + given
    mixed, at = scratch[at : at + 2 * size].reshape(2, 1, size), at + 2 * size
    hidden, at = _row(scratch, at, width), at + width
    for j in range(given):
        x[j, :inputs], x[j, inputs:] = observation[0, :inputs], proposals[j]
    for _ in range(LAYERS):
        offset = _encoded(vector, offset, width, x, asked, shares, mixed, hidden)
    mean, share = _row(scratch, at, size), np.float32(1.0 / given)
    mean[:] = np.float32(0.0)
    for j in range(given):
        for d in range(size):
            mean[0, d] += x[j, d] * share
    return at, offset


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _by_order(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """The summary by an LSTM or a transformer, left in work[1]."""
    scratch, width, size = work.reshape(work.size), plan[WIDTH], plan[SUMMARY]
    if plan[HOW] == BY_LSTM:
        at, after = _by_lstm(plan, vector, offset, observation, proposals, given, scratch)
        found = width
    else:
        at, after = _by_transformer(plan, vector, offset, observation, proposals, given, scratch)
        found = plan[OBSERVATION] + plan[ACTION]
    hidden, summary = _row(scratch, at + found, width), _row(scratch, scratch.size - size, size)
    after = linear(vector, after, found, 0, width, _row(scratch, at, found), hidden)
    relu(hidden)
    linear(vector, after, width, 0, size, hidden, summary)
    work[1, 0, :size] = summary[0]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def summarise(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """The summary [Z] of the first `given` of proposals[K, A] at observation[1, S], left in work[1] of work[4, 1, widest].

    plan[P] and vector[N], of which the summary's layers begin at the offset.
    """
    if plan[HOW] >= BY_LSTM:
        _by_order(plan, vector, offset, observation, proposals, given, work)
        return
    width = plan[WIDTH]
    after = _pooled(plan, vector, offset, observation, proposals, given, work)
    after = linear(vector, after, width, 0, width, work[1], work[0])
    relu(work[0, :, :width])
    linear(vector, after, width, 0, plan[SUMMARY], work[0], work[1])
