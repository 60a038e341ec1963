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
from asyncrl.heads.networks.layers import FAST, relu
from asyncrl.heads.networks.summarising import (
    CELL,
    MLP,
    OBSERVATION,
    OUTPUTS,
    SUMMARISING,
    SUMMARY,
    TOLD,
    UNITS,
    linear,
    summarise,
    summary_scratch,
    summary_shapes,
)
from asyncrl.shared.compiled import njit

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
    summariser: str = "deepset"
    """deepset | lstm | transformer"""
    longest: int = 1
    """Proposals in the longest list."""

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
        return [*self.mlp, *modulation, *summary_shapes(self.summariser, self.observation + self.action, self.width, self.summary)]

    @property
    def summarising(self) -> str:
        """One of SUMMARISING: a deepset is called after its pooling."""
        return self.pooling if self.summariser == "deepset" else self.summariser

    @property
    def size(self) -> int:
        """Numbers of a cell."""
        return _numbers(self.shapes)

    @property
    def widest(self) -> int:
        """What `follow` needs in each of the four rows of its scratch: its widest layer, in or out, and room for the summary."""
        scratch = summary_scratch(self.summariser, self.longest, self.observation + self.action, self.width, self.summary)
        return max(-(-scratch // 4), *(max(shape) for shape in self.shapes))

    @property
    def plan(self) -> NDArray[np.int64]:
        """[9 + hidden layers], which describes an actor's cell to `follow`."""
        summary = (self.width, self.summary, SUMMARISING.index(self.summarising), TELLING.index(self.told))
        return np.array((self.observation, self.action, self.outputs, *summary, _numbers(self.mlp), self.size, *self.hidden), np.int64)


def _numbers(shapes: list[tuple[int, int]]) -> int:
    return sum(inputs * outputs + outputs for inputs, outputs in shapes)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _modulated(plan, vector, offset, observation, work, output):  # type: ignore[no-untyped-def]
    """output[1, O] by an MLP at vector[offset:], of whose hidden layers gammas and betas lie in work[3]."""
    units, inputs = plan[UNITS:].sum(), plan[OBSERVATION]
    x, at, last = observation, 0, inputs
    for layer in range(UNITS, plan.size):
        size, y = plan[layer], work[(layer - UNITS) % 2]
        offset = linear(vector, offset, last, 0, size, x, y)
        for j in range(size):
            y[0, j] = max(y[0, j], np.float32(0.0)) * (np.float32(1.0) + work[3, 0, at + j]) + work[3, 0, units + at + j]
        x, last, at = y, size, at + size
    linear(vector, offset, last, 0, plan[OUTPUTS], x, output)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _plain(plan, vector, offset, x, last, work, y):  # type: ignore[no-untyped-def]
    """y[1, O] of x[1, last] by an MLP at vector[offset:]."""
    for layer in range(UNITS, plan.size):
        size, hidden = plan[layer], work[(layer - UNITS) % 2]
        offset = linear(vector, offset, last, 0, size, x, hidden)
        relu(hidden[:, :size])
        x, last = hidden, size
    linear(vector, offset, last, 0, plan[OUTPUTS], x, y)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def follow(plan, vector, offset, observation, proposals, given, work, output):  # type: ignore[no-untyped-def]
    """output[1, O] of the cell of plan[P] at vector[N][offset:], told observation[1, S] and the first `given` of proposals[K, A].

    work[4, 1, widest] is scratch; output may lie in proposals, after those that are told. Returns the offset after the cell.
    """
    inputs, summary, after, told = plan[OBSERVATION], plan[SUMMARY], offset + plan[MLP], plan[TOLD]
    if told == BY_MODULATION:
        units = plan[UNITS:].sum()
        summarise(plan, vector, after + (summary + 1) * 2 * units, observation, proposals, given, work)
        linear(vector, after, summary, 0, 2 * units, work[1], work[3])
        _modulated(plan, vector, offset, observation, work, output)
    elif told == BY_INPUT:
        summarise(plan, vector, after, observation, proposals, given, work)
        work[3, 0, :inputs] = observation[0]
        work[3, 0, inputs : inputs + summary] = work[1, 0, :summary]
        _plain(plan, vector, offset, work[3], inputs + summary, work, output)
    else:
        _plain(plan, vector, offset, observation, inputs, work, output)
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
