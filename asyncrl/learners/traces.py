"""Trajectories of older policies -> V-trace -> gradient of an actor-critic's loss.

What the loss makes of the policy's part, one algorithm gives (`LogProbWeights`); the rest is the same for all: the value's squared
error to V-trace's targets, and an entropy bonus. Options that are read here: gamma, gae_lambda, correction, rho_bar, c_bar,
clip_range, entropy_weight, value_weight, normalize_advantages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.networks.kernels import backward, rollout_forward, workspace_size
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, KNOBS, TEMPERATURE, LossRows
from asyncrl.learners.estimators import moments, standardised
from asyncrl.learners.gradients import feed_forward
from asyncrl.learners.vtrace import importance_figures, vtrace
from asyncrl.progress import MOMENTS
from asyncrl.trajectory import Trajectory

LogProbWeights = Callable[[NDArray[np.float32], NDArray[np.float32], float, float], NDArray[np.float32]]
"""(advantage [N], log_ratio [N] = log pi - log pi at the first epoch, clip_range, scale) -> derivative of the policy's loss by each
log pi(a_n) [N]."""


class Trace:
    """A unit, with what later epochs need of the first: `first`, the log-probabilities [N] there.

    V-trace corrects from the policy that acted to that of the first epoch, the clipped ratio from there on; so no ratio counts twice.
    """

    def __init__(self, trajectory: Trajectory, log_prob: NDArray[np.float32]):
        self.trajectory, self.acted = trajectory, log_prob
        self.first: NDArray[np.float32] | None = None


class Judged(NamedTuple):
    """What a critic makes of a trace: value, target and advantage, all [T, E], which stay until the next trace is judged."""

    value: NDArray[np.float32]
    target: NDArray[np.float32]
    advantage: NDArray[np.float32]


class WrittenTraces:
    """The gradient for the compiled MLP, written out. Equal to that of `AutogradTraces` up to rounding (a test)."""

    def __init__(self, policy: Policy, vector: NDArray[np.float32], steps: int, envs: int, options: Any, weights: LogProbWeights):
        assert policy.plan is not None
        self._policy, self._plan, self._vector, self._options, self._weights = policy, policy.plan, vector, options, weights
        self.gradient = np.zeros(policy.size, np.float32)
        self._dense, self._dense_gradient = policy.dense(vector), policy.dense(self.gradient)
        rows, grid = steps * envs, (steps, envs)
        outputs = np.zeros((rows, policy.head.policy_outputs), np.float32)
        self._rows = LossRows(outputs, np.zeros_like(outputs), np.zeros(0), np.zeros(rows, np.float32))
        self._value, self._next_value = np.zeros((rows, 1), np.float32), np.zeros(grid, np.float32)
        self._log_prob, self._log_ratio = np.zeros(rows, np.float32), np.zeros(grid, np.float32)
        self._target, self._advantage = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        self._work = np.zeros(workspace_size(policy.plan, rows), np.float32)
        self._moments = np.zeros(len(MOMENTS))
        self._knobs = np.zeros(KNOBS)
        self._knobs[TEMPERATURE], self._knobs[EPSILON] = 1.0, 0.0

    def __call__(self, trace: Trace) -> dict[str, float]:
        """Overwrite `gradient` with that of the loss of this trace at the present parameters; returns figures."""
        steps, envs = trace.trajectory.reward.shape
        self.judge(trace)
        since_acted = self._log_prob.reshape(steps, envs) - trace.acted
        if self._options.normalize_advantages:
            standardised(self._advantage)
        return self._backward(trace, steps * envs, since_acted)

    def judge(self, trace: Trace) -> Judged:
        """What the present parameters make of this trace. The first time, that is the policy from which ratios count."""
        trajectory, rows, options = trace.trajectory, self._rows, self._options
        steps, envs = trajectory.reward.shape
        count, observation = steps * envs, trajectory.observation
        self._policy.expand(self._vector, self._dense)
        network = (self._plan, self._dense)
        ended = trajectory.ended
        rollout_forward(
            *network, observation, trajectory.final_observation, ended, self._work, rows.policy_output, self._value, self._next_value
        )
        rows.action = trajectory.action.reshape(count, -1)
        self._policy.head.log_prob(rows.policy_output, self._dense, rows.action, self._knobs, self._log_prob)
        if trace.first is None:
            trace.first = self._log_prob.copy()
        self._log_ratio[:] = trace.first.reshape(steps, envs) - trace.acted if options.correction else 0.0
        value = self._value.reshape(steps, envs)
        estimates = (trajectory.reward, value, self._next_value, ended, self._log_ratio)
        vtrace(*estimates, options.gamma, options.gae_lambda, options.rho_bar, options.c_bar, self._target, self._advantage)
        return Judged(value, self._target, self._advantage)

    def _backward(self, trace: Trace, count: int, since_acted: NDArray[np.float32]) -> dict[str, float]:
        rows, options = self._rows, self._options
        assert trace.first is not None
        scale, inputs = 1.0 / count, trace.trajectory.observation[:-1].reshape(count, -1)
        advantage, error = self._advantage.reshape(count), (self._target - self._value.reshape(self._target.shape)).reshape(count)
        rows.log_prob_weight[:] = self._weights(advantage, self._log_prob - trace.first, options.clip_range, scale)
        coefficient = -options.entropy_weight * scale
        policy_loss, entropies = self._policy.head.output_gradient(rows, self._dense, coefficient, self._dense_gradient)
        d_value = error * np.float32(-2.0 * options.value_weight * scale)
        backward(self._plan, self._dense, inputs, self._work, rows.d_policy, d_value.reshape(count, 1), self._dense_gradient)
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        moments(self._value, error, self._moments)
        losses = {"policy_loss": policy_loss, "value_loss": float(error @ error) * scale, "entropy": entropies * scale}
        return {**losses, **dict(zip(MOMENTS, self._moments.tolist())), **importance_figures(since_acted)}


class AutogradTraces:
    """The same by torch, for any network without a memory."""

    def __init__(self, policy: Policy, vector: NDArray[np.float32], steps: int, envs: int, options: Any, weights: LogProbWeights):
        if policy.memory_size:
            raise UserError(f"recurrent = {policy.options.recurrent} cannot be used with impala (allowed: 0; a3c can)")
        self._policy, self._options, self._weights = policy, options, weights
        self.gradient = np.zeros(policy.size, np.float32)
        self._vector, self._dense, self._dense_gradient = vector, policy.dense(vector), policy.dense(self.gradient)
        self._module, self._extra = policy.module(self._dense, self._dense_gradient)
        self._target, self._advantage = np.zeros((steps, envs), np.float32), np.zeros((steps, envs), np.float32)
        self._moments = np.zeros(len(MOMENTS))

    def __call__(self, trace: Trace) -> dict[str, float]:
        """As `WrittenTraces.__call__`, by torch's backpropagation."""
        import torch

        self._dense_gradient[:] = 0.0  # through the flat vector: the parameters' .grad are views of it
        trajectory, options = trace.trajectory, self._options
        log_prob, entropy, value = self._forward(trace)
        now = log_prob.detach().numpy()
        since_acted = now.reshape(trajectory.reward.shape) - trace.acted
        if options.normalize_advantages:
            standardised(self._advantage)
        assert trace.first is not None
        scale = 1.0 / trajectory.reward.size
        weight = torch.from_numpy(self._weights(self._advantage.reshape(-1), now - trace.first, options.clip_range, scale))
        error = torch.from_numpy(self._target.reshape(-1)) - value
        policy_loss, value_loss = (weight * log_prob).sum(), error.square().mean()
        (policy_loss - options.entropy_weight * entropy.mean() + options.value_weight * value_loss).backward()
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        moments(value.detach().numpy().reshape(-1, 1), error.detach().numpy(), self._moments)
        losses = {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), "entropy": entropy.mean().item()}
        return {**losses, **dict(zip(MOMENTS, self._moments.tolist())), **importance_figures(since_acted)}

    def judge(self, trace: Trace) -> Judged:
        """As `WrittenTraces.judge`."""
        import torch

        with torch.no_grad():
            value = self._forward(trace)[2]
        return Judged(value.numpy().reshape(trace.trajectory.reward.shape), self._target, self._advantage)

    def _forward(self, trace: Trace) -> tuple[Any, Any, Any]:
        """(log_prob, entropy, value), tensors [N]; targets and advantages are written."""
        import torch

        self._policy.expand(self._vector, self._dense)
        trajectory, options = trace.trajectory, self._options
        grid = trajectory.reward.shape
        output, value, next_value = feed_forward(self._module, trajectory)
        action = torch.from_numpy(trajectory.action.reshape(trajectory.reward.size, -1))
        log_prob, entropy = self._policy.head.log_prob_and_entropy(output, self._extra, action)
        if trace.first is None:
            trace.first = log_prob.detach().numpy().copy()
        ratio = trace.first.reshape(grid) - trace.acted if options.correction else np.zeros_like(trace.acted)
        values = value.detach().numpy().reshape(grid)
        estimates = (trajectory.reward, values, next_value, trajectory.ended, ratio)
        vtrace(*estimates, options.gamma, options.gae_lambda, options.rho_bar, options.c_bar, self._target, self._advantage)
        return log_prob, entropy, value
