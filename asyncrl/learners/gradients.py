"""Learning of actor-critics: trajectory -> gradient, into one flat vector that this process alone owns.

The loss is one algorithm's (`ActorCriticLoss`). Options that are read here: gamma, gae_lambda, normalize_advantages, reduction.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.behaviour import own_share
from asyncrl.heads.networks.kernels import backward, rollout_forward, workspace_size
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import LossRows
from asyncrl.learners.estimators import generalised_advantages, moments, standardised
from asyncrl.progress import MOMENTS
from asyncrl.shared.compiled import njit
from asyncrl.trajectory import TRUNCATED, Trajectory


class Losses(NamedTuple):
    """Parts of the loss of one rollout."""

    policy_loss: float
    value_loss: float
    entropy: float


POLICY_FIGURES = (*Losses._fields, *MOMENTS)
"""What the gradient of an actor-critic tells of a rollout, in the order of its array `figures`."""


@njit(cache=True, nogil=True, error_model="numpy")
def tell(policy_loss, value_loss, entropy, value, error, out):  # type: ignore[no-untyped-def]
    """Write POLICY_FIGURES to out; value[N, 1] = v(s_n), error[N] = what it lacks to its target."""
    out[0], out[1], out[2] = policy_loss, value_loss, entropy
    moments(value, error, out[3:])


class ActorCriticLoss(Protocol):
    """An actor-critic's loss of one rollout, written twice: for torch, and as its derivative. Used as a class, never constructed.

    N: steps of the rollout in all environments. `options`: the algorithm's own.
    """

    @staticmethod
    def loss(
        log_prob: Any, entropy: Any, value: Any, advantage: Any, value_target: Any, options: Any, entropy_weight: float
    ) -> tuple[Any, dict[str, float]]:
        """The loss as a torch scalar, and its parts; the first five are tensors [N], the last two of them constants."""

    @staticmethod
    def output_weights(rows: int, options: Any, entropy_weight: float) -> tuple[float, float, float]:
        """The derivative of `loss` by what a head computes, written out, for N = `rows`.

        Returns (weight of each log pi(a_n) in the loss, divided by its advantage; coefficient of each entropy; derivative by each
        v(s_n), divided by its error R_n - v(s_n)).
        """


class WrittenGradient:
    """The gradient of the MLP actor-critic, written out and compiled. Equal to `AutogradGradient` up to rounding (a test)."""

    def __init__(
        self,
        policy: Policy,
        vector: NDArray[np.float32],
        steps: int,
        envs: int,
        options: Any,
        algorithm: type[ActorCriticLoss],
    ):
        assert policy.plan is not None
        self._output_weights = algorithm.output_weights
        self._policy, self._plan, self._vector, self._options = policy, policy.plan, vector, options
        self.gradient = np.zeros(policy.size, np.float32)
        self.figures = np.zeros(len(POLICY_FIGURES))  # of the newest rollout
        self._dense, self._dense_gradient = policy.dense(vector), policy.dense(self.gradient)
        rows = steps * envs
        outputs = policy.head.policy_outputs
        self._rows = LossRows(
            policy_output=np.zeros((rows, outputs), np.float32),
            d_policy=np.zeros((rows, outputs), np.float32),
            action=np.zeros(0),
            log_prob_weight=np.zeros(rows, np.float32),
        )
        self._value = np.zeros((rows, 1), np.float32)
        self._next_value = np.zeros((steps, envs), np.float32)
        self._advantage = np.zeros((steps, envs), np.float32)
        self._work = np.zeros(workspace_size(policy.plan, rows), np.float32)

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> Losses:
        """Overwrite `gradient` with that of the loss of this rollout at the present parameters."""
        rows, options, advantage = self._rows, self._options, self._advantage
        steps, envs = trajectory.reward.shape
        count = steps * envs
        ended = trajectory.ended
        self._policy.expand(self._vector, self._dense)
        network = (self._plan, self._dense)
        observation = trajectory.observation
        rollout_forward(
            *network, observation, trajectory.final_observation, ended, self._work, rows.policy_output, self._value, self._next_value
        )
        value = self._value.reshape(steps, envs)
        generalised_advantages(trajectory.reward, value, self._next_value, ended, options.gamma, options.gae_lambda, advantage)
        error = advantage.reshape(count).copy()  # R - v, whatever is done to the advantages
        if options.normalize_advantages:
            standardised(advantage)
        rows.action = trajectory.action.reshape(count, -1)
        head, drawn = self._policy.head, (trajectory.temperature, trajectory.epsilon)
        if trajectory.epsilon > 0:
            advantage *= own_share(head, rows.policy_output, self._dense, rows.action, *drawn).reshape(steps, envs)
        weight, coefficient, slope = self._output_weights(count, options, entropy_weight)
        rows.log_prob_weight[:] = advantage.reshape(count) * weight
        policy_loss, entropies = head.output_gradient(rows, self._dense, coefficient, self._dense_gradient, trajectory.temperature)
        inputs = observation[:steps].reshape(count, -1)
        d_value = (error * slope).reshape(count, 1)
        backward(*network, inputs, self._work, rows.d_policy, d_value, self._dense_gradient)
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        scale = 1.0 / count if options.reduction == "mean" else 1.0
        losses = Losses(policy_loss, float(error @ error) * scale, entropies / count)
        tell(*losses, self._value, error, self.figures)
        return losses


class AutogradGradient:
    """The gradient by torch, for any network: also recurrent ones, by backpropagation through the rollout."""

    def __init__(
        self,
        policy: Policy,
        vector: NDArray[np.float32],
        steps: int,
        envs: int,
        options: Any,
        algorithm: type[ActorCriticLoss],
    ):
        self._policy, self._options, self._loss = policy, options, algorithm.loss
        self.gradient = np.zeros(policy.size, np.float32)
        self.figures = np.zeros(len(POLICY_FIGURES))  # of the newest rollout
        self._vector, self._dense, self._dense_gradient = vector, policy.dense(vector), policy.dense(self.gradient)
        self._module, self._extra = policy.module(self._dense, self._dense_gradient)
        self._advantage = np.zeros((steps, envs), np.float32)

    def __call__(self, trajectory: Trajectory, entropy_weight: float) -> Losses:
        """As `WrittenGradient.__call__`, by torch's backpropagation."""
        import torch

        self._policy.expand(self._vector, self._dense)
        self._dense_gradient[:] = 0.0  # through the flat vector: the parameters' .grad are views of it
        options, count = self._options, trajectory.reward.size
        run = self._recurrent(trajectory) if self._policy.memory_size else feed_forward(self._module, trajectory)
        policy_output, value, next_value = run
        value_grid = value.detach().numpy().reshape(trajectory.reward.shape)
        generalised_advantages(
            trajectory.reward, value_grid, next_value, trajectory.ended, options.gamma, options.gae_lambda, self._advantage
        )
        target = torch.from_numpy((self._advantage + value_grid).reshape(count))
        if options.normalize_advantages:
            standardised(self._advantage)
        head, taken, drawn = self._policy.head, trajectory.action.reshape(count, -1), (trajectory.temperature, trajectory.epsilon)
        if trajectory.epsilon > 0:
            share = own_share(head, policy_output.detach().numpy(), self._dense, taken, *drawn)
            self._advantage *= share.reshape(self._advantage.shape)
        log_prob, entropy = head.log_prob_and_entropy(policy_output, self._extra, torch.from_numpy(taken), trajectory.temperature)
        advantage = torch.from_numpy(self._advantage.reshape(count))
        total, parts = self._loss(log_prob, entropy, value, advantage, target, options, entropy_weight)
        total.backward()
        self._policy.pull_back(self._vector, self._dense_gradient, self.gradient)
        values = value_grid.reshape(count, 1)
        tell(*Losses(**parts), values, target.numpy() - values[:, 0], self.figures)
        return Losses(**parts)

    def _recurrent(self, trajectory: Trajectory) -> tuple[Any, Any, NDArray[np.float32]]:
        """The same, step by step from trajectory.memory, which is emptied where an episode ends."""
        import torch

        steps, envs = trajectory.reward.shape
        observation = torch.from_numpy(trajectory.observation)
        memory = torch.from_numpy(trajectory.memory.copy())
        outputs, values = [], []
        next_value = np.empty((steps, envs), np.float32)
        for t in range(steps):
            output, value, memory = self._module.recur(observation[t], memory)
            outputs.append(output)
            values.append(value)
            cut = np.nonzero(trajectory.ended[t] == TRUNCATED)[0]
            if cut.size:
                with torch.no_grad():
                    final = torch.from_numpy(trajectory.final_observation[t, cut])
                    next_value[t, cut] = self._module.recur(final, memory[:, cut])[1].numpy()
            goes_on = torch.from_numpy((trajectory.ended[t] == 0).astype(np.float32))
            memory = memory * goes_on[None, :, None]
        with torch.no_grad():
            ahead = torch.stack([*values[1:], self._module.recur(observation[-1], memory)[1]]).numpy()
        known = trajectory.ended != TRUNCATED
        next_value[known] = ahead[known]
        return torch.cat(outputs), torch.cat(values), next_value


def feed_forward(module: Any, trajectory: Trajectory) -> tuple[Any, Any, NDArray[np.float32]]:
    """(policy_output[N, P], value[N], next_value[T, E]) of a torch module without a memory; next_value is a constant."""
    import torch

    observation = torch.from_numpy(trajectory.observation)
    steps, envs = trajectory.reward.shape
    policy_output, value = module(observation[:steps].flatten(0, 1))
    next_value = np.empty((steps, envs), np.float32)
    next_value[:-1] = value.detach().numpy().reshape(steps, envs)[1:]
    with torch.no_grad():
        next_value[-1] = module(observation[-1])[1].numpy()
        cut = np.nonzero(trajectory.ended == TRUNCATED)
        if cut[0].size:
            next_value[cut] = module(torch.from_numpy(trajectory.final_observation[cut]))[1].numpy()
    return policy_output, value, next_value
