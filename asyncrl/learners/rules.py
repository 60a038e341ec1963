"""The update that options name: its rule, and its step size over time."""

from __future__ import annotations

from collections.abc import Callable

from asyncrl.learners.hyperparameters import GradientOptions
from asyncrl.shared.optimizers import Adam, Optimizer, Rmsprop, Sgd


def optimizer_of(options: GradientOptions) -> Optimizer:
    """The update rule that the options name."""
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
