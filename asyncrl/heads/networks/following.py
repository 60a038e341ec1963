"""Actors that are told what others before them propose, compiled: what `asyncrl.heads.networks.cascades` is in torch, for acting.

A cell's numbers lie in a flat vector as `CellSizes.shapes` says; that module tells what it computes. Rows are taken one at a time,
since that is what acting has; only the critic, which is asked about all proposals at once, takes them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.kernels import HIDDEN, INPUTS
from asyncrl.heads.networks.layers import FAST, dense, relu
from asyncrl.shared.compiled import njit

OBSERVATION, ACTION, WIDTH, SUMMARY, LARGEST, TOLD, MLP, CELL, UNITS = range(9)
"""Positions in an actor's cell's plan: S, A, units of the summary, its numbers, whether it takes the largest, how the MLP is told (its
place in TELLING), numbers of the MLP, of the cell, first hidden size."""
TELLING = ("modulation", "input", "nothing")
BY_MODULATION, BY_INPUT, BY_NOTHING = range(3)
"""How an MLP is told of a list: its hidden layers are modulated by the summary; the summary is part of its input; it is not told."""


@dataclass(frozen=True)
class CellSizes:
    """What a cell is made of."""

    observation: int
    action: int
    inputs: int
    """Of the MLP: the observation, or observation and action."""
    hidden: tuple[int, ...]
    outputs: int
    width: int
    """H, units of the summary's hidden layers."""
    summary: int
    """Z, numbers of the summary."""
    pooling: str = "mean"
    """mean | max"""
    told: str = "modulation"
    """One of TELLING."""

    @property
    def mlp(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the MLP's layers."""
        more = self.summary if self.told == "input" else 0
        return list(pairwise([self.inputs + more, *self.hidden, self.outputs]))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of its layers, in the order of the vector: MLP, modulation, summary."""
        if self.told == "nothing":
            return self.mlp
        modulation = [(self.summary, 2 * sum(self.hidden))] if self.told == "modulation" else []
        element, width = self.observation + self.action, self.width
        return [*self.mlp, *modulation, (element, width), (width, width), (width, width), (width, self.summary)]

    @property
    def size(self) -> int:
        """Numbers of a cell."""
        return _numbers(self.shapes)

    @property
    def widest(self) -> int:
        """Numbers of its widest layer, in or out: what `follow` needs in each row of its scratch."""
        return max(max(shape) for shape in self.shapes)

    @property
    def plan(self) -> NDArray[np.int64]:
        """[8 + hidden layers], which describes an actor's cell to `follow`."""
        summary = (self.width, self.summary, int(self.pooling == "max"), TELLING.index(self.told))
        return np.array((self.observation, self.action, *summary, _numbers(self.mlp), self.size, *self.hidden), np.int64)


def _numbers(shapes: list[tuple[int, int]]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in shapes)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _linear(vector, offset, inputs, left, outputs, x, y):  # type: ignore[no-untyped-def]
    """y[1, outputs] of x[1, inputs], both of which may be wider, by a layer of which the last `left` inputs are left out.

    Returns the offset after the layer.
    """
    bias, after = offset + (inputs + left) * outputs, offset + inputs * outputs
    dense(x, vector[offset:after].reshape(inputs, outputs), vector[bias : bias + outputs], y)
    return bias + outputs


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _pooled(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """What the first part of the summary says of the first `given` proposals: left in work[1]. Returns the offset after it."""
    inputs, actions, width, largest = plan[OBSERVATION], plan[ACTION], plan[WIDTH], plan[LARGEST]
    second = offset + (inputs + actions) * width + width
    after, state, element, total, share = second, work[0, 0], work[2, 0], work[3, 0], np.float32(1.0 / given)
    _linear(vector, offset, inputs, actions, width, observation, work[0])
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
            after = _linear(vector, second, width, 0, width, work[2], work[1])
            for h in range(width):
                total[h] = max(total[h], work[1, 0, h])
        else:
            for h in range(width):
                total[h] += max(element[h], np.float32(0.0)) * share
    if largest:
        work[1, 0, :width] = total[:width]
        return after
    return _linear(vector, second, width, 0, width, work[3], work[1])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _summarise(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """The summary of the first `given` proposals, left in work[1]. offset: of its layers."""
    width = plan[WIDTH]
    after = _pooled(plan, vector, offset, observation, proposals, given, work)
    after = _linear(vector, after, width, 0, width, work[1], work[0])
    relu(work[0, :, :width])
    _linear(vector, after, width, 0, plan[SUMMARY], work[0], work[1])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _modulated(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """proposals[given] by an MLP at vector[offset:], of whose hidden layers gammas and betas lie in work[3]."""
    units, inputs = plan[UNITS:].sum(), plan[OBSERVATION]
    x, at, last = observation, 0, inputs
    for layer in range(UNITS, plan.size):
        size, y = plan[layer], work[(layer - UNITS) % 2]
        offset = _linear(vector, offset, last, 0, size, x, y)
        for j in range(size):
            y[0, j] = max(y[0, j], np.float32(0.0)) * (np.float32(1.0) + work[3, 0, at + j]) + work[3, 0, units + at + j]
        x, last, at = y, size, at + size
    _linear(vector, offset, last, 0, plan[ACTION], x, proposals[given : given + 1])


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _plain(plan, vector, offset, x, last, work, y):  # type: ignore[no-untyped-def]
    """y[1, A] of x[1, last] by an MLP at vector[offset:]."""
    for layer in range(UNITS, plan.size):
        size, hidden = plan[layer], work[(layer - UNITS) % 2]
        offset = _linear(vector, offset, last, 0, size, x, hidden)
        relu(hidden[:, :size])
        x, last = hidden, size
    _linear(vector, offset, last, 0, plan[ACTION], x, y)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def follow(plan, vector, offset, observation, proposals, given, work):  # type: ignore[no-untyped-def]
    """proposals[given] by the cell of plan[P] at vector[N][offset:], told observation[1, S] and the first `given` of proposals[K, A].

    work[4, 1, widest] is scratch. Returns the offset after the cell. What is written is what tanh is still to be taken of.
    """
    inputs, summary, after, told = plan[OBSERVATION], plan[SUMMARY], offset + plan[MLP], plan[TOLD]
    if told == BY_MODULATION:
        units = plan[UNITS:].sum()
        _summarise(plan, vector, after + (summary + 1) * 2 * units, observation, proposals, given, work)
        _linear(vector, after, summary, 0, 2 * units, work[1], work[3])
        _modulated(plan, vector, offset, observation, proposals, given, work)
    elif told == BY_INPUT:
        _summarise(plan, vector, after, observation, proposals, given, work)
        work[3, 0, :inputs] = observation[0]
        work[3, 0, inputs : inputs + summary] = work[1, 0, :summary]
        _plain(plan, vector, offset, work[3], inputs + summary, work, proposals[given : given + 1])
    else:
        _plain(plan, vector, offset, observation, inputs, work, proposals[given : given + 1])
    return offset + plan[CELL]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _three_rows(x, weight, bias, y, used):  # type: ignore[no-untyped-def]
    """y[3, O] = x[3, I] @ weight[I, O] + bias[O]. Each weight is loaded once for all rows, and not where relu has left only zeros.

    used[I] is scratch: the inputs that are not 0 in every row.
    """
    outputs, count = weight.shape[1], 0
    for i in range(weight.shape[0]):
        if x[0, i] != 0 or x[1, i] != 0 or x[2, i] != 0:
            used[count] = i
            count += 1
    y0, y1, y2 = y[0], y[1], y[2]
    for j in range(outputs):
        y0[j] = y1[j] = y2[j] = bias[j]
    at = 0
    while at + 4 <= count:
        i0, i1, i2, i3 = used[at], used[at + 1], used[at + 2], used[at + 3]
        w0, w1, w2, w3 = weight[i0], weight[i1], weight[i2], weight[i3]
        a0, a1, a2, a3 = x[0, i0], x[0, i1], x[0, i2], x[0, i3]
        b0, b1, b2, b3 = x[1, i0], x[1, i1], x[1, i2], x[1, i3]
        c0, c1, c2, c3 = x[2, i0], x[2, i1], x[2, i2], x[2, i3]
        for j in range(outputs):
            y0[j] += a0 * w0[j] + a1 * w1[j] + a2 * w2[j] + a3 * w3[j]
            y1[j] += b0 * w0[j] + b1 * w1[j] + b2 * w2[j] + b3 * w3[j]
            y2[j] += c0 * w0[j] + c1 * w1[j] + c2 * w2[j] + c3 * w3[j]
        at += 4
    while at < count:
        i = used[at]
        for n in range(3):
            for j in range(outputs):
                y[n, j] += x[n, i] * weight[i, j]
        at += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def critic_values(plan, vector, pairs, work, used, values):  # type: ignore[no-untyped-def]
    """values[R, 1] of pairs[R, S + A], R a multiple of 3, by the relu MLP of plan[P] and vector[N] (`asyncrl.heads.networks.kernels`).

    work[2, 3, widest] and used[widest] are scratch.
    """
    for row in range(0, pairs.shape[0], 3):
        x, offset, last = pairs[row : row + 3], 0, plan[INPUTS]
        for layer in range(HIDDEN, plan.size):
            size, y = plan[layer], work[(layer - HIDDEN) % 2]
            after = offset + last * size
            _three_rows(x, vector[offset:after].reshape(last, size), vector[after : after + size], y, used)
            relu(y[:, :size])
            x, last, offset = y, size, after + size
        weight, bias = vector[offset : offset + last], vector[offset + last]
        for n in range(3):
            total = bias
            for i in range(last):
                total += x[n, i] * weight[i]
            values[row + n, 0] = total
