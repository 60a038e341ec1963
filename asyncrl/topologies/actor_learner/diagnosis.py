"""What the age of parameters does to gradients: sampled now and then, for studies (`--diagnose`)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.scheduler.pace import Books, Pace
from asyncrl.shared.compiled import njit
from asyncrl.shared.optimizers import norm
from asyncrl.trajectory import Trajectory


@njit(cache=True, nogil=True, error_model="numpy")
def cosine(one, other):  # type: ignore[no-untyped-def]
    """one . other / (|one| |other|) of one[N] and other[N], summed in float64; NaN where one of them is zero or not finite."""
    product = 0.0
    for i in range(one.size):
        product += np.float64(one[i]) * np.float64(other[i])
    return product / (norm(one) * norm(other))


class Diagnosis:
    """Every so many rounds: a rollout's gradient once more, at the parameters that the first one is about to be applied to.

    Tells the cosine between the two (the coherence of Dai and others 2019), and how far the parameters have moved meanwhile. What
    is learned stays the same to the bit: gradient and parameters are put back.
    """

    def __init__(self, every: int, learner: Any, local: NDArray[np.float32]):
        """`learner`: (trajectory, entropy weight) -> its `gradient` [N], at the parameters local [N]."""
        self._every, self._learner, self._local = every, learner, local
        self._gradient, self._acted = np.zeros_like(learner.gradient), np.zeros_like(local)
        self._rounds = 0
        cosine(self._gradient, self._gradient)  # compiled before the clock runs

    def __call__(self, pace: Pace, trajectory: Trajectory, entropy_weight: float, books: Books) -> None:
        """Between a round's gradient and its hand-over; most rounds are only counted."""
        self._rounds += 1
        if self._rounds % self._every:
            return
        learner, local = self._learner, self._local
        self._gradient[:], self._acted[:] = learner.gradient, local
        pace.present(local)
        began = time.perf_counter()
        learner(trajectory, entropy_weight)
        books.sampled("gradient_cosine", cosine(self._gradient, learner.gradient))
        books.sampled("parameter_drift", norm(local - self._acted))
        learner.gradient[:], local[:] = self._gradient, self._acted
        books.add("learn_seconds", time.perf_counter() - began)
