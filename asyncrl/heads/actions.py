"""From what a head has decided to what the environment is given: of the action space's own type and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec


def float32_within(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The widest float32 numbers within bounds[2, C] = (low, high), as float64 [2, C], in which kernels scale exactly."""
    rounded = bounds.astype(np.float32)
    inward = np.array([[np.inf], [-np.inf]], np.float32)
    outside = np.stack([rounded[0] < bounds[0], rounded[1] > bounds[1]])
    return np.where(outside, np.nextafter(rounded, inward), rounded).astype(np.float64)


class EnvironmentActions:
    """Makes an environment's actions: each a number, or an array that the environment may keep."""

    def __init__(self, spec: EnvSpec):
        kind, self._shape = spec.action_kind, spec.action_shape
        self._dtype = dtype = np.dtype(spec.action_dtype or ("float32" if kind == "box" else "int64"))
        self._starts = np.array(spec.action_start, dtype)
        self._numbers = np.array([spec.action_start[0] + k for k in range(spec.action_sizes[0])], dtype) if kind == "discrete" else None
        self._plain = kind == "box" and dtype == np.float32 and len(self._shape) == 1
        # Heads decide in float32. A shorter type keeps what it rounds within bounds of its own; between bounds of a longer one there
        # may be no float32 number.
        exact = kind == "box" and dtype.itemsize > 4
        self._bounds = [np.array(bound, dtype).reshape(self._shape) for bound in (spec.action_low, spec.action_high)] if exact else None

    def number(self, choice: Any) -> Any:
        """A Discrete action: the number that stands for this choice, counted from 0."""
        assert self._numbers is not None
        return self._numbers[choice]

    def numbers(self, choices: NDArray[np.int64]) -> NDArray[Any]:
        """A MultiDiscrete or MultiBinary one: a number for each of choices [C], counted from 0."""
        return np.add(choices, self._starts, dtype=self._dtype, casting="unsafe")

    def values(self, bounded: NDArray[np.float32]) -> NDArray[Any]:
        """A Box one, of its components [C] within float32 bounds."""
        if self._plain:
            return bounded.copy()  # a third of the time of what follows
        action = bounded.reshape(self._shape).astype(self._dtype)
        if self._bounds is not None:
            low, high = self._bounds
            np.minimum(np.maximum(action, low, out=action), high, out=action)
        return action
