"""Cauchy layers: inverse distances between a node of the output and a node of the input."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.structures.structure import Numbers, Structure
from asyncrl.shared.compiled import njit

GAP = 0.5
"""The outputs' nodes lie above this, the inputs' below minus this, so that no distance is less than twice as much."""


@njit(cache=True, nogil=True, error_model="numpy")
def _node(parameter):  # type: ignore[no-untyped-def]
    """GAP + log(1 + exp(parameter)), without overflow."""
    return GAP + max(parameter, 0.0) + math.log1p(math.exp(-abs(parameter)))


@njit(cache=True, nogil=True, error_model="numpy")
def _node_slope(parameter):  # type: ignore[no-untyped-def]
    return 0.5 * (1.0 + math.tanh(0.5 * parameter))


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(parameters, dense):  # type: ignore[no-untyped-def]
    inputs, outputs = dense.shape
    nodes = inputs + outputs
    above = np.empty(outputs)
    for j in range(outputs):
        above[j] = _node(parameters[j])
    for i in range(inputs):
        below = _node(parameters[outputs + i])
        scale = parameters[nodes + outputs + i]
        for j in range(outputs):
            dense[i, j] = scale * parameters[nodes + j] / (above[j] + below)


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(parameters, dense_gradient, gradient):  # type: ignore[no-untyped-def]
    inputs, outputs = dense_gradient.shape
    nodes = inputs + outputs
    gradient[:] = 0.0
    above, slope = np.empty(outputs), np.empty(outputs)
    for j in range(outputs):
        above[j], slope[j] = _node(parameters[j]), _node_slope(parameters[j])
    for i in range(inputs):
        below, of_input = _node(parameters[outputs + i]), parameters[nodes + outputs + i]
        below_slope = _node_slope(parameters[outputs + i])
        for j in range(outputs):
            of_output = parameters[nodes + j]
            inverse = 1.0 / (above[j] + below)
            d = dense_gradient[i, j] * inverse
            d_distance = -d * inverse * of_input * of_output
            gradient[j] += d_distance * slope[j]
            gradient[outputs + i] += d_distance * below_slope
            gradient[nodes + j] += d * of_input
            gradient[nodes + outputs + i] += d * of_output


class Cauchy(Structure):
    """M[j, i] = g_j h_i / (s_j - t_i). diag(s) M - M diag(t) = g h^T: rank 1.

    The source has the pure matrix C(s, t)[j, i] = 1 / (s_j - t_i). All its entries have one sign as long as no s crosses a t,
    where it is infinite; so here rows and columns have scales g and h, which leaves the rank, and s and t are kept apart:
    s = 1/2 + softplus of its parameter, t = -1/2 - softplus. Any rectangle is Cauchy by itself. Parameters: those of s
    [out], of t [in], g [out], h [in].
    """

    name: ClassVar[str] = "cauchy"
    description: ClassVar[str] = "inverse distances of nodes, scaled: 2 (in + out) parameters a layer"

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: 2 (in + out)."""
        return 2 * (inputs + outputs)

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Normal; then g so that every output's weights have the norm `gain`."""
        parameters = generator.standard_normal(self.count(inputs, outputs))
        dense = np.empty((inputs, outputs))
        self.expand(parameters, dense)
        parameters[inputs + outputs : inputs + 2 * outputs] *= gain / np.linalg.norm(dense, axis=0)
        return parameters.astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        _expand(parameters, dense)

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        _pull_back(parameters, dense_gradient, gradient)
