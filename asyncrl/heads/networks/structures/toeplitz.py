"""Toeplitz layers: constant along the diagonals."""

from __future__ import annotations

from typing import ClassVar

from asyncrl.heads.networks.structures.structure import Repeated
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


class Toeplitz(Repeated):
    """M[j, i] = v[j - i + in - 1]: a one-dimensional convolution. Rank of Z_1 M - M Z_{-1} at most 2.

    Any rectangle is Toeplitz by itself, so nothing is cut off: in + out - 1 parameters. With hidden biases and no output
    bias these are the counts of the source's table (see `Structure`).
    """

    name: ClassVar[str] = "toeplitz"
    description: ClassVar[str] = "constant diagonals: in + out - 1 parameters a layer"
    copies = staticmethod(_expand)
    sums = staticmethod(_pull_back)

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: in + out - 1."""
        return inputs + outputs - 1
