"""What a family of compact layers offers."""

from __future__ import annotations

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

    def __init__(self, rank: int = 1): ...

    def count(self, inputs: int, outputs: int) -> int:
        """Parameters of a layer."""

    def initial(self, generator: np.random.Generator, inputs: int, outputs: int, gain: float) -> NDArray[np.float32]:
        """Random parameters [count]: an output's weights have a norm of about `gain`."""

    def expand(self, parameters: Numbers, dense: Numbers) -> None:
        """Write dense[in, out] of parameters[count]."""

    def pull_back(self, parameters: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        """Write gradient[count] of a function whose gradient with respect to the dense matrix is dense_gradient[in, out]."""
