"""Hankel layers: constant along the antidiagonals."""

from __future__ import annotations

from typing import ClassVar

from asyncrl.heads.networks.structures.structure import Repeated
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(parameters, dense):  # type: ignore[no-untyped-def]
    for i in range(dense.shape[0]):
        for j in range(dense.shape[1]):
            dense[i, j] = parameters[i + j]


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(dense_gradient, gradient):  # type: ignore[no-untyped-def]
    gradient[:] = 0.0
    for i in range(dense_gradient.shape[0]):
        for j in range(dense_gradient.shape[1]):
            gradient[i + j] += dense_gradient[i, j]


class Hankel(Repeated):
    """M[j, i] = v[i + j]: a Toeplitz matrix with its columns reversed. Rank of Z_1 M - M Z_0^T at most 2.

    Any rectangle is Hankel by itself, so nothing is cut off.
    """

    name: ClassVar[str] = "hankel"
    description: ClassVar[str] = "constant antidiagonals: in + out - 1 parameters a layer"
    copies = staticmethod(_expand)
    sums = staticmethod(_pull_back)

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: in + out - 1."""
        return inputs + outputs - 1
