"""No structure: the layers of `linear` and `mlp`, of implicit heads, and those outputs of compact networks that stay dense."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.structures.structure import Numbers, Structure


class Dense(Structure):
    """Every number of the matrix is a parameter."""

    name: ClassVar[str] = "dense"
    description: ClassVar[str] = "every number of its own"

    def count(self, inputs: int, outputs: int) -> int:
        """The parameters of a layer: in * out."""
        return inputs * outputs

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Normalised columns, as of Salimans et al. (2017): every output's weights have the norm `gain`."""
        weight = generator.standard_normal((inputs, outputs))
        weight *= gain / np.linalg.norm(weight, axis=0)
        return weight.reshape(-1).astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        dense.reshape(-1)[:] = parameters

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        gradient[:] = dense_gradient.reshape(-1)


class Orthogonal(Dense):
    """The same, orthogonal at the start: so a layer makes no direction of its input longer than `gain` times what it was."""

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """`gain` times a matrix with orthonormal columns, or orthonormal rows where there are more outputs than inputs."""
        normal = generator.standard_normal((max(inputs, outputs), min(inputs, outputs)))
        q, r = np.linalg.qr(normal)
        q *= np.sign(np.diag(r))
        weight: NDArray[np.float32] = (gain * (q if inputs >= outputs else q.T)).reshape(-1).astype(np.float32)
        return weight
