"""IMPALA's learner: trajectories of older policies -> V-trace -> gradient -> one update of the flat vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos.estimators import standardised
from asyncrl.algos.impala import ImpalaOptions, log_prob_weights
from asyncrl.algos.vtrace import importance_figures, vtrace
from asyncrl.errors import UserError
from asyncrl.heads.networks.kernels import backward, rollout_forward, workspace_size
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import EPSILON, KNOBS, TEMPERATURE, LossRows
from asyncrl.learners.return_scale import ReturnScale
from asyncrl.learners.rules import linear_or_constant, optimizer_of
from asyncrl.learners.updater import Small
from asyncrl.shared.optimizers import clip_scale, norm
from asyncrl.trajectory import Trajectory


class Trace:
    """A unit, with what later epochs need of the first: `first`, the log-probabilities [N] there.

    V-trace corrects from the policy that acted to that of the first epoch, the clipped ratio from there on; so no ratio counts twice.
    """

    def __init__(self, trajectory: Trajectory, log_prob: NDArray[np.float32]):
        self.trajectory, self.acted = trajectory, log_prob
        self.first: NDArray[np.float32] | None = None


class WrittenTraces:
    """The gradient of IMPALA's loss for the compiled MLP, written out."""

    def __init__(self, policy: Policy, vector: NDArray[np.float32], steps: int, envs: int, options: ImpalaOptions):
        assert policy.plan is not None
        self._policy, self._plan, self._vector, self._options = policy, policy.plan, vector, options
        self.gradient = np.zeros(policy.size, np.float32)
        self._dense, self._dense_gradient = policy.dense(vector), policy.dense(self.gradient)
        rows, grid = steps * envs, (steps, envs)
        outputs = np.zeros((rows, policy.head.policy_outputs), np.float32)
        self._rows = LossRows(outputs, np.zeros_like(outputs), np.zeros(0), np.zeros(rows, np.float32))
        self._value, self._next_value = np.zeros((rows, 1), np.float32), np.zeros(grid, np.float32)
        self._log_prob, self._log_ratio = np.zeros(rows, np.float32), np.zeros(grid, np.float32)
        self._target, self._advantage = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        self._work = np.zeros(workspace_size(policy.plan, rows), np.float32)
        self._knobs = np.zeros(KNOBS)
        self._knobs[TEMPERATURE], self._knobs[EPSILON] = 1.0, 0.0

    def __call__(self, trace: Trace) -> dict[str, float]:
        """Overwrite `gradient` with that of the loss of this trace at the present parameters; returns figures."""
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
        since_acted = self._log_prob.reshape(steps, envs) - trace.acted
        if trace.first is None:
            trace.first = self._log_prob.copy()
        self._log_ratio[:] = trace.first.reshape(steps, envs) - trace.acted if options.correction else 0.0
        value = self._value.reshape(steps, envs)
        estimates = (trajectory.reward, value, self._next_value, ended, self._log_ratio)
        vtrace(*estimates, options.gamma, options.gae_lambda, options.rho_bar, options.c_bar, self._target, self._advantage)
        if options.normalize_advantages:
            standardised(self._advantage)
        return self._backward(trace, count, observation[:steps].reshape(count, -1), since_acted)

    def _backward(self, trace: Trace, count: int, inputs: NDArray[Any], since_acted: NDArray[np.float32]) -> dict[str, float]:
        rows, options = self._rows, self._options
        assert trace.first is not None
        scale = 1.0 / count
        advantage, error = self._advantage.reshape(count), (self._target - self._value.reshape(self._target.shape)).reshape(count)
        rows.log_prob_weight[:] = log_prob_weights(advantage, self._log_prob - trace.first, options.clip_range, scale)
        coefficient = -options.entropy_weight * scale
        policy_loss, entropies = self._policy.head.output_gradient(rows, self._dense, coefficient, self._dense_gradient)
        d_value = error * np.float32(-2.0 * options.value_weight * scale)
        backward(self._plan, self._dense, inputs, self._work, rows.d_policy, d_value.reshape(count, 1), self._dense_gradient)
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        losses = {"policy_loss": policy_loss, "value_loss": float(error @ error) * scale, "entropy": entropies * scale}
        return {**losses, **importance_figures(since_acted)}


