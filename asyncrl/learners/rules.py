"""The update that options name: its rule, and its step size over time."""

from __future__ import annotations

from collections.abc import Callable

from asyncrl.heads.policy import Policy
from asyncrl.learners.hyperparameters import GradientOptions
from asyncrl.shared.optimizers import Adam, Optimizer, PartRates, Rmsprop, Sgd


def optimizer_of(options: GradientOptions, policy: Policy) -> Optimizer:
    """The update rule that the options name, for the policy's vector."""
    factor = options.value_learning_rate / options.learning_rate
    rule = _rule(options)
    if factor == 1.0:
        return rule
    parts: list[tuple[slice, float]] = []
    at = 0
    for part in policy.value_alone():
        parts += [(slice(at, part.start), 1.0), (part, factor)]
        at = part.stop
    return PartRates(rule, (*parts, (slice(at, policy.size), 1.0)))


def _rule(options: GradientOptions) -> Optimizer:
    if options.optimizer == "sgd":
        return Sgd(options.momentum)
    if options.optimizer == "adam":
        return Adam(options.adam_betas, options.optimizer_epsilon, options.amsgrad)
    return Rmsprop(options.rmsprop_decay, options.optimizer_epsilon, options.rmsprop_epsilon == "inside")


def linear_or_constant(options: GradientOptions, target_steps: int) -> Callable[[float], float]:
    """Total steps -> learning rate."""
    first = options.learning_rate
    if options.anneal == "constant":
        return lambda steps: first
    return lambda steps: first * max(0.0, 1.0 - steps / target_steps)
