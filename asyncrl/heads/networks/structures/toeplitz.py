"""Toeplitz layers: constant along the diagonals."""

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
        row = parameters[inputs - 1 - i : inputs - 1 - i + outputs]  # a view: its indices are not wrapped one by one
        for j in range(outputs):
            dense[i, j] = row[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(dense_gradient, gradient):  # type: ignore[no-untyped-def]
    inputs, outputs = dense_gradient.shape
    gradient[:] = 0.0
    for i in range(inputs):
        row = gradient[inputs - 1 - i : inputs - 1 - i + outputs]
        for j in range(outputs):
            row[j] += dense_gradient[i, j]


class Toeplitz:
    """M[j, i] = v[j - i + in - 1]: a one-dimensional convolution. Rank of Z_1 M - M Z_{-1} at most 2.

    Any rectangle is Toeplitz by itself, so nothing is cut off: in + out - 1 parameters. With hidden biases and no output
    bias these are the counts of the source's table (see `Structure`).
    """

    name: ClassVar[str] = "toeplitz"
    description: ClassVar[str] = "constant diagonals: in + out - 1 parameters a layer"

    def __init__(self, rank: int = 1):
        pass

    def count(self, inputs: int, outputs: int) -> int:
        """in + out - 1."""
        return inputs + outputs - 1

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Normal with variance gain^2 / in."""
        return (gain / inputs**0.5 * generator.standard_normal(self.count(inputs, outputs))).astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        """See `Structure`."""
        _expand(parameters, dense)

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        """Sums along the diagonals."""
        _pull_back(dense_gradient, gradient)
