"""Asynchronous learning of action values: trajectory -> gradient, with a target network.

Every worker acts epsilon-greedily on its copy of the action values Q, and descends for a rollout of N = t_max x environments
steps the loss (Mnih and others 2016, Algorithms S1 and S2; the CMU slides, seed 004, apply the same asynchrony to Sarsa and DQN)

    L = r * sum over n of (y_n - Q(s_n, a_n))^2

with y_n taken as a constant. Algorithms differ in y alone (`ActionValueTargets`), which they build from the target network: a copy
of the shared parameters that is refreshed whenever an update carries the total of steps past a multiple of `target_every`
(`asyncrl.shared.parameters.SharedParameters`).

Where the paper and this package differ:
- S1 and S2 sum the gradients of a rollout; here r is 1/N (`reduction` mean). With `reduction` sum the gradient is theirs.
- S1 acts and takes gradients at the shared parameters themselves, and only S2 at a copy per worker. Here every round begins
  with a copy, so that one rollout has one policy.
- S1 refreshes the target when T mod I_target = 0, which a counter that several workers advance by more than 1 can step over.
- Both treat every end of an episode as terminal, and end the rollout there. Here a truncated episode is bootstrapped, and a
  rollout goes on with the next episode.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.kernels import policy_backward, policy_forward, workspace_size
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import LossRows
from asyncrl.learners.gradients import Losses
from asyncrl.learners.hyperparameters import ActorLearnerOptions, ValueOptions
from asyncrl.shared.compiled import njit
from asyncrl.trajectory import TRUNCATED, Trajectory


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


@njit(cache=True, nogil=True, error_model="numpy")
def _errors(value, action, target, error):  # type: ignore[no-untyped-def]
    """Write error[N] = target[n] - value[n, action[n, 0]]; returns the sum of its squares."""
    total = 0.0
    for n in range(error.size):
        error[n] = target[n] - value[n, action[n, 0]]
        total += error[n] * error[n]
    return total


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


def loss(chosen_value: Any, target: Any, options: ActorLearnerOptions) -> tuple[Any, dict[str, float]]:
    """The loss as a torch scalar, and its parts; chosen_value[N] = Q(s_n, a_n), target[N] a constant."""
    scale = 1.0 / len(target) if options.reduction == "mean" else 1.0
    total = (target - chosen_value).square().sum() * scale
    return total, {"policy_loss": 0.0, "value_loss": total.item(), "entropy": 0.0}


def output_weights(error: NDArray[np.float32], options: ActorLearnerOptions) -> NDArray[np.float32]:
    """The derivative of `loss` by each Q(s_n, a_n), written out; error[N] = y - Q(s_n, a_n)."""
    return error * (-2.0 / len(error) if options.reduction == "mean" else -2.0)


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


class WrittenValueGradient:
    """The gradient of an MLP's action values, written out and compiled. Equal to `AutogradValueGradient` up to rounding (a test)."""

    def __init__(
        self,
        policy: Policy,
        vector: NDArray[np.float32],
        target: NDArray[np.float32],
        shape: tuple[int, int],
        options: ValueOptions,
        algorithm: type[ActionValueTargets],
    ):
        assert policy.plan is not None
        self._policy, self._plan, self._vector, self._target = policy, policy.plan, vector, target
        self._dense, self._dense_target = policy.dense(vector), policy.dense(target)
        self._options, self._double = options, options.double
        self.gradient = np.zeros(policy.size, np.float32)
        self._dense_gradient = policy.dense(self.gradient)
        self._targets = Targets(policy, *shape, options, algorithm)
        rows, outputs = shape[0] * shape[1], policy.head.policy_outputs
        self._values = np.zeros((3, rows, policy.head.places), np.float32)  # written where a head's outputs are not the values
        self._rows = LossRows(
            policy_output=np.zeros((rows, outputs), np.float32),
            d_policy=np.zeros((rows, outputs), np.float32),
            action=np.zeros((rows, 1), np.int64),
            log_prob_weight=np.zeros(rows, np.float32),
        )
        self._judged, self._picked_by = np.zeros((2, rows, outputs), np.float32)
        self._error = np.zeros(rows, np.float32)
        self._work = np.zeros(workspace_size(policy.plan, rows), np.float32)

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> Losses:
        """Overwrite `gradient` with that of the loss of this rollout, at the present parameters and the present target network."""
        steps, envs = trajectory.reward.shape
        count, rows = steps * envs, self._rows
        self._policy.expand(self._vector, self._dense)
        self._policy.expand(self._target, self._dense_target)
        target = self._targets(trajectory, *self._next_values(self._targets.successors(trajectory)))
        rows.action[:] = trajectory.action[:steps].reshape(count, 1)
        observation = trajectory.observation[:steps].reshape(count, -1)
        policy_forward(self._plan, self._dense, observation, self._work, rows.policy_output)
        value = self._policy.head.values(rows.policy_output, self._dense, self._values[0])
        squares = _errors(value, rows.action, target.reshape(count), self._error)
        rows.log_prob_weight[:] = output_weights(self._error, self._options)
        self._policy.head.output_gradient(rows, self._dense, 0.0, self._dense_gradient)
        policy_backward(self._plan, self._dense, observation, self._work, rows.d_policy, self._dense_gradient)
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        return Losses(0.0, squares / count if self._options.reduction == "mean" else squares, 0.0)

    def _next_values(self, successors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(Q^- of the successors [M, A], the values [M, A] that pick an action)."""
        count, values = len(successors), self._policy.head.values
        policy_forward(self._plan, self._dense_target, successors, self._work, self._judged[:count])
        judged = values(self._judged[:count], self._dense_target, self._values[1, :count])
        if not self._double:
            return judged, judged
        policy_forward(self._plan, self._dense, successors, self._work, self._picked_by[:count])
        return judged, values(self._picked_by[:count], self._dense, self._values[2, :count])


class AutogradValueGradient:
    """The gradient by torch, for any network without memory."""

    def __init__(
        self,
        policy: Policy,
        vector: NDArray[np.float32],
        target: NDArray[np.float32],
        shape: tuple[int, int],
        options: ValueOptions,
        algorithm: type[ActionValueTargets],
    ):
        self._policy, self._options, self._double = policy, options, options.double
        self.gradient = np.zeros(policy.size, np.float32)
        self._vector, self._dense, self._dense_gradient = vector, policy.dense(vector), policy.dense(self.gradient)
        self._target, self._dense_target = target, policy.dense(target)
        self._values = np.zeros((2, shape[0] * shape[1], policy.head.places), np.float32)
        self._module, self._extra = policy.module(self._dense, self._dense_gradient)
        self._target_module, _ = policy.module(self._dense_target, None)
        self._targets = Targets(policy, *shape, options, algorithm)

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> Losses:
        """As `WrittenValueGradient.__call__`, by torch's backpropagation."""
        import torch

        self._policy.expand(self._vector, self._dense)
        self._policy.expand(self._target, self._dense_target)
        self._dense_gradient[:] = 0.0  # through the flat vector: the parameters' .grad are views of it
        steps, envs = trajectory.reward.shape
        with torch.no_grad():
            successors = torch.from_numpy(self._targets.successors(trajectory))
            count, values = len(successors), self._policy.head.values
            judged = values(self._target_module(successors)[0].numpy(), self._dense_target, self._values[0, :count])
            picked_by = judged
            if self._double:
                picked_by = values(self._module(successors)[0].numpy(), self._dense, self._values[1, :count])
        target = torch.from_numpy(self._targets(trajectory, judged, picked_by).reshape(steps * envs))
        value, _ = self._module(torch.from_numpy(trajectory.observation[:steps]).flatten(0, 1))
        action = torch.from_numpy(trajectory.action[:steps].reshape(steps * envs, 1))
        total, parts = loss(self._policy.head.chosen(value, self._extra, action), target, self._options)
        total.backward()
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        return Losses(**parts)


def value_gradient_of(
    policy: Policy,
    vector: NDArray[np.float32],
    target: NDArray[np.float32],
    shape: tuple[int, int],
    options: ValueOptions,
    algorithm: type[ActionValueTargets],
) -> WrittenValueGradient | AutogradValueGradient:
    """The fastest of the two that serves this policy: parameters vector [N], target network target [N], `shape` = (T, E)."""
    kind = WrittenValueGradient if policy.light else AutogradValueGradient
    return kind(policy, vector, target, shape, options, algorithm)
