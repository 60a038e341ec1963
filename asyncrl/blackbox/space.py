"""The space of a search: the dtype of its points, and the box that bounds a function's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.lazy import Lazy
from asyncrl.errors import UserError

Points = NDArray[Any]
"""An array of the dtype `Space.dtype`."""
Vector = NDArray[np.float64]
Whole = NDArray[np.int64]
ALLOWED = "(low, high), each a number or one for each parameter, where -inf and inf stand for none"


@dataclass(frozen=True, eq=False)
class Space:
    """The points that a search may evaluate. For policies they are float32, like the networks' parameters, and unbounded."""

    of_function: bool = False
    """Whether a function of the user's is searched. Its points are float64, so that a minimum can be found to full precision,
    and a search may end itself when it cannot improve any more."""
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    """Bounds [N], infinite for parameters without a bound; both are None if no parameter has any."""
    lazy: Lazy | None = None
    """Which parameters rest in some generations; None: none does."""

    @property
    def dtype(self) -> type[np.float32] | type[np.float64]:
        """The dtype of points."""
        return np.float64 if self.of_function else np.float32

    def inside(self, x: Points) -> Points:
        """A point [N] of the box for any x [N]: x itself if it is inside, otherwise reflected at the bounds until it is.

        The reflected function is continuous beyond the box, so the search needs not know of it, and its points remain normally distributed.
        """
        low, high = self.low, self.high
        if low is None or high is None or bool(np.all((low <= x) & (x <= high))):
            return x
        width = high - low
        with np.errstate(invalid="ignore", over="ignore"):
            beyond = np.where(np.isfinite(low), np.abs(x - low), np.abs(high - x))  # distance from a finite bound
            folded = np.where(np.isfinite(width), width - np.abs(np.mod(beyond, 2 * width) - width), beyond)
            mirrored = np.where(np.isfinite(low), low + folded, high - folded)
        outside = (x < low) | (x > high)
        inside: Points = np.clip(np.where(outside, mirrored, x), low, high)  # rounding may exceed a bound slightly
        return inside


POLICIES = Space()


def function_space(bounds: Any, start: NDArray[np.float64]) -> Space:
    """The space of a function whose search begins at start [N]. bounds: None or (low, high), each a number or [N].

    Raises UserError if the bounds cannot be used or start is outside of them.
    """
    if bounds is None:
        return Space(of_function=True)
    low, high = _pair(bounds, start.size)
    for i in np.flatnonzero(~(low < high)):
        raise UserError(f"bounds {low[i]:g} and {high[i]:g} of parameter {i} cannot be used: the lower is not below the upper")
    for i in np.flatnonzero((start < low) | (start > high)):
        raise UserError(f"start {start[i]:g} of parameter {i} lies outside of its bounds {low[i]:g} and {high[i]:g}")
    if np.isinf(low).all() and np.isinf(high).all():
        return Space(of_function=True)
    return Space(True, low, high)


def _pair(bounds: Any, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        given = [np.asarray(bound, np.float64) for bound in bounds]
    except (TypeError, ValueError) as error:
        raise UserError(f"bounds cannot be used: {error} (allowed: {ALLOWED})") from error
    shapes = [bound.shape for bound in given]
    if len(given) != 2 or any(shape not in ((), (size,)) for shape in shapes):
        what = f"{len(given)} parts of shapes {', '.join(str(shape) for shape in shapes[:3])}{', ...' if len(shapes) > 3 else ''}"
        pairs = " Pairs of one parameter each become that by zip(*bounds)." if shapes == [(2,)] * size else ""
        raise UserError(f"bounds of {what} cannot be used for {size} parameters (allowed: {ALLOWED}).{pairs}")
    if any(np.isnan(bound).any() for bound in given):
        raise UserError(f"bounds contain nan (allowed: {ALLOWED})")
    low, high = (np.ascontiguousarray(np.broadcast_to(bound, (size,))) for bound in given)
    return low, high
