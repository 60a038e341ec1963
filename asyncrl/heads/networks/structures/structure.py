"""What a family of compact layers offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]


class Structure(Protocol):
    """A parametrised matrix. Layers compute x[N, in] @ dense[in, out]; the literature's M of y = M x is dense transposed.

    Whether a matrix is structured can be told from its displacement A M - M B under fixed operators A and B: its rank is
    small. Z_f is the shift with f in its corner, (Z_f v)_0 = f v_{n-1} and (Z_f v)_j = v_{j-1}. The families, their
    operators and ranks are those of Choromanski et al., "Structure is all you need: learning compressed RL policies via
    gradient sensing" (2018).
    """

    name: ClassVar[str]
    description: ClassVar[str]

    def __init__(self, rank: int = 1):
        """`rank`: the option of this name, which only low-displacement layers read."""
        return

    def count(self, inputs: int, outputs: int) -> int:
        """How many parameters a layer [in, out] has."""

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Random parameters [count]: an output's weights have a norm of about `gain`."""

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        """Write dense[in, out] of parameters[count]."""

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        """Write gradient[count] of a function whose gradient with respect to the dense matrix is dense_gradient[in, out]."""


class Repeated(Structure):
    """Base of the families in which every entry of the matrix is one of the parameters, and each parameter stands at many places."""

    copies: ClassVar[Callable[[Numbers, Numbers], None]]
    """Compiled: write dense[in, out] of parameters[count]."""
    sums: ClassVar[Callable[[Numbers, Numbers], None]]
    """Compiled: write gradient[count], each the sum of dense_gradient[in, out] over the places of its parameter."""

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Normal parameters [count] with variance gain^2 / in."""
        return (gain / inputs**0.5 * generator.standard_normal(self.count(inputs, outputs))).astype(np.float32)

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        type(self).copies(parameters, dense)

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        type(self).sums(dense_gradient, gradient)
