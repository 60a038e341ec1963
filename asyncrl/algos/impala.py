"""IMPALA: an actor-critic that corrects for the age of its experience by V-trace (Espeholt and others 2018); APPO besides.

Actors act on versions of the policy and hand trajectories, with the log-probabilities mu of what they drew, to one learner.
Its loss for N steps is

    L = 1/N * sum over n of  - log pi(a_n | s_n) A_n  -  beta H(pi(. | s_n))  +  c (v_n - V(s_n))^2

with the targets v and the advantages A of `asyncrl.algos.vtrace`, taken as constants. With several epochs (APPO), the first
term is PPO's clipped surrogate  - min(r A, clip(r, 1 - e, 1 + e) A),  r = pi / pi at the batch's first epoch. Targets and
advantages are made anew in each epoch, from the new values; their importance ratios stay those of the first epoch's policy, since
r is what has changed after it.

Where the paper stands apart: it adds the value's error with weight 0.5 to sums over steps, and RMSProp's epsilon is 0.1 or
0.01 there for images; here the loss is a mean and epsilon is that of `a3c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from asyncrl.algos.options import GradientOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImpalaOptions(GradientOptions):
    """Options of IMPALA and APPO."""

    t_max: int = 32
    """Steps of each environment in a trajectory."""
    batch_units: int = 2
    """Modes bounded and async: trajectories of an update. (sync and pipelined take one of every actor.)"""
    gae_lambda: float = 0.95
    """Lambda of V-trace, in targets and advantages; 1 gives the paper's."""
    correction: bool = True
    """Correct for the policy that acted (V-trace); without, experience counts as if the present policy had acted."""
    rho_bar: float = 1.0
    """V-trace: importance ratios count up to this in errors."""
    c_bar: float = 1.0
    """V-trace: importance ratios count up to this in how far errors reach back."""
    epochs: int = 1
    """Updates made from each batch, all but the first with clipped ratios."""
    clip_range: float = 0.2
    """Clipped ratios: the e in 1 - e and 1 + e."""
    entropy_weight: float = 0.0
    """Weight of the policy's entropy in the loss (the same for all actors)."""
    value_weight: float = 0.5
    """Weight of the squared value error."""
    normalize_advantages: bool = False
    """Shift and scale the advantages of a trajectory to mean 0 and deviation 1."""
    normalize_returns: bool = True
    """Divide rewards by a running scale of the discounted returns, the same for all workers: so their unit does not matter."""


@dataclass(frozen=True)
class AppoOptions(ImpalaOptions):
    """Options of APPO: IMPALA with several clipped epochs on each batch."""

    epochs: int = 4
    """Updates made from each batch, all but the first with clipped ratios."""
    optimizer: Literal["rmsprop", "adam", "sgd"] = "adam"
    """Rule of the update."""
    learning_rate: float = 3e-4
    """Step size at the start."""


def log_prob_weights(
    advantage: NDArray[np.float32], log_ratio: NDArray[np.float32], clip_range: float, scale: float
) -> NDArray[np.float32]:
    """Derivative of the policy's loss by each log pi(a_n): advantage [N], log_ratio [N] = log pi - log pi at the first epoch.

    With log_ratio 0 it is - A scale. A clipped term has none: where r A is not the smaller of the two.
    """
    import numpy as np

    ratio = np.exp(np.minimum(log_ratio, np.float32(20.0)))
    clipped = ((advantage > 0) & (ratio > 1.0 + clip_range)) | ((advantage < 0) & (ratio < 1.0 - clip_range))
    weights: NDArray[np.float32] = np.where(clipped, np.float32(0.0), -advantage * ratio * np.float32(scale))
    return weights
