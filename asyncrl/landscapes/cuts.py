"""A cut through the actions of an environment: one or two components vary, the others are those of a given action."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError

REACH = 3.0
"""How far a component without bounds is looked at, to either side of the given action."""
POINTS_OF_ONE, POINTS_OF_TWO = 201, 61
"""Points of a continuous axis, where it is the only one and where there are two."""


class Cut:
    """Which actions are looked at: `axes` are one or two components, counted from 0, with `points` values of each continuous one."""

    def __init__(self, spec: EnvSpec, axes: Sequence[int] = (), points: int | None = None):
        """`axes`: none for the first two components; `points`: None for 201 of one axis and 61 of two.

        Raises UserError for components that the action does not have.
        """
        self._spec, self.axes = spec, _checked(spec, axes)
        self._points = points or (POINTS_OF_ONE if len(self.axes) == 1 else POINTS_OF_TWO)

    @property
    def whole(self) -> bool:
        """Whether no component is held, so that all actions are looked at."""
        return len(self.axes) == self._spec.action_size

    def lines(self, through: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """For each axis its values [n]: every choice, or the points from bound to bound. `through` [C]: the action that is cut."""
        return tuple(self._line(axis, float(through[axis])) for axis in self.axes)

    def _line(self, axis: int, here: float) -> NDArray[np.float64]:
        spec = self._spec
        if spec.action_kind != "box":
            return np.arange(spec.action_sizes[axis], dtype=np.float64)
        low, high = spec.action_low[axis], spec.action_high[axis]
        return np.linspace(low if math.isfinite(low) else here - REACH, high if math.isfinite(high) else here + REACH, self._points)

    def actions(self, through: NDArray[np.float64], lines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The actions [n, C] at those values, of two axes [n of the second times n of the first, C], the first running fastest."""
        grid = np.repeat(through.reshape(1, -1), math.prod(map(len, lines)), axis=0)
        for axis, values in zip(self.axes, np.meshgrid(*lines)):
            grid[:, axis] = values.reshape(-1)
        return grid


def surface(values: NDArray[np.float64], lines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """What belongs to each of `Cut.actions`, values [n], in the shape of the cut: [n], or of two axes [n of the second, n of the first]."""
    return values.reshape([len(line) for line in reversed(lines)])


def check_points(points: int | None) -> None:
    """Raise UserError for a number of points that cannot be used."""
    if points is not None and points < 2:
        raise UserError(f"points = {points} cannot be used (allowed: whole numbers from 2)")


def _checked(spec: EnvSpec, given: Sequence[int]) -> tuple[int, ...]:
    """The components that are drawn. Raises UserError for those that the action does not have."""
    components = spec.action_size
    axes = tuple(given) or tuple(range(min(components, 2)))
    if len(axes) > 2 or len(set(axes)) < len(axes) or not all(0 <= axis < components for axis in axes):
        words = ",".join(map(str, axes))
        there = "0, the only component" if components == 1 else f"one or two different components, 0 to {components - 1}"
        raise UserError(f"axes = {words} cannot be used (allowed: {there})")
    return axes
