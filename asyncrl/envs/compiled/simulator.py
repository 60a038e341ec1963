"""The contract of a compiled simulator: what steps an environment of gymnasium's without its Python.

The environment stays what it is: it is made, seeded, reset and rendered as ever, and a checkpoint saves it. Between its resets a
simulator takes its state over (`adopt`), steps it in compiled code, and gives it back (`settle`) when somebody looks at it. Its
resets are its own too, unless a simulator can begin an episode as well (`begin`), with random numbers of the environment's generator.

A simulator is one class and one compiled function in one file:

    simulate(words int64[W], numbers float64[F], action float32[A], observation float32[D]) -> (reward float64, terminated bool)

It steps the state that `words` and `numbers` hold, and writes the observation that follows. `action` is what the environment would be
given; of a Discrete one its place, counted from 0. What numbers mean is the file's own affair. To be the environment to the last bit,
it must make the same operations on the same types in the same order; `asyncrl.envs.compiled.check` sees whether it is.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit

simulating = njit(cache=True, nogil=True, error_model="numpy")
"""The decorator of `simulate`: without the liberties of fast arithmetic, which would change bits."""


class Simulator:
    """Steps one environment.

    environment   the innermost one, without wrappers
    words         [W] int64, numbers [F] float64: its state and what it depends on, as `simulate` reads them
    """

    simulate: ClassVar[Any]
    """The compiled function of the module's docstring."""

    begin: ClassVar[Any] = None
    """begin(words, numbers, draws int64[2], observation[D]) -> True, compiled: begins an episode as the environment's reset does without a
    seed, with numbers that `asyncrl.envs.compiled.draws` draws. None: only the environment itself begins episodes."""

    def __init__(self, environment: Any, words: int, numbers: int):
        self.environment = environment
        self.words: NDArray[np.int64] = np.zeros(words, np.int64)
        self.numbers: NDArray[np.float64] = np.zeros(numbers)

    @classmethod
    def why_not(cls, environment: Any) -> str | None:
        """Why this environment, of the class that it is for, cannot be simulated; None if it can."""
        return None

    def adopt(self) -> None:
        """Take over the environment's state, after a reset or when it was restored."""
        raise NotImplementedError

    def settle(self) -> None:
        """Give the state back, so that the environment is as if it had been stepped itself."""
        raise NotImplementedError
