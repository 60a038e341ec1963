"""Layers of a chosen displacement rank: sums of products of a circulant and a skew-circulant matrix."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.structures.structure import Numbers, Structure
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def _expand(parameters, rank, dense):  # type: ignore[no-untyped-def]
    """In O(rank n^2): the first column is a convolution, and Z_1 M - M Z_{-1} gives each column from the one before."""
    inputs, outputs = dense.shape
    n = max(inputs, outputs)
    column, following = np.zeros(n), np.zeros(n)
    for k in range(rank):
        g, h = parameters[2 * k * n : (2 * k + 1) * n], parameters[(2 * k + 1) * n : (2 * k + 2) * n]
        for m in range(n):
            for j in range(n):
                column[j] += g[j - m if j >= m else n + j - m] * h[m]
    for i in range(inputs):
        for j in range(outputs):
            dense[i, j] = column[j]
        for j in range(n):
            following[j] = column[j - 1 if j > 0 else n - 1]
        for k in range(rank):
            last = parameters[(2 * k + 1) * n + n - 1 - i]
            for j in range(n):
                following[j] -= 2.0 * parameters[2 * k * n + j] * last
        column, following = following, column


@njit(cache=True, nogil=True, error_model="numpy")
def _pull_back(parameters, rank, dense_gradient, gradient):  # type: ignore[no-untyped-def]
    """`_expand` backwards."""
    inputs, outputs = dense_gradient.shape
    n = max(inputs, outputs)
    d_column, before = np.zeros(n), np.zeros(n)
    gradient[:] = 0.0
    for i in range(inputs - 1, -1, -1):
        # d_column belongs to column i + 1 here, and is zero for the last one
        for k in range(rank):
            last = (2 * k + 1) * n + n - 1 - i
            total = 0.0
            for j in range(n):
                gradient[2 * k * n + j] -= 2.0 * d_column[j] * parameters[last]
                total += d_column[j] * parameters[2 * k * n + j]
            gradient[last] -= 2.0 * total
        for j in range(n):
            before[j] = d_column[j + 1 if j < n - 1 else 0]
        for j in range(outputs):
            before[j] += dense_gradient[i, j]
        d_column, before = before, d_column
    for k in range(rank):
        g, h = 2 * k * n, (2 * k + 1) * n
        for m in range(n):
            total = 0.0
            for j in range(n):
                turned = g + (j - m if j >= m else n + j - m)
                total += d_column[j] * parameters[turned]
                gradient[turned] += d_column[j] * parameters[h + m]
            gradient[h + m] += total


class LowDisplacement(Structure):
    """M = sum over k of Z_1(g_k) Z_{-1}(h_k). Rank of Z_1 M - M Z_{-1} at most r, the option `rank`.

    Z_f(v) has the columns v, Z_f v, Z_f^2 v, ...: Z_1(v) is circulant and commutes with Z_1, Z_{-1}(v) is skew-circulant and
    commutes with Z_{-1}; what is left of the displacement is Z_1 - Z_{-1}, of rank 1, once for each k. Toeplitz matrices are
    among those of rank 2. The source gives the operators and ranks; the formula is that of Sindhwani, Sainath and Kumar,
    "Structured transforms for small-footprint deep learning" (2015). The operators are square, n = max(in, out): a rectangle
    is the corner M[:out, :in]. Parameters: g_1 [n], h_1 [n], g_2, ...
    """

    name: ClassVar[str] = "low-displacement"
    description: ClassVar[str] = "displacement rank of your choice: 2 rank max(in, out) parameters a layer"

    def __init__(self, rank: int = 1):
        self.rank = rank

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: 2 rank max(in, out)."""
        return 2 * self.rank * max(inputs, outputs)

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Normal, so that entries of M have variance gain^2 / in."""
        n = max(inputs, outputs)
        parameters = generator.standard_normal((self.rank, 2, n))
        parameters[:, 0] *= gain / (inputs * self.rank) ** 0.5
        parameters[:, 1] /= n**0.5
        return parameters.reshape(-1).astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        _expand(parameters, self.rank, dense)

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        _pull_back(parameters, self.rank, dense_gradient, gradient)
