"""Asynchronous learning of action values: trajectory -> gradient, with a target network.

Every worker acts epsilon-greedily on its copy of the action values Q, and descends for a rollout of N = t_max x environments
steps the loss (Mnih and others 2016, Algorithms S1 and S2; the CMU slides, seed 004, apply the same asynchrony to Sarsa and DQN)

    L = r * sum over n of (y_n - Q(s_n, a_n))^2

with y_n taken as a constant. Algorithms differ in y alone (`asyncrl.learners.value_targets`), which they build from the target network:
a copy of the shared parameters that is refreshed whenever an update carries the total of steps past a multiple of `target_every`
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

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.kernels import policy_backward, policy_forward, workspace_size
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import LossRows
from asyncrl.learners.hyperparameters import ActorLearnerOptions, ValueOptions
from asyncrl.learners.value_targets import ActionValueTargets, Targets
from asyncrl.shared.compiled import njit
from asyncrl.trajectory import Trajectory


class ValueLosses(NamedTuple):
    """What is told of one rollout: its loss, and the means of Q(s, a) and of what it is drawn to."""

    value_loss: float
    q_mean: float
    q_target_mean: float


VALUE_FIGURES = ValueLosses._fields


@njit(cache=True, nogil=True, error_model="numpy")
def _errors(value, action, target, error, by_sum, out):  # type: ignore[no-untyped-def]
    """Write error[N] = target[n] - value[n, action[n, 0]], and VALUE_FIGURES to out; `by_sum`: the loss is no mean."""
    out[:] = 0.0
    for n in range(error.size):
        error[n] = target[n] - value[n, action[n, 0]]
        out[0] += error[n] * error[n]
        out[1] += value[n, action[n, 0]]
        out[2] += target[n]
    out[1:] /= error.size
    if not by_sum:
        out[0] /= error.size


def loss(chosen_value: Any, target: Any, options: ActorLearnerOptions) -> tuple[Any, dict[str, float]]:
    """The loss as a torch scalar, and its parts; chosen_value[N] = Q(s_n, a_n), target[N] a constant."""
    scale = 1.0 / len(target) if options.reduction == "mean" else 1.0
    total = (target - chosen_value).square().sum() * scale
    return total, {"value_loss": total.item(), "q_mean": chosen_value.mean().item(), "q_target_mean": target.mean().item()}


def output_weights(error: NDArray[np.float32], options: ActorLearnerOptions) -> NDArray[np.float32]:
    """The derivative of `loss` by each Q(s_n, a_n), written out; error[N] = y - Q(s_n, a_n)."""
    return error * (-2.0 / len(error) if options.reduction == "mean" else -2.0)


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
        self.figures = np.zeros(len(VALUE_FIGURES))  # of the newest rollout
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

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> ValueLosses:
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
        _errors(value, rows.action, target.reshape(count), self._error, self._options.reduction == "sum", self.figures)
        rows.log_prob_weight[:] = output_weights(self._error, self._options)
        self._policy.head.output_gradient(rows, self._dense, 0.0, self._dense_gradient)
        policy_backward(self._plan, self._dense, observation, self._work, rows.d_policy, self._dense_gradient)
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        return ValueLosses(*self.figures)

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
        self.figures = np.zeros(len(VALUE_FIGURES))  # of the newest rollout
        self._vector, self._dense, self._dense_gradient = vector, policy.dense(vector), policy.dense(self.gradient)
        self._target, self._dense_target = target, policy.dense(target)
        self._values = np.zeros((2, shape[0] * shape[1], policy.head.places), np.float32)
        self._module, self._extra = policy.module(self._dense, self._dense_gradient)
        self._target_module, _ = policy.module(self._dense_target, None)
        self._targets = Targets(policy, *shape, options, algorithm)

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> ValueLosses:
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
        losses = ValueLosses(**parts)
        self.figures[:] = losses
        return losses


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
