"""A3C and A2C: advantage actor-critic; every worker acts and computes the gradient of its own rollout.

The CMU slides' Algorithm S3 (seed 004; Mnih and others 2016). For a rollout of N = t_max x environments steps the loss is

    L = r * sum over n of  - log pi(a_n | s_n) A_n  -  beta H(pi(. | s_n))  +  c (R_n - v(s_n))^2

with A = R - v taken as a constant, R the n-step return (or lambda-return) from `asyncrl.learners.estimators.generalised_advantages`.

Rewards come divided by the scale of returns (`asyncrl.learners.return_scale`; `normalize_returns`), which S3 does not have: so
`max_gradient_norm`, the learning rate and `entropy_weight` mean the same in an environment that pays 100 a step as in one that
pays 0.01. For the same reason both gradients have a norm of about 1, and the critic must be the faster of the two (the two
timescales of Konda and Tsitsiklis 2000): its parameters have `value_learning_rate`. Equal to `learning_rate`, the update is S3's.

Where the slides and the field differ:
- S3 adds the squared value error with weight 1 to a sum over steps. Here c is `value_weight` (0.5, so that its gradient is
  v - R) and r is 1/N (`reduction` mean). With value_weight 1, reduction sum and gae_lambda 1 the gradient is S3's (a test).
- S3's gradient *ascends* the policy's objective while it writes the value's descent with the same sign; taken literally
  one of the two goes the wrong way. Both are written as one loss to descend here.
- S3 treats every end of an episode as terminal. Here a truncated episode is bootstrapped.
- Where a worker explores by temperature, epsilon or action noise, the gradient is that of what its exploring policy earns, since
  that is what its rollout shows: see `asyncrl.heads.behaviour`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from asyncrl.fields import NOT_NEGATIVE, POSITIVE, PROBABILITY
from asyncrl.learners.gradients import ActorCriticLoss
from asyncrl.learners.hyperparameters import ActorLearnerOptions


@dataclass(frozen=True)
class A3COptions(ActorLearnerOptions):
    """Options of A3C (`--mode async`) and A2C (`--mode sync`)."""

    gae_lambda: Annotated[float, PROBABILITY] = 0.95
    """Lambda of generalised advantage estimation; 1 gives the n-step returns of Algorithm S3."""
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the policy's entropy in the loss (exploration settings may override it per worker)."""
    value_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the squared value error."""
    value_learning_rate: Annotated[float, POSITIVE] = 1e-2
    """Step size at the start of what v(s) alone depends on: larger, so that the policy does not outrun its critic."""
    normalize_advantages: bool = False
    """Shift and scale the advantages of a rollout to mean 0 and deviation 1."""
    normalize_returns: bool = True
    """Divide rewards by a running scale of the discounted returns, the same for all workers: so their unit does not matter."""


class A3C(ActorCriticLoss):
    """The loss of A3C and A2C, and its derivative."""

    @staticmethod
    def loss(
        log_prob: Any, entropy: Any, value: Any, advantage: Any, value_target: Any, options: A3COptions, entropy_weight: float
    ) -> tuple[Any, dict[str, float]]:
        scale = 1.0 / len(value) if options.reduction == "mean" else 1.0
        policy_loss = -(log_prob * advantage).sum() * scale
        value_loss = (value_target - value).square().sum() * scale
        mean_entropy = entropy.mean()
        total = policy_loss - entropy_weight * entropy.sum() * scale + options.value_weight * value_loss
        return total, {"policy_loss": policy_loss.item(), "value_loss": value_loss.item(), "entropy": mean_entropy.item()}

    @staticmethod
    def output_weights(rows: int, options: A3COptions, entropy_weight: float) -> tuple[float, float, float]:
        scale = 1.0 / rows if options.reduction == "mean" else 1.0
        return -scale, -entropy_weight * scale, -2.0 * options.value_weight * scale