class AutogradTraces:
    """The same by torch, for any network without a memory."""

    def __init__(self, policy: Policy, vector: NDArray[np.float32], steps: int, envs: int, options: ImpalaOptions):
        if policy.memory_size:
            raise UserError(f"recurrent = {policy.options.recurrent} cannot be used with impala (allowed: 0; a3c can)")
        self._policy, self._options = policy, options
        self.gradient = np.zeros(policy.size, np.float32)
        self._vector, self._dense, self._dense_gradient = vector, policy.dense(vector), policy.dense(self.gradient)
        self._module, self._extra = policy.module(self._dense, self._dense_gradient)
        self._target, self._advantage = np.zeros((steps, envs), np.float32), np.zeros((steps, envs), np.float32)

    def __call__(self, trace: Trace) -> dict[str, float]:
        """See `WrittenTraces`."""
        import torch

        from asyncrl.learners.gradients import feed_forward

        self._policy.expand(self._vector, self._dense)
        self._dense_gradient[:] = 0.0  # through the flat vector: the parameters' .grad are views of it
        trajectory, options = trace.trajectory, self._options
        grid = trajectory.reward.shape
        output, value, next_value = feed_forward(self._module, trajectory)
        action = torch.from_numpy(trajectory.action.reshape(trajectory.reward.size, -1))
        log_prob, entropy = self._policy.head.log_prob_and_entropy(output, self._extra, action)
        now = log_prob.detach().numpy()
        since_acted = now.reshape(grid) - trace.acted
        if trace.first is None:
            trace.first = now.copy()
        ratio = trace.first.reshape(grid) - trace.acted if options.correction else np.zeros_like(since_acted)
        values = value.detach().numpy().reshape(grid)
        estimates = (trajectory.reward, values, next_value, trajectory.ended, ratio)
        vtrace(*estimates, options.gamma, options.gae_lambda, options.rho_bar, options.c_bar, self._target, self._advantage)
        if options.normalize_advantages:
            standardised(self._advantage)
        scale = 1.0 / trajectory.reward.size
        weight = torch.from_numpy(log_prob_weights(self._advantage.reshape(-1), now - trace.first, options.clip_range, scale))
        error = torch.from_numpy(self._target.reshape(-1)) - value
        policy_loss, value_loss = (weight * log_prob).sum(), error.square().mean()
        (policy_loss - options.entropy_weight * entropy.mean() + options.value_weight * value_loss).backward()
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        losses = {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), "entropy": entropy.mean().item()}
        return {**losses, **importance_figures(since_acted)}


class TraceUpdater(Small):
    """IMPALA and APPO; see `updater.Updater`. One update of several traces is the mean of their gradients, in the order of actors."""

    figures = (
        *("policy_loss", "value_loss", "entropy", "gradient_norm", "skipped"),
        *("effective_samples", "ratio_mean", "ratio_max", "kl_acting", "kl_learning"),
    )

    needs_log_prob = True

    @staticmethod
    def check(task: Any, units: int) -> None:
        """See `Updater.check`: nothing is large."""

    @staticmethod
    def saved_bytes(task: Any, steps: int) -> int:
        """See `Updater`."""
        return 0

    def __init__(self, task: Any, policy: Policy, arrays: Mapping[str, NDArray[Any]] | None = None):
        options = self._options = task.options
        self._vector = policy.initial(task.seed)
        kind = WrittenTraces if policy.light else AutogradTraces
        self._gradient_of = kind(policy, self._vector, options.t_max, task.envs_per_worker, options)
        self._rule, self._rate = optimizer_of(options), linear_or_constant(options, task.target_steps)
        self._statistics = np.zeros((max(self._rule.statistics, 1), policy.size), np.float32)
        self._sum = np.zeros(policy.size, np.float32)
        self._counts = np.zeros(1, np.int64)
        self._returns = ReturnScale(task.workers, task.envs_per_worker, options.gamma) if options.normalize_returns else None
        self._traces: list[Trace] = []

    def warm_up(self, trajectory: Trajectory, log_prob: NDArray[np.float32]) -> None:
        """See `Updater`."""
        self._gradient_of(Trace(trajectory, log_prob))
        self._rule.step((self._vector.copy(), self._statistics.copy()), self._sum, slice(None), 1.0, 0.0, 1)

    def published(self, out: NDArray[np.float32]) -> None:
        """See `Updater`."""
        out[:] = self._vector

    def take(self, actor: int, trajectory: Trajectory, log_prob: NDArray[np.float32], fresh: NDArray[np.uint8]) -> None:
        """See `Updater`."""
        self._traces.append(Trace(trajectory, log_prob))
        if self._returns is not None:
            self._returns.fold(actor, trajectory, fresh)

    def update(self, version: int, steps: int, goes_on: Callable[[], bool] = lambda: True) -> list[dict[str, float]]:
        """See `Updater`: one for each epoch, or none without units."""
        if not self._traces:
            return []
        if self._returns is not None:
            for trace in self._traces:
                trace.trajectory = self._returns.scaled(trace.trajectory)
        epochs = [self._epoch(steps) for _ in range(self._options.epochs)]
        self._traces.clear()
        return epochs

    def _epoch(self, steps: int) -> dict[str, float]:
        self._sum[:] = 0.0
        all_figures = []
        for trace in self._traces:
            all_figures.append(self._gradient_of(trace))
            self._sum += self._gradient_of.gradient
        self._sum /= np.float32(len(self._traces))
        length = norm(self._sum)
        figures = {name: _of_all(name, [one[name] for one in all_figures]) for name in all_figures[0]}
        if not np.isfinite(length):
            return {**figures, "skipped": 1.0}
        self._counts += 1
        rate = self._rate(steps)
        scale = clip_scale(length, self._options.max_gradient_norm)
        self._rule.step((self._vector, self._statistics), self._sum, slice(None), scale, rate, int(self._counts[0]))
        return {**figures, "gradient_norm": length, "skipped": 0.0}

    def explores(self, steps: int) -> bool:
        """See `Updater`: there is no need to."""
        return False

    def state(self) -> dict[str, NDArray[Any]]:
        """See `Updater`."""
        own: dict[str, NDArray[Any]] = {"vector": self._vector, "statistics": self._statistics, "counts": self._counts}
        return own if self._returns is None else {**own, **self._returns.state()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """See `Updater`."""
        for name, array in self.state().items():
            if name not in state or state[name].shape != array.shape:
                raise UserError(f"the checkpoint does not fit: {name} has another shape than this run needs")
            array[...] = state[name]


def _of_all(name: str, values: list[float]) -> float:
    """A figure of several traces: their mean, or the largest (see `Updater.figures`)."""
    return max(values) if name.endswith("_max") else float(np.mean(values))
