"""The scale of an environment's returns, measured while learning, so that learning does not depend on the unit of rewards.

Rewards are divided by the standard deviation of the discounted returns so far, or by a tenth of their mean where that is more:

    G_t = r_t + gamma * G_{t-1}      (G = 0 before the first reward of an episode)
    scale = max(deviation of G_t, |mean of G_t| / 10)      (over all steps so far, those of the rollout at hand included)

Differences between values are then of the order of 1 whatever the environment pays, and so is the length of the policy's and the
value's gradient beside the limit on their common norm; the second term keeps values below about 10 where returns hardly differ.
Dividing by the root mean square instead was tried (docs/measurements.md). Multiplying every reward by a power of 2 changes no bit of
what is learned (a test). The running returns go forward in time, as in gymnasium's NormalizeReward, so that a step needs nothing
that comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit
from asyncrl.shared.ledger import Ledger
from asyncrl.trajectory import Trajectory

MOMENTS = 3
"""Numbers of a writer's statistics: how many returns, their sum, and the sum of their squares."""

AddUp = Callable[[str, NDArray[np.float64], NDArray[np.float64]], None]
"""(column, own [n], out [n]): writes the sum into `out`."""

LEAST = 0.1
"""The scale is at least this share of the mean's magnitude."""


@njit(cache=True, nogil=True, error_model="numpy")
def fold_returns(reward, ended, gamma, running, moments):  # type: ignore[no-untyped-def]
    """Fold the discounted returns along reward[T, E] into moments[3], in place.

    running[E], float64, holds each environment's return so far; ended[T, E] is not 0 where an episode ended with that step.
    """
    for t in range(reward.shape[0]):
        for e in range(reward.shape[1]):
            running[e] = running[e] * gamma + reward[t, e]
            moments[0] += 1.0
            moments[1] += running[e]
            moments[2] += running[e] * running[e]
            if ended[t, e] != 0:
                running[e] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def scale_of(moments):  # type: ignore[no-untyped-def]
    """The scale of the returns in moments[3]; 1 while all of them are 0."""
    count, total, squares = moments
    if not squares > 0.0:
        return 1.0
    mean = total / count
    least = LEAST * mean
    return math.sqrt(max(squares / count - mean * mean, least * least))


@njit(cache=True, nogil=True, error_model="numpy")
def divide(reward, moments):  # type: ignore[no-untyped-def]
    """Divide reward[T, E] by `scale_of` moments[3], in place."""
    scale = np.float32(scale_of(moments))
    for t in range(reward.shape[0]):
        for e in range(reward.shape[1]):
            reward[t, e] /= scale


class SharedReturnScale:
    """The scale of all actor-learners' returns. Each folds its own into its ledger record; everybody adds all of them up.

    The moments, and the returns of the episodes under way, are columns of the ledger: they are published with the round that they
    belong to, a checkpoint holds them, and in rounds modes the scale is a function of the records of the round before and of the
    worker's own rollout.
    """

    def __init__(self, ledger: Ledger, gamma: float):
        self._ledger, self._gamma = ledger, gamma
        self._moments = np.zeros(MOMENTS)

    @staticmethod
    def columns(envs: int) -> dict[str, int]:
        """Columns of the ledger, for E environments of each worker."""
        return {"return_moments": MOMENTS, "running_returns": envs}

    def warm_up(self, worker: int) -> None:
        """Load the compiled sums before the clock runs."""
        ledger, own = self._ledger, np.zeros(MOMENTS)
        ledger.add_newest("return_moments", worker, own, self._moments)
        ledger.add_entries("return_moments", np.zeros(ledger.workers, np.int64), 0, worker, own, self._moments)
        divide(np.zeros((1, 1), np.float32), own)

    def begin(self, draft: NDArray[np.float64], goes_on: Sequence[bool]) -> None:
        """Take over a ledger record, draft [columns].

        Episodes that do not go on where the record ends, of goes_on [E], begin with a return of 0.
        """
        self._ledger.column(draft, "running_returns")[~np.asarray(goes_on)] = 0.0

    def __call__(self, trajectory: Trajectory, draft: NDArray[np.float64], add_up: AddUp) -> None:
        """Fold the rewards of this rollout into the worker's draft, and divide them by the scale, in place.

        `add_up`: sums a column over all workers, of which this one's is newer in its draft (`asyncrl.scheduler.pace.Pace.add_up`).
        """
        ledger, moments = self._ledger, self._moments
        own = ledger.column(draft, "return_moments")
        fold_returns(trajectory.reward, trajectory.ended, self._gamma, ledger.column(draft, "running_returns"), own)
        add_up("return_moments", own, moments)
        divide(trajectory.reward, moments)


class ReturnScale:
    """The same for a learner that is handed the trajectories of several actors."""

    def __init__(self, actors: int, envs: int, gamma: float):
        self._gamma = gamma
        self._moments = np.zeros(MOMENTS)
        self._running = np.zeros((actors, envs))

    def fold(self, actor: int, trajectory: Trajectory, fresh: NDArray[np.uint8]) -> None:
        """Fold in a unit of this actor's; fresh[E]: environments whose steps do not follow on those of its last unit."""
        self._running[actor, fresh != 0] = 0.0
        fold_returns(trajectory.reward, trajectory.ended, self._gamma, self._running[actor], self._moments)

    @property
    def scale(self) -> np.float32:
        """What rewards are to be divided by."""
        return np.float32(scale_of(self._moments))

    def scaled(self, trajectory: Trajectory) -> Trajectory:
        """The same with rewards divided by the scale, in an array of their own: a unit's arrays are not to be written to."""
        return replace(trajectory, reward=trajectory.reward / self.scale)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What a checkpoint keeps."""
        return {"return_moments": self._moments, "running_returns": self._running}
