"""Options that algorithms which learn from steps have in common. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from asyncrl.fields import COUNT, DECAY, FINITE, NOT_NEGATIVE, POSITIVE, PROBABILITY, AlgorithmOptions


@dataclass(frozen=True)
class StepOptions(AlgorithmOptions):
    """Base of the options of algorithms that learn from single steps of the environments, which all but black-box searches do.

    The properties are what holds for algorithms that have no option of that name (see `AlgorithmOptions`).
    """

    @property
    def t_max(self) -> int:
        """Steps of each environment in a round or in a unit that is handed to the learner."""
        return 1

    @property
    def least_steps(self) -> int:
        """Steps of one rollout of one environment."""
        return self.t_max

    @property
    def batch_units(self) -> int:
        """Modes bounded and async of a stream: trajectories of an update."""
        return 1

    @property
    def entropy_weight(self) -> float:
        """Weight of the policy's entropy in the loss."""
        return 0.0

    @property
    def normalize_observations(self) -> bool:
        """Whether observations are shifted and scaled by a running mean and deviation."""
        return False

    @property
    def normalize_returns(self) -> bool:
        """Whether rewards are divided by the running scale of the returns."""
        return False

    @property
    def reward_clip(self) -> float | None:
        """Scaled rewards are clipped to this magnitude; 0 or None for no clipping."""
        return 0.0

    @property
    def target_every(self) -> int:
        """Steps of all workers between refreshments of the target network; 0 where there is none."""
        return 0

    def as_example(self) -> Self:
        """The same options for a small learner, whose state has the shapes of the real one's but for what lies in shared memory."""
        return self

    def on_host(self) -> Self:
        """The same options with the learner's networks on the processor."""
        return self


@dataclass(frozen=True)
class GradientOptions(StepOptions):
    """The length of a rollout, the update that it ends in, and what is done to rewards and observations before."""

    t_max: Annotated[int, COUNT] = 20
    """Steps of each environment in a round (the length of a rollout)."""
    gamma: Annotated[float, PROBABILITY] = 0.99
    """Discount per step."""
    max_gradient_norm: Annotated[float, NOT_NEGATIVE] = 0.5
    """Gradients are scaled down to this Euclidean norm; 0 for no limit."""
    optimizer: Literal["rmsprop", "adam", "sgd"] = "rmsprop"
    """Rule of the update (rmsprop is the A3C paper's)."""
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Step size at the start."""
    anneal: Literal["linear", "constant"] = "linear"
    """The learning rate falls to 0 at the last step, or stays."""
    rate_by_lag: Literal["constant", "inverse", "inverse-sqrt"] = "constant"
    """What the lag of an update makes of its learning rate: nothing, 1 / (1 + lag) of it (Zhang and others 2016), or 1 / sqrt(1 + lag).
    The lag is the update's own; of an update from several workers' experience it is their mean."""
    rmsprop_decay: Annotated[float, DECAY] = 0.99
    """RMSProp: decay of the mean square."""
    rmsprop_epsilon: Literal["inside", "outside"] = "inside"
    """RMSProp: epsilon under the root (the A3C paper) or beside it (torch)."""
    optimizer_epsilon: Annotated[float, POSITIVE] = 1e-5
    """RMSProp and Adam: keeps the division finite."""
    momentum: Annotated[float, DECAY] = 0.0
    """SGD's momentum."""
    adam_betas: Annotated[tuple[float, float], DECAY] = (0.9, 0.999)
    """Adam: decay of the mean and of the mean square."""
    amsgrad: bool = False
    """Adam: divide by the largest mean square so far."""
    reward_scale: Annotated[float, FINITE] = 1.0
    """Rewards are multiplied by this before learning (reports show the environment's own). Cancels under `normalize_returns`, but for
    its sign and `reward_clip`."""
    reward_clip: Annotated[float | None, NOT_NEGATIVE] = None
    """Scaled rewards are clipped to this magnitude; 0 for no clipping. Left open it is 0, but in Atari's games, whose rewards are
    whole numbers, `reward_scale`, which leaves their sign."""
    normalize_observations: bool = False
    """Shift and scale observations by a running mean and deviation that all workers share."""


    @property
    def value_learning_rate(self) -> float:
        """Step size at the start of what v(s) alone depends on."""
        return self.learning_rate


@dataclass(frozen=True)
class ActorLearnerOptions(GradientOptions):
    """Options that actor-learners share, whatever they learn."""

    reduction: Literal["mean", "sum"] = "mean"
    """Whether a rollout's loss is the mean over its steps (the field's habit) or the sum (Algorithms S1 to S3)."""
    statistics: Literal["shared", "private"] = "shared"
    """Optimizer statistics (modes async and bounded): one set for all workers, or one for each. A round of sync or pipelined is
    everybody's update and has shared ones: in a run of these modes alone private is refused."""
    round_updates: Literal["one", "each"] = "one"
    """Modes sync and pipelined: a round is one update, by the mean of all workers' gradients (A2C), or an update by each of them, one
    after another in worker order, which is as many a step as async makes (A3C)."""


@dataclass(frozen=True)
class ValueOptions(ActorLearnerOptions):
    """Options of asynchronous value learning (q1, sarsa, nq)."""

    t_max: Annotated[int, COUNT] = 5
    """Steps of each environment in a round (the length of a rollout)."""
    target_every: Annotated[int, COUNT] = 300
    """Steps of all workers between refreshments of the target network."""
    reward_scale: Annotated[float, FINITE] = 0.1
    """Rewards are multiplied by this before learning (reports show the environment's own); values add up about 1 / (1 - gamma) of them."""

    @property
    def double(self) -> bool:
        """Whether the worker's own values pick the next action, which the target network's judge."""
        return False
