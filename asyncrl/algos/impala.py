"""IMPALA: an actor-critic that corrects for the age of its experience by V-trace (Espeholt and others 2018).

Actors act on versions of the policy and hand trajectories, with the log-probabilities mu of what they drew, to one learner.
Its loss for N steps is

    L = 1/N * sum over n of  - log pi(a_n | s_n) A_n  -  beta H(pi(. | s_n))  +  c (v_n - V(s_n))^2

with the targets v and the advantages A of `asyncrl.learners.vtrace`, taken as constants. With several epochs, as APPO has them, the
first term is PPO's clipped surrogate  - min(r A, clip(r, 1 - e, 1 + e) A),  r = pi / pi at the batch's first epoch. Targets and
advantages are made anew in each epoch, from the new values; their importance ratios stay those of the first epoch's policy, since
r is what has changed after it.

Where the paper stands apart: it adds the value's error with weight 0.5 to sums over steps, and RMSProp's epsilon is 0.1 or
0.01 there for images; here the loss is a mean, epsilon is that of `a3c`, and what v(s) alone depends on has a learning rate of
its own, for the reason told in `asyncrl.algos.a3c`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.fields import COUNT, NOT_NEGATIVE, POSITIVE, PROBABILITY
from asyncrl.heads.policy import Policy
from asyncrl.learners.hyperparameters import GradientOptions
from asyncrl.learners.rules import linear_or_constant, optimizer_of, rate_by_lag
from asyncrl.learners.traces import AutogradTraces, Trace, WrittenTraces
from asyncrl.learners.updater import OnPolicyUpdater
from asyncrl.progress import MOMENTS, NORMS
from asyncrl.shared.optimizers import clip_scale, norm
from asyncrl.trajectory import Trajectory


@dataclass(frozen=True)
class ImpalaOptions(GradientOptions):
    """Options of IMPALA, which are APPO's and PPO's too."""

    t_max: Annotated[int, COUNT] = 32
    """Steps of each environment in a trajectory."""
    batch_units: Annotated[int, COUNT] = 2
    """Modes bounded and async: trajectories of an update. (sync and pipelined take one of every actor.)"""
    gae_lambda: Annotated[float, PROBABILITY] = 0.95
    """Lambda of V-trace, in targets and advantages; 1 gives the paper's."""
    correction: bool = True
    """Correct for the policy that acted (V-trace); without, experience counts as if the present policy had acted."""
    rho_bar: Annotated[float, POSITIVE] = 1.0
    """V-trace: importance ratios count up to this in errors."""
    c_bar: Annotated[float, POSITIVE] = 1.0
    """V-trace: importance ratios count up to this in how far errors reach back."""
    epochs: Annotated[int, COUNT] = 1
    """Updates made from each batch, all but the first with clipped ratios."""
    clip_range: Annotated[float, POSITIVE] = 0.2
    """Clipped ratios: the e in 1 - e and 1 + e."""
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the policy's entropy in the loss (the same for all actors)."""
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the squared value error."""
    value_learning_rate: Annotated[float, POSITIVE] = 1e-2
    """Step size at the start of what v(s) alone depends on: larger, so that the policy does not outrun its critic."""
    normalize_advantages: bool = False
    """Shift and scale the advantages of a trajectory to mean 0 and deviation 1."""
    normalize_returns: bool = True
    """Divide rewards by a running scale of the discounted returns, the same for all workers: so their unit does not matter."""


def log_prob_weights(
    advantage: NDArray[np.float32], log_ratio: NDArray[np.float32], clip_range: float, scale: float
) -> NDArray[np.float32]:
    """Derivative of the policy's loss by each log pi(a_n): advantage [N], log_ratio [N] = log pi - log pi at the first epoch.

    With log_ratio 0 it is - A scale. A clipped term has none: where r A is not the smaller of the two.
    """
    ratio = np.exp(np.minimum(log_ratio, np.float32(20.0)))
    clipped = ((advantage > 0) & (ratio > 1.0 + clip_range)) | ((advantage < 0) & (ratio < 1.0 - clip_range))
    weights: NDArray[np.float32] = np.where(clipped, np.float32(0.0), -advantage * ratio * np.float32(scale))
    return weights


class ImpalaUpdater(OnPolicyUpdater):
    """IMPALA. One update of several traces is the mean of their gradients, in the order of actors."""

    figures: tuple[str, ...] = (
        *("policy_loss", "value_loss", "entropy", *MOMENTS, *NORMS, "skipped"),
        *("effective_samples", "ratio_mean", "ratio_max", "kl_acting", "kl_learning"),
    )

    needs_log_prob = True

    def __init__(self, task: Any, policy: Policy, arrays: Mapping[str, NDArray[Any]] | None = None):
        options = self._options = task.options
        super().__init__(task, policy, optimizer_of(options, policy), counts=1)
        kind = WrittenTraces if policy.light else AutogradTraces
        self._gradient_of = kind(policy, self._vector, options.t_max, task.envs_per_worker, options, log_prob_weights)
        self._rate = linear_or_constant(options, task.target_steps)
        self._by_lag = rate_by_lag(options)
        self._sum = np.zeros(policy.size, np.float32)
        self._traces: list[Trace] = []

    def warm_up(self, trajectory: Trajectory, log_prob: NDArray[np.float32]) -> None:
        self._gradient_of(Trace(trajectory, log_prob))
        self._rule.step((self._vector.copy(), self._statistics.copy()), self._sum, slice(None), 1.0, 0.0, 1)

    def take(self, actor: int, trajectory: Trajectory, log_prob: NDArray[np.float32], fresh: NDArray[np.uint8]) -> None:
        self._traces.append(Trace(trajectory, log_prob))
        if self._returns is not None:
            self._returns.fold(actor, trajectory, fresh)

    def update(self, version: int, steps: int, goes_on: Callable[[], bool] = lambda: True) -> list[dict[str, float]]:
        """One update for each epoch, or none without units."""
        if not self._traces:
            return []
        self._scale_rewards()
        rate = self._rate_at(steps, version)
        epochs = [self._epoch(rate) for _ in range(self._options.epochs)]
        self._traces.clear()
        return epochs

    def _scale_rewards(self) -> None:
        if self._returns is not None:
            for trace in self._traces:
                trace.trajectory = self._returns.scaled(trace.trajectory)

    def _rate_at(self, steps: int, version: int) -> float:
        """The learning rate of the updates from the batch at hand, the mean lag of whose units counts."""
        if self._by_lag is None:
            return self._rate(steps)
        lag = version - sum(trace.trajectory.version for trace in self._traces) / len(self._traces)
        return self._rate(steps) * self._by_lag(lag)

    def _epoch(self, rate: float) -> dict[str, float]:
        self._sum[:] = 0.0
        all_figures = []
        for trace in self._traces:
            all_figures.append(self._gradient_of(trace))
            self._sum += self._gradient_of.gradient
        self._sum /= np.float32(len(self._traces))
        figures = {name: _of_all(name, [one[name] for one in all_figures]) for name in all_figures[0]}
        return {**figures, **self._step(self._sum, rate)}

    def _step(self, gradient: NDArray[np.float32], rate: float) -> dict[str, float]:
        """Descend along gradient [N], scaled down to the largest norm, or leave out one that is not finite; returns figures."""
        length = norm(gradient)
        if not np.isfinite(length):
            return {"skipped": 1.0}
        self._counts += 1
        scale = clip_scale(length, self._options.max_gradient_norm)
        self._rule.step((self._vector, self._statistics), gradient, slice(None), scale, rate, int(self._counts[0]))
        return {"gradient_norm": length, "gradient_norm_clipped": length * scale, "skipped": 0.0}


def _of_all(name: str, values: list[float]) -> float:
    """A figure of several traces: their mean, or the largest (see `Updater.figures`)."""
    return max(values) if name.endswith("_max") else float(np.mean(values))
