"""NPG: natural policy gradient (Kakade 2001; the CMU slides' closing pages, seed 004), by conjugate gradient.

The slides minimise L(theta + d) + lambda (KL[p_theta || p_(theta+d)] - c) to first order in L and second order in the divergence,
and get  d = - F^(-1) grad L / lambda  with F the Fisher information. Here lambda is what makes the divergence c = `max_kl`:

    F x = grad L,      d = - sqrt(2 c / (x . F x)) x,      so that  d . F d / 2 = c

Where the slides stand apart from the field: they write Newton's method for 0 = d/dd (...) and leave lambda open; the constraint
itself is solved here, to second order, as in Rajeswaran and others 2017 (appendix) and in TRPO before its line search.

The maths is in `asyncrl.learners.natural`; here are the options, and what NPG makes of a round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.fields import COUNT, COUNT_OR_ZERO, FINITE, NOT_NEGATIVE, POSITIVE, PROBABILITY
from asyncrl.heads.policy import Policy
from asyncrl.learners.estimators import generalised_advantages, moments, standardised
from asyncrl.learners.gradients import feed_forward
from asyncrl.learners.hyperparameters import StepOptions
from asyncrl.learners.natural import backtrack, fisher_product, natural_step, surrogate
from asyncrl.learners.updater import OnPolicyUpdater, draws
from asyncrl.progress import MOMENTS
from asyncrl.shared.optimizers import Adam
from asyncrl.trajectory import Trajectory

SHUFFLES = 0x4B6
"""What a stream of random numbers is for: part of its key."""


@dataclass(frozen=True)
class NpgOptions(StepOptions):
    """Options of NPG (`--mode sync`)."""

    t_max: Annotated[int, COUNT] = 500
    """Steps of each environment in a round (the length of a rollout)."""
    gamma: Annotated[float, PROBABILITY] = 0.99
    """Discount per step."""
    gae_lambda: Annotated[float, PROBABILITY] = 0.95
    """Lambda of generalised advantage estimation."""
    max_kl: Annotated[float, POSITIVE] = 0.01
    """KL divergence from the policy that acted to the next one, mean over states, in nats (to second order)."""
    conjugate_steps: Annotated[int, COUNT] = 10
    """Steps of the conjugate gradient method."""
    damping: Annotated[float, NOT_NEGATIVE] = 0.1
    """This times the identity is added to the Fisher matrix."""
    backtracks: Annotated[int, COUNT_OR_ZERO] = 10
    """How often a step is halved at most, until the loss improves within twice `max_kl`; 0 takes every step (the slides)."""
    value_learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Adam's step size for the value network."""
    value_epochs: Annotated[int, COUNT_OR_ZERO] = 10
    """Passes over a round's steps with which the value network is fitted."""
    value_batch: Annotated[int, COUNT] = 64
    """Steps of one of its updates."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of a round to mean 0 and deviation 1."""
    normalize_returns: bool = True
    """Divide rewards by a running scale of the discounted returns, the same for all workers: so their unit does not matter."""
    normalize_observations: bool = False
    """Shift and scale observations by a running mean and deviation that all workers share."""
    reward_scale: Annotated[float, FINITE] = 1.0
    """Rewards are multiplied by this before learning (reports show the environment's own). Cancels under `normalize_returns`, but for
    its sign."""


