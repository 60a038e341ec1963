"""Options of whatever follows a gradient. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class GradientOptions:
    """The length of a rollout, the update that it ends in, and what is done to rewards and observations before."""

    t_max: int = 20
    """Steps of each environment in a round (the length of a rollout)."""
    gamma: float = 0.99
    """Discount per step."""
    max_gradient_norm: float = 0.5
    """Gradients are scaled down to this Euclidean norm; 0 for no limit."""
    optimizer: Literal["rmsprop", "adam", "sgd"] = "rmsprop"
    """Rule of the update (rmsprop is the A3C paper's)."""
    learning_rate: float = 1e-3
    """Step size at the start."""
    anneal: Literal["linear", "constant"] = "linear"
    """The learning rate falls to 0 at the last step, or stays."""
    rmsprop_decay: float = 0.99
    """RMSProp: decay of the mean square."""
    rmsprop_epsilon: Literal["inside", "outside"] = "inside"
    """RMSProp: epsilon under the root (the A3C paper) or beside it (torch)."""
    optimizer_epsilon: float = 1e-5
    """RMSProp and Adam: keeps the division finite."""
    momentum: float = 0.0
    """SGD's momentum."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Adam: decay of the mean and of the mean square."""
    amsgrad: bool = False
    """Adam: divide by the largest mean square so far."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning (reports show the environment's own). Cancels under `normalize_returns`, but for
    its sign and `reward_clip`."""
    reward_clip: float = 0.0
    """Scaled rewards are clipped to this magnitude; 0 for no clipping."""
    normalize_observations: bool = False
    """Shift and scale observations by a running mean and deviation that all workers share."""


@dataclass(frozen=True)
class ActorLearnerOptions(GradientOptions):
    """Options that actor-learners share, whatever they learn."""

    reduction: Literal["mean", "sum"] = "mean"
    """Whether a rollout's loss is the mean over its steps (the field's habit) or the sum (Algorithms S1 to S3)."""
    statistics: Literal["shared", "private"] = "shared"
    """Optimizer statistics (modes async and bounded): one set for all workers, or one for each."""
