"""What asynchronous value learning has in common (q1, sarsa, nq): options, and the loss with its derivative.

Every worker acts epsilon-greedily on its copy of the action values Q, and descends for a rollout of N = t_max x environments
steps the loss (Mnih and others 2016, Algorithms S1 and S2; the CMU slides, seed 004, apply the same asynchrony to Sarsa and DQN)

    L = r * sum over n of (y_n - Q(s_n, a_n))^2

with y_n taken as a constant. The algorithms differ in y alone, which they build from the target network: a copy of the shared
parameters that is refreshed whenever an update carries the total of steps past a multiple of `target_every`
(`asyncrl.shared.parameters.SharedParameters`).

Where the paper and this package differ:
- S1 and S2 sum the gradients of a rollout; here r is 1/N (`reduction` mean). With `reduction` sum the gradient is theirs.
- S1 acts and takes gradients at the shared parameters themselves, and only S2 at a copy per worker. Here every round begins
  with a copy, so that one rollout has one policy.
- S1 refreshes the target when T mod I_target = 0, which a counter that several workers advance by more than 1 can step over.
- Both treat every end of an episode as terminal, and end the rollout there. Here a truncated episode is bootstrapped, and a
  rollout goes on with the next episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncrl.algos.options import ActorLearnerOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ValueOptions(ActorLearnerOptions):
    """Options of value learning."""

    t_max: int = 5
    """Steps of each environment in a round (the length of a rollout)."""
    target_every: int = 300
    """Steps of all workers between refreshments of the target network."""
    reward_scale: float = 0.1
    """Rewards are multiplied by this before learning (reports show the environment's own); values add up about 1 / (1 - gamma) of them."""


def loss(chosen_value: Any, target: Any, options: ActorLearnerOptions) -> tuple[Any, dict[str, float]]:
    """The loss as a torch scalar, and its parts; chosen_value[N] = Q(s_n, a_n), target[N] a constant."""
    scale = 1.0 / len(target) if options.reduction == "mean" else 1.0
    total = (target - chosen_value).square().sum() * scale
    return total, {"policy_loss": 0.0, "value_loss": total.item(), "entropy": 0.0}


def output_weights(error: NDArray[np.float32], options: ActorLearnerOptions) -> NDArray[np.float32]:
    """The derivative of `loss` by each Q(s_n, a_n), written out; error[N] = y - Q(s_n, a_n)."""
    return error * (-2.0 / len(error) if options.reduction == "mean" else -2.0)
