"""What action values are drawn to: what algorithms say of it (`ActionValueTargets`), and the targets of a rollout."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.policy import Policy
from asyncrl.learners.hyperparameters import ValueOptions
from asyncrl.shared.compiled import njit
from asyncrl.trajectory import TRUNCATED, Trajectory


class ActionValueTargets(Protocol):
    """What one algorithm draws its action values to. Used as a class, never constructed.

    M: successors of whose values something is needed; A: actions; a rollout has T steps of E environments.
    """

    at_cuts_only: ClassVar[bool] = False
    """Whether `targets` reads next values only at the rollout's last step and where episodes were truncated."""
    commits: ClassVar[bool] = False
    """Whether `next_value` needs the action that follows the rollout, so that the actor commits itself to it."""

    @staticmethod
    def next_value(
        judged: NDArray[np.float32], picked_by: NDArray[np.float32], next_action: NDArray[np.int64], out: NDArray[np.float32]
    ) -> None:
        """Write to out[M] what the target network says of the true successors s'.

        judged[M, A] = Q^-(s', .); picked_by[M, A] the same, or Q(s', .) of the worker's own network where `double` is on;
        next_action[M] = a', the action that follows, where the algorithm `commits`.
        """

    @staticmethod
    def targets(
        reward: NDArray[np.float32], ended: NDArray[np.uint8], next_value: NDArray[np.float32], gamma: float, out: NDArray[np.float32]
    ) -> None:
        """Write to out[T, E] what Q is drawn to; reward[T, E], ended[T, E], next_value[T, E] of the true successor.

        Where ended is 2 (truncated) that is the final observation; where it is 1 (terminated) next_value is not to be used.
        """


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(observation, final_observation, ended, at_cuts_only, place, successor):  # type: ignore[no-untyped-def]
    """Write the true successors that are needed to successor[:M], and t * E + e of each to place[:M]; returns M.

    observation[T+1, E, D], final_observation[T, E, D], ended[T, E]. Needed are those of every step, or (`at_cuts_only`)
    of the last one and of truncated episodes.
    """
    steps, envs = ended.shape
    count = 0
    for t in range(steps):
        for e in range(envs):
            truncated = ended[t, e] == 2
            if at_cuts_only and t < steps - 1 and not truncated:
                continue
            successor[count] = final_observation[t, e] if truncated else observation[t + 1, e]
            place[count] = t * envs + e
            count += 1
    return count


class Targets:
    """y of a rollout, [T, E], from what the networks say of its successors. Arrays are allocated once."""

    def __init__(self, policy: Policy, steps: int, envs: int, options: ValueOptions, algorithm: type[ActionValueTargets]):
        self._algorithm, self._gamma = algorithm, options.gamma
        count = steps * envs
        dtype = policy.spec.observation_dtype if policy.spec.is_image else np.float32
        self._successor = np.zeros((count, *policy.spec.observation_shape), dtype)
        self._place = np.zeros(count, np.int64)
        self._next_action = np.zeros(count, np.int64)
        self._picked = np.zeros(count, np.float32)
        self._next_value = np.zeros((steps, envs), np.float32)
        self._target = np.zeros((steps, envs), np.float32)

    def successors(self, trajectory: Trajectory) -> NDArray[Any]:
        """Observations [M, *shape] of which the networks' values are needed."""
        steps, envs = trajectory.reward.shape
        observation = trajectory.observation.reshape(steps + 1, envs, -1)
        final = trajectory.final_observation.reshape(steps, envs, -1)
        rows = self._successor.reshape(steps * envs, -1)
        self._count = _gather(observation, final, trajectory.ended, self._algorithm.at_cuts_only, self._place, rows)
        return self._successor[: self._count]

    def __call__(self, trajectory: Trajectory, judged: NDArray[np.float32], picked_by: NDArray[np.float32]) -> NDArray[np.float32]:
        """The targets [T, E] for Q^- [M, A] and what picks the next action [M, A] at the `successors` of this trajectory."""
        place, picked = self._place[: self._count], self._picked[: self._count]
        if self._algorithm.commits:  # all T x E are needed then
            assert trajectory.final_action is not None
            followed, cut = trajectory.action[1:, :, 0], trajectory.ended == TRUNCATED
            self._next_action[:] = np.where(cut, trajectory.final_action[:, :, 0], followed).reshape(-1)
        self._algorithm.next_value(judged, picked_by, self._next_action[: self._count], picked)
        self._next_value.reshape(-1)[place] = picked
        self._algorithm.targets(trajectory.reward, trajectory.ended, self._next_value, self._gamma, self._target)
        return self._target
