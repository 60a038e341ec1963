"""The written-out gradient of an actor-critic as one compiled call, for heads whose part of it is one (`Head.loss_kernel`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.kernels import backward, rollout_forward
from asyncrl.heads.policy import Policy
from asyncrl.learners.estimators import generalised_advantages, standardised
from asyncrl.learners.gradients import ActorCriticLoss, AutogradGradient, Losses, WrittenGradient, tell
from asyncrl.shared.calling import PAIR, address_of, says_pair
from asyncrl.shared.compiled import njit, ready
from asyncrl.trajectory import Trajectory


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(  # type: ignore[no-untyped-def]
    observation, final_observation, ended, reward, action, temperature,
    standardises, gamma, lam, weight, coefficient, slope, scale,
    plan, vector, work, policy_output, value, next_value, advantage, error, d_value, gradient, figures,
    head, log_prob_weight, d_policy, *rest,
):
    """Write gradient[S] and figures[F] of a rollout [T, E]; returns `Losses`. Step for step what `WrittenGradient` does.

    observation[T+1, E, D], final_observation[T, E, D], ended[T, E], reward[T, E], action[T, E, C]: the rollout
    weight, coefficient, slope       see `ActorCriticLoss.output_weights`
    scale                            of the squared errors in the loss that is told
    head                             address of the head's `loss_kernel`; rest: its arguments
    all others                       written over: value, error and d_value [T * E, 1], next_value and advantage [T, E]
    """
    steps, envs, inputs = final_observation.shape
    count = steps * envs
    rollout_forward(plan, vector, observation, final_observation, ended, work, policy_output, value, next_value)
    generalised_advantages(reward, value.reshape(steps, envs), next_value, ended, gamma, lam, advantage)
    flat = advantage.reshape(count)
    error[:] = flat
    if standardises:
        standardised(advantage)
    squares = 0.0
    for n in range(count):
        log_prob_weight[n] = flat[n] * np.float32(weight)
        d_value[n, 0] = error[n] * np.float32(slope)
        squares += np.float64(error[n]) * np.float64(error[n])
    policy_loss, entropies = says_pair(head, (*rest, action.reshape(count, action.shape[2]), np.float32(coefficient), temperature))
    backward(plan, vector, observation[:steps].reshape(count, inputs), work, d_policy, d_value, gradient)
    value_loss, entropy = squares * scale, entropies / count
    tell(policy_loss, value_loss, entropy, value, error, figures)
    return policy_loss, value_loss, entropy


class FusedGradient(WrittenGradient):
    """The same in one call, to the last bit; but for rollouts with a probability of uniform actions, which it leaves to its base."""

    def __init__(
        self,
        policy: Policy,
        vector: NDArray[np.float32],
        steps: int,
        envs: int,
        options: Any,
        algorithm: type[ActorCriticLoss],
    ):
        super().__init__(policy, vector, steps, envs, options, algorithm)
        rows, head = self._rows, policy.head
        bound = head.loss_kernel(rows, self._dense, self._dense_gradient)
        action: NDArray[Any] = np.zeros((steps * envs, head.stored), head.action_dtype)
        given = (*bound.arguments, action, np.float32(0.0), 1.0)
        self._bound = bound  # what its arguments need to exist
        self._error, self._d_value = np.zeros(steps * envs, np.float32), np.zeros((steps * envs, 1), np.float32)
        self._own = (
            *(self._plan, self._dense, self._work, rows.policy_output, self._value, self._next_value, self._advantage),
            *(self._error, self._d_value, self._dense_gradient, self.figures),
            *(address_of(ready(bound.kernel), given, PAIR), rows.log_prob_weight, rows.d_policy, *bound.arguments),
        )
        self._how = bool(options.normalize_advantages), float(options.gamma), float(options.gae_lambda)
        self._count, self._scale = steps * envs, 1.0 / (steps * envs) if options.reduction == "mean" else 1.0

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> Losses:
        """As `WrittenGradient.__call__`."""
        if trajectory.epsilon > 0:
            return super().__call__(trajectory, entropy_weight)
        self._policy.expand(self._vector, self._dense)
        weights = self._output_weights(self._count, self._options, entropy_weight)
        t = trajectory
        rollout = t.observation, t.final_observation, t.ended, t.reward, t.action, t.temperature
        losses = Losses(*_gradient(*rollout, *self._how, *weights, self._scale, *self._own))
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        return losses


def gradient_of(
    policy: Policy, vector: NDArray[np.float32], steps: int, envs: int, options: Any, algorithm: type[ActorCriticLoss]
) -> WrittenGradient | AutogradGradient:
    """The fastest that serves this policy, at the parameters vector [N], of rollouts [steps, envs]."""
    kind: type[WrittenGradient | AutogradGradient] = AutogradGradient
    if policy.light:
        kind = FusedGradient if policy.head.one_loss_call else WrittenGradient
    return kind(policy, vector, steps, envs, options, algorithm)
