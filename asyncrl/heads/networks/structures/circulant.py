"""Circulant layers: every row is the one above it, turned by one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.structures.structure import Numbers
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(parameters, dense):  # type: ignore[no-untyped-def]
    inputs, outputs = dense.shape
    for i in range(inputs):
        turned = min(i, outputs)
        before = parameters[parameters.size - i :]
        for j in range(turned):
            dense[i, j] = before[j]
        for j in range(outputs - turned):
            dense[i, turned + j] = parameters[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(dense_gradient, gradient):  # type: ignore[no-untyped-def]
    inputs, outputs = dense_gradient.shape
    gradient[:] = 0.0
    for i in range(inputs):
        turned = min(i, outputs)
        before = gradient[gradient.size - i :]
        for j in range(turned):
            before[j] += dense_gradient[i, j]
        for j in range(outputs - turned):
            gradient[j] += dense_gradient[i, turned + j]


class Circulant:
    """M[j, i] = v[(j - i) mod n] with n = max(in, out). Commutes with Z_1: Z_1 M - M Z_1 = 0.

    Circulants are square; a rectangle is the corner M[:out, :in], which uses all n parameters.
    """

    name: ClassVar[str] = "circulant"
    description: ClassVar[str] = "rows turned by one: max(in, out) parameters a layer"

    def __init__(self, rank: int = 1):
        pass

    def count(self, inputs: int, outputs: int) -> int:
        """max(in, out)."""
        return max(inputs, outputs)

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Normal with variance gain^2 / in."""
        return (gain / inputs**0.5 * generator.standard_normal(self.count(inputs, outputs))).astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        """See `Structure`."""
        _expand(parameters, dense)

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        """Sums along the turned diagonals."""
        _pull_back(dense_gradient, gradient)
