"""Vandermonde layers: every output weighs the inputs by the powers of one number."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.structures.structure import Numbers, Structure
from asyncrl.shared.compiled import njit

LARGEST_START = 0.95
"""Nodes begin uniformly within plus and minus this."""

TINY = 1e-30
"""Weights below this are zero."""


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(parameters, dense):  # type: ignore[no-untyped-def]
    inputs, outputs = dense.shape
    node = np.empty(outputs)
    for j in range(outputs):
        node[j] = math.tanh(parameters[j])
        dense[0, j] = parameters[outputs + j]
    for i in range(1, inputs):
        for j in range(outputs):
            weight = dense[i - 1, j] * node[j]
            dense[i, j] = weight if abs(weight) > TINY else 0.0  # arithmetic on numbers near the smallest is slow


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(parameters, dense_gradient, gradient):  # type: ignore[no-untyped-def]
    outputs = dense_gradient.shape[1]
    for j in range(outputs):
        node = math.tanh(parameters[j])
        power, slope = 1.0, 0.0  # node^i, and its derivative i node^(i-1)
        d_node, d_scale = 0.0, 0.0
        for i in range(dense_gradient.shape[0]):
            d_scale += dense_gradient[i, j] * power
            d_node += dense_gradient[i, j] * slope
            slope = slope * node + power
            power *= node
        gradient[j] = d_node * parameters[outputs + j] * (1.0 - node * node)
        gradient[outputs + j] = d_scale


class Vandermonde(Structure):
    """M[j, i] = g_j v_j^i. Rank of diag(v) M - M Z_0 at most 1.

    The source has the pure matrix V(v)[j, i] = v_j^i. Its first column is fixed at 1 and its powers overflow, so here each
    row has a scale g_j, which leaves the rank, and v_j = tanh of its parameter. Any number of rows and columns is
    Vandermonde by itself; the nodes are the outputs'. Parameters: those of v [out], then g [out]. High powers vanish, so the
    last of many inputs count for little.
    """

    name: ClassVar[str] = "vandermonde"
    description: ClassVar[str] = "powers of one node per output, scaled: 2 out parameters a layer"

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: 2 out."""
        return 2 * outputs

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Uniform nodes; scales with random signs that give every output's weights the norm `gain`."""
        node = generator.uniform(-LARGEST_START, LARGEST_START, outputs)
        norm = np.sqrt((node[:, None] ** (2 * np.arange(inputs))).sum(1))
        scale = gain * generator.choice((-1.0, 1.0), outputs) / norm
        return np.concatenate([np.arctanh(node), scale]).astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        _expand(parameters, dense)

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        _pull_back(parameters, dense_gradient, gradient)