class NpgUpdater(OnPolicyUpdater):
    """A round's trajectories -> advantages -> natural step of the policy, and a fit of the value network. For policies without a memory.

    The value network is fitted after the policy's step, which must keep its divergence: so the fit leaves every parameter alone on
    which the policy depends. Under a shared trunk that is all but the value's own output layer.
    """

    figures = (
        *("policy_loss", "value_loss", "entropy", *MOMENTS, "gradient_norm", "kl", "improvement", "expected_improvement"),
        *("step_norm", "backtracks", "skipped"),
    )
    needs_log_prob = False

    @staticmethod
    def check(task: Any, units: int) -> None:
        """Raise UserError for a policy with a memory."""
        if task.network.recurrent:
            raise UserError(f"recurrent = {task.network.recurrent} cannot be used with npg (allowed: 0; a3c can)")

    def __init__(self, task: Any, policy: Policy, arrays: Mapping[str, NDArray[Any]] | None = None):
        super().__init__(task, policy, Adam(), counts=2)  # updates of the policy, and of the value network
        self._options: NpgOptions = task.options
        self._seed = task.seed
        self._gradient = np.zeros(policy.size, np.float32)
        self._dense, self._dense_gradient = policy.dense(self._vector), policy.dense(self._gradient)
        if self._dense is not self._vector:
            raise UserError(f"head {policy.name!r} cannot be used with npg (allowed: auto, categorical, gaussian)")
        self._module, self._extra = policy.module(self._vector, self._gradient)
        self._policys = np.zeros(policy.size, np.bool_)  # of each parameter, whether the policy depends on it
        self._trajectories: list[Trajectory] = []

    def warm_up(self, trajectory: Trajectory, log_prob: NDArray[np.float32]) -> None:
        self._advantages(trajectory)

    def take(self, actor: int, trajectory: Trajectory, log_prob: NDArray[np.float32], fresh: NDArray[np.uint8]) -> None:
        self._trajectories.append(trajectory)
        if self._returns is not None:
            self._returns.fold(actor, trajectory, fresh)

    def update(self, version: int, steps: int, goes_on: Callable[[], bool] = lambda: True) -> list[dict[str, float]]:
        import torch

        if not self._trajectories:
            return []
        if self._returns is not None:
            self._trajectories = [self._returns.scaled(trajectory) for trajectory in self._trajectories]
        parts = [self._advantages(trajectory) for trajectory in self._trajectories]
        observation = torch.cat([torch.from_numpy(one.observation[:-1]).flatten(0, 1) for one in self._trajectories])
        action = torch.cat([torch.from_numpy(one.action.reshape(one.reward.size, -1)) for one in self._trajectories])
        advantage, target = (np.concatenate([part[i].reshape(-1) for part in parts]) for i in (0, 1))
        fit = np.zeros(len(MOMENTS))
        moments((target - advantage)[:, None], advantage, fit)
        self._trajectories.clear()
        if self._options.normalize_advantages:
            standardised(advantage[:, None])
        figures = self._improve_policy(observation, action, torch.from_numpy(advantage))
        figures["value_loss"] = self._fit_values(observation, torch.from_numpy(target))
        return [{**figures, **dict(zip(MOMENTS, fit.tolist()))}]

    def _advantages(self, trajectory: Trajectory) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(advantage, value target) [T, E]"""
        import torch

        with torch.no_grad():
            _, value, next_value = feed_forward(self._module, trajectory)
        values = value.numpy().reshape(trajectory.reward.shape)
        advantage = np.empty_like(values)
        options = self._options
        generalised_advantages(trajectory.reward, values, next_value, trajectory.ended, options.gamma, options.gae_lambda, advantage)
        return advantage, advantage + values

    def _improve_policy(self, observation: Any, action: Any, advantage: Any) -> dict[str, float]:
        import torch

        options, head = self._options, self._policy.head
        output, _ = self._module(observation)
        log_prob, entropy = head.log_prob_and_entropy(output, self._extra, action)
        before, old, old_extra = log_prob.detach(), output.detach(), self._extra.detach().clone()
        loss = surrogate(log_prob, before, advantage)
        parameters, slopes = self._connected(loss)
        self._hold(parameters)
        gradient = torch.cat([slope.reshape(-1) for slope in slopes]).numpy().astype(np.float64)
        figures = {"policy_loss": loss.item(), "entropy": entropy.mean().item(), "gradient_norm": float(np.linalg.norm(gradient))}
        if not np.isfinite(gradient).all():
            return {**figures, "skipped": 1.0}
        output, _ = self._module(observation)
        product = fisher_product(head.divergence(output, self._extra, old, old_extra), parameters, options.damping)
        step, more = natural_step(product, gradient, options.max_kl, options.conjugate_steps)
        start = [parameter.detach().clone() for parameter in parameters]

        def move(by: NDArray[np.float64]) -> None:
            at = 0
            for parameter, origin in zip(parameters, start):
                part = torch.from_numpy(by[at : at + parameter.numel()]).to(parameter.dtype).view_as(parameter)
                parameter.data.copy_(origin + part)
                at += parameter.numel()

        def judge(by: NDArray[np.float64]) -> tuple[float, float]:
            move(by)
            with torch.no_grad():
                output, _ = self._module(observation)
                log_prob, _ = head.log_prob_and_entropy(output, self._extra, action)
                divergence = head.divergence(output, self._extra, old, old_extra)
                return surrogate(log_prob, before, advantage).item(), divergence.item()

        taken, judged = backtrack(judge, step, loss.item(), options.max_kl, options.backtracks)
        move(taken)
        self._counts[0] += 1
        return {**figures, **more, **judged, "skipped": 0.0}

    def _connected(self, loss: Any) -> tuple[list[Any], list[Any]]:
        """The parameters on which the policy's loss depends, and its derivatives by them."""
        import torch

        candidates = [*self._module.parameters(), *([self._extra] if self._extra.numel() else [])]
        slopes = torch.autograd.grad(loss, candidates, allow_unused=True)
        pairs = [(parameter, slope) for parameter, slope in zip(candidates, slopes) if slope is not None]
        return [parameter for parameter, _ in pairs], [slope for _, slope in pairs]

    def _hold(self, parameters: list[Any]) -> None:
        """Keep the fit of values away from these; a checkpoint may have statistics of other times."""
        self._gradient[:] = 0.0
        for parameter in parameters:
            parameter.grad.fill_(1.0)  # a view of the flat vector
        self._policys[:] = self._gradient > 0.0
        self._statistics[:, self._policys] = 0.0

    def _fit_values(self, observation: Any, target: Any) -> float:
        """Adam on minibatches of the squared error, but for the policy's parameters; returns the mean error of the last pass."""
        import torch

        options, count = self._options, len(target)
        generator = draws(self._seed, SHUFFLES, int(self._counts[0]))
        total = 0.0
        for _ in range(options.value_epochs):
            total = 0.0
            order = generator.permutation(count)
            for first in range(0, count, options.value_batch):
                rows = torch.from_numpy(order[first : first + options.value_batch])
                self._gradient[:] = 0.0
                loss = (self._module(observation[rows])[1] - target[rows]).square().mean()
                loss.backward()
                self._gradient[self._policys] = 0.0
                self._counts[1] += 1
                place = (self._vector, self._statistics)
                self._rule.step(place, self._gradient, slice(None), 1.0, options.value_learning_rate, int(self._counts[1]))
                total += loss.item() * len(rows)
        return total / count
