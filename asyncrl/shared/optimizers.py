"""Optimizers as one fused in-place pass over flat float32 vectors.

Every optimizer updates a slice of the parameters [N] and of its statistics [S, N]: all elements for a Hogwild step, one
worker's shard in rounds modes. In one process each equals the optimizer of the same name in torch.optim, up to rounding
(tests/test_optimizers.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit

FloatArray = NDArray[np.float32]
Place = tuple[FloatArray, FloatArray]
"""(parameters [N], statistics [S, N])"""


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def norm(gradient):  # type: ignore[no-untyped-def]
    """Euclidean norm of gradient[N], summed in float64. It is NaN or infinite if an element is."""
    total = 0.0
    for i in range(gradient.size):
        total += np.float64(gradient[i]) * np.float64(gradient[i])
    return np.sqrt(total)


@njit(cache=True, nogil=True, error_model="numpy")
def _sgd(vector, velocity, gradient, scale, rate, momentum, first):  # type: ignore[no-untyped-def]
    if momentum == np.float32(0.0):
        for i in range(vector.size):
            vector[i] -= rate * (scale * gradient[i])
        return
    for i in range(vector.size):
        v = scale * gradient[i] if first else momentum * velocity[i] + scale * gradient[i]
        velocity[i] = v
        vector[i] -= rate * v


@njit(cache=True, nogil=True, error_model="numpy")
def _rmsprop(vector, square, gradient, scale, rate, decay, epsilon, inside):  # type: ignore[no-untyped-def]
    rest = np.float32(1.0) - decay
    if inside:
        for i in range(vector.size):
            g = scale * gradient[i]
            s = decay * square[i] + rest * g * g
            square[i] = s
            vector[i] -= rate * g / np.sqrt(s + epsilon)
    else:
        for i in range(vector.size):
            g = scale * gradient[i]
            s = decay * square[i] + rest * g * g
            square[i] = s
            vector[i] -= rate * g / (np.sqrt(s) + epsilon)


@njit(cache=True, nogil=True, error_model="numpy")
def _adam(vector, mean, square, largest, gradient, scale, step, root, beta1, beta2, epsilon, amsgrad):  # type: ignore[no-untyped-def]
    one = np.float32(1.0)
    for i in range(vector.size):
        g = scale * gradient[i]
        m = beta1 * mean[i] + (one - beta1) * g
        s = beta2 * square[i] + (one - beta2) * g * g
        mean[i] = m
        square[i] = s
        if amsgrad:
            s = max(s, largest[i])
            largest[i] = s
        vector[i] -= step * m / (np.sqrt(s) / root + epsilon)


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


@dataclass(frozen=True)
class Sgd(Optimizer):
    """theta -= rate * v, with v = momentum * v + g (torch.optim.SGD; the first v is g)."""

    momentum: float = 0.0

    @property
    def statistics(self) -> int:
        return 1 if self.momentum else 0

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        vector, statistics = place
        f = np.float32
        _sgd(vector[part], statistics[0, part], gradient[part], f(scale), f(rate), f(self.momentum), count == 1)


@dataclass(frozen=True)
class Rmsprop(Optimizer):
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

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        vector, statistics = place
        f = np.float32
        numbers = (f(scale), f(rate), f(self.decay), f(self.epsilon))
        _rmsprop(vector[part], statistics[0, part], gradient[part], *numbers, self.inside)


@dataclass(frozen=True)
class Adam(Optimizer):
    """torch.optim.Adam, with AMSGrad as an option. `count` corrects the bias, so it must be shared exactly if the statistics are."""

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    amsgrad: bool = False

    @property
    def statistics(self) -> int:
        return 3 if self.amsgrad else 2

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        vector, statistics = place
        f = np.float32
        beta1, beta2 = self.betas
        numbers = (f(scale), f(rate / (1.0 - beta1**count)), f(np.sqrt(1.0 - beta2**count)), f(beta1), f(beta2), f(self.epsilon))
        kept = (statistics[0, part], statistics[1, part], statistics[-1, part])
        _adam(vector[part], *kept, gradient[part], *numbers, self.amsgrad)


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

    rule: Optimizer
    """It must treat every element alone, as all but ClipUp do."""
    parts: tuple[tuple[slice, float], ...]
    """(elements, factor of the learning rate): one after another, and together the whole vector."""

    @property
    def statistics(self) -> int:
        return self.rule.statistics

    def step(self, place: Place, gradient: FloatArray, part: slice, scale: float, rate: float, count: int) -> None:
        start, stop, _ = part.indices(len(gradient))
        for elements, factor in self.parts:
            first, last = max(start, elements.start), min(stop, elements.stop)
            if first < last:
                self.rule.step(place, gradient, slice(first, last), scale, rate * factor, count)


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
