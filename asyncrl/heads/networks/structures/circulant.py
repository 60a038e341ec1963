"""Circulant layers: every row is the one above it, turned by one."""

from __future__ import annotations

from typing import ClassVar

from asyncrl.heads.networks.structures.structure import Repeated
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


class Circulant(Repeated):
    """M[j, i] = v[(j - i) mod n] with n = max(in, out). Commutes with Z_1: Z_1 M - M Z_1 = 0.

    Circulants are square; a rectangle is the corner M[:out, :in], which uses all n parameters.
    """

    name: ClassVar[str] = "circulant"
    description: ClassVar[str] = "rows turned by one: max(in, out) parameters a layer"
    copies = staticmethod(_expand)
    sums = staticmethod(_pull_back)

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: max(in, out)."""
        return max(inputs, outputs)
