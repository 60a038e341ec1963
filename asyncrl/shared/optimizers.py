"""Optimizers as one fused in-place pass over flat float32 vectors.

Every optimizer updates a slice of the parameters [N] and of its statistics [S, N]: all elements for a Hogwild step, one
worker's shard in rounds modes. In one process each equals the optimizer of the same name in torch.optim, up to rounding
(tests/test_optimizers.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit

FloatArray = NDArray[np.float32]
Place = tuple[FloatArray, FloatArray]
"""(parameters [N], statistics [S, N])"""
FIRST, LAST, FACTOR = range(3)
"""Columns of `parts` [P, 3]: elements FIRST, ..., LAST - 1 have the learning rate times FACTOR. Float64, which has room for them."""
WHOLE = np.array([[0.0, 2.0**53, 1.0]])
"""All elements alike."""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def norm(gradient):  # type: ignore[no-untyped-def]
    """Euclidean norm of gradient[N], summed in float64. It is NaN or infinite if an element is."""
    total = 0.0
    for i in range(gradient.size):
        total += np.float64(gradient[i]) * np.float64(gradient[i])
    return np.sqrt(total)


@njit(cache=True, nogil=True, error_model="numpy")
def _part(parts, p, start, stop):  # type: ignore[no-untyped-def]
    """(first, last) of the elements start, ..., stop - 1 that are of parts[p]."""
    return max(start, np.int64(parts[p, FIRST])), min(stop, np.int64(parts[p, LAST]))


@njit(cache=True, nogil=True, error_model="numpy")
def _sgd(vector, statistics, gradient, parts, start, stop, scale, rate, numbers):  # type: ignore[no-untyped-def]
    momentum, begins = np.float32(numbers[0]), numbers[1] > 0.0
    for p in range(parts.shape[0]):
        first, last = _part(parts, p, start, stop)
        step, x, g = np.float32(rate * parts[p, FACTOR]), vector[first:last], gradient[first:last]
        if momentum == np.float32(0.0):
            for i in range(x.size):
                x[i] -= step * (scale * g[i])
            continue
        velocity = statistics[0, first:last]
        for i in range(x.size):
            v = scale * g[i] if begins else momentum * velocity[i] + scale * g[i]
            velocity[i] = v
            x[i] -= step * v


@njit(cache=True, nogil=True, error_model="numpy")
def _rmsprop(vector, statistics, gradient, parts, start, stop, scale, rate, numbers):  # type: ignore[no-untyped-def]
    decay, epsilon, inside = np.float32(numbers[0]), np.float32(numbers[1]), numbers[2] > 0.0
    rest = np.float32(1.0) - decay
    for p in range(parts.shape[0]):
        first, last = _part(parts, p, start, stop)
        step, x, square = np.float32(rate * parts[p, FACTOR]), vector[first:last], statistics[0, first:last]
        slope = gradient[first:last]
        if inside:
            for i in range(x.size):
                g = scale * slope[i]
                s = decay * square[i] + rest * g * g
                square[i] = s
                x[i] -= step * g / np.sqrt(s + epsilon)
        else:
            for i in range(x.size):
                g = scale * slope[i]
                s = decay * square[i] + rest * g * g
                square[i] = s
                x[i] -= step * g / (np.sqrt(s) + epsilon)


@njit(cache=True, nogil=True, error_model="numpy")
def _adam(vector, statistics, gradient, parts, start, stop, scale, rate, numbers):  # type: ignore[no-untyped-def]
    one, root = np.float32(1.0), np.float32(numbers[1])
    beta1, beta2, epsilon, amsgrad = np.float32(numbers[2]), np.float32(numbers[3]), np.float32(numbers[4]), numbers[5] > 0.0
    for p in range(parts.shape[0]):
        first, last = _part(parts, p, start, stop)
        step, x, slope = np.float32(rate * parts[p, FACTOR] / numbers[0]), vector[first:last], gradient[first:last]
        mean, square, largest = statistics[0, first:last], statistics[1, first:last], statistics[-1, first:last]
        for i in range(x.size):
            g = scale * slope[i]
            m = beta1 * mean[i] + (one - beta1) * g
            s = beta2 * square[i] + (one - beta2) * g * g
            mean[i] = m
            square[i] = s
            if amsgrad:
                s = max(s, largest[i])
                largest[i] = s
            x[i] -= step * m / (np.sqrt(s) / root + epsilon)


@njit(cache=True, nogil=True, error_model="numpy")
def _clip_up(vector, velocity, gradient, scale, rate, momentum, fastest):  # type: ignore[no-untyped-def]
    length = norm(gradient)
    share = rate / length if scale * length > 0.0 else 0.0
    square = 0.0
    for i in range(vector.size):
        v = momentum * velocity[i] + share * gradient[i]
        square += v * v
    speed = np.sqrt(square)
    shrink = fastest / speed if speed > fastest else 1.0
    for i in range(vector.size):
        velocity[i] = shrink * (momentum * velocity[i] + share * gradient[i])
        vector[i] -= velocity[i]


class Optimizer(Protocol):
    """An update rule for flat vectors. Instances hold only its settings; the statistics are in the `place` it is given."""

    @property
    def statistics(self) -> int:
        """S, the number of vectors of statistics that the rule needs."""

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        """Update the elements `part` of `place` = (parameters [N], statistics [S, N]) in place.

        `gradient` [N], which is multiplied by `scale` first; `rate`: the learning rate; `count`: the number of updates that these
        statistics have seen, including this one.
        """


class Elementwise(Optimizer):
    """Base of the rules that treat every element alone: each is one compiled pass, also over parts with rates of their own."""

    def settings(self, count: int) -> tuple[Any, tuple[float, ...]]:
        """(the compiled pass, what it is told of the rule's settings), for the update that is number `count` of its statistics."""
        raise NotImplementedError

    def step(
        self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int, parts: NDArray[np.float64] = WHOLE
    ) -> None:
        """As `Optimizer.step`; parts [P, 3]: which elements have which multiple of the learning rate, the others none."""
        kernel, numbers = self.settings(count)
        start, stop, _ = part.indices(len(gradient))
        kernel(*place, gradient, parts, start, stop, np.float32(scale), float(rate), numbers)


@dataclass(frozen=True)
class Sgd(Elementwise):
    """theta -= rate * v, with v = momentum * v + g (torch.optim.SGD; the first v is g)."""

    momentum: float = 0.0

    @property
    def statistics(self) -> int:
        return 1 if self.momentum else 0

    def settings(self, count: int) -> tuple[Any, tuple[float, ...]]:
        return _sgd, (self.momentum, float(count == 1))


@dataclass(frozen=True)
class Rmsprop(Elementwise):
    """s = decay * s + (1 - decay) * g**2; theta -= rate * g / sqrt(s + epsilon).

    This is the form of the A3C paper (Mnih and others 2016, section 4, "Shared RMSProp"). torch.optim.RMSprop divides by
    sqrt(s) + epsilon instead, which is `inside=False`.
    """

    decay: float = 0.99
    epsilon: float = 1e-5
    inside: bool = True

    @property
    def statistics(self) -> int:
        return 1

    def settings(self, count: int) -> tuple[Any, tuple[float, ...]]:
        return _rmsprop, (self.decay, self.epsilon, float(self.inside))


@dataclass(frozen=True)
class Adam(Elementwise):
    """torch.optim.Adam, with AMSGrad as an option. `count` corrects the bias, so it must be shared exactly if the statistics are."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    amsgrad: bool = False

    @property
    def statistics(self) -> int:
        return 3 if self.amsgrad else 2

    def settings(self, count: int) -> tuple[Any, tuple[float, ...]]:
        beta1, beta2 = self.betas
        root = float(np.sqrt(1.0 - beta2**count))
        return _adam, (1.0 - beta1**count, root, beta1, beta2, self.epsilon, float(self.amsgrad))


@dataclass(frozen=True)
class ClipUp(Optimizer):
    """v = momentum * v + rate * g / |g|, scaled down to |v| <= max_speed * rate; theta -= v (Toklu and others 2020, algorithm 1).

    The length of the gradient has no effect, only its direction. The paper usually sets the largest speed to twice the rate.
    The norms are those of the whole vector, so `step` raises ValueError if `part` is not all of it.
    """

    momentum: float = 0.9
    max_speed: float = 2.0

    @property
    def statistics(self) -> int:
        return 1

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        vector, statistics = place
        if part.indices(len(vector)) != (0, len(vector), 1):
            raise ValueError(f"ClipUp updates whole vectors, not {part} of {len(vector)}")
        _clip_up(vector, statistics[0], gradient, scale, rate, self.momentum, self.max_speed * rate)


@dataclass(frozen=True)
class PartRates(Optimizer):
    """Another rule, with learning rates of their own for parts of the vector: the statistics and all else are that rule's."""

    rule: Elementwise
    parts: tuple[tuple[slice, float], ...]
    """(elements, factor of the learning rate): one after another, and together the whole vector."""

    @property
    def statistics(self) -> int:
        return self.rule.statistics

    @functools.cached_property
    def _rows(self) -> NDArray[np.float64]:
        return np.array([(elements.start, elements.stop, factor) for elements, factor in self.parts], np.float64)

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        self.rule.step(place, gradient, part, scale, rate, count, self._rows)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"rmsprop": Rmsprop, "adam": Adam, "sgd": Sgd, "clipup": ClipUp}


def clip_scale(length: float, longest: float) -> float:
    """The factor by which torch's clip_grad_norm_ scales a gradient of norm `length` to a norm of at most `longest` (0: no limit)."""
    return min(1.0, longest / (length + 1e-6)) if longest > 0 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def weighted_mean(slots, parity, weights, out):  # type: ignore[no-untyped-def]
    """Weighted mean of the workers' gradients: out[N] = sum_i weights[i] * slots[i, parity] / sum of weights, in the order of i.

    slots[W, 2, N] holds two gradients for each worker, weights[W] their weights. Returns the sum of weights; with 0, out is 0.
    """
    total = np.float32(0.0)
    for i in range(weights.size):
        total += weights[i]
    out[:] = np.float32(0.0)
    if total == np.float32(0.0):
        return total
    for i in range(weights.size):
        if weights[i] != np.float32(0.0):
            share = weights[i] / total
            slot = slots[i, parity]
            for j in range(out.size):
                out[j] += share * slot[j]
    return total
