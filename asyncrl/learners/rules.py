"""The update that options name: its rule, and its step size over time."""

from __future__ import annotations

import math
from collections.abc import Callable

from asyncrl.heads.policy import Policy
from asyncrl.learners.hyperparameters import GradientOptions
from asyncrl.shared.optimizers import Adam, Elementwise, Optimizer, PartRates, Rmsprop, Sgd


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


def _rule(options: GradientOptions) -> Elementwise:
    if options.optimizer == "sgd":
        return Sgd(options.momentum)
    if options.optimizer == "adam":
        return Adam(options.adam_betas, options.optimizer_epsilon, options.amsgrad)
    return Rmsprop(options.rmsprop_decay, options.optimizer_epsilon, options.rmsprop_epsilon == "inside")


def rate_by_lag(options: GradientOptions) -> Callable[[float], float] | None:
    """Lag of an update, in versions -> factor of its learning rate; None where it has no effect.

    Zhang and others 2016 (arXiv 1511.05950) divide the rate by the staleness, of which 1 is the least; here that is 1 + lag.
    """
    if options.rate_by_lag == "constant":
        return None
    if options.rate_by_lag == "inverse":
        return lambda lag: 1.0 / (1.0 + lag)
    return lambda lag: 1.0 / math.sqrt(1.0 + lag)


def linear_or_constant(options: GradientOptions, target_steps: int) -> Callable[[float], float]:
    """Total steps -> learning rate."""
    first = options.learning_rate
    if options.anneal == "constant":
        return lambda steps: first
    return lambda steps: first * max(0.0, 1.0 - steps / target_steps)
