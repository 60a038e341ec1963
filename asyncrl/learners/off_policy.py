"""What algorithms that learn from a replay share: options, and the base class of their networks and updates.

Does not load torch before a learner is made: the command line reads the options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from asyncrl.fields import COUNT, COUNT_OR_ZERO, FINITE, NOT_NEGATIVE, POSITIVE, PROBABILITY, SHARE, Range
from asyncrl.learners.hyperparameters import StepOptions
from asyncrl.shared.optimizers import clip_scale

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.head import Head
    from asyncrl.heads.networks.devices import Place
    from asyncrl.heads.networks.towers import Learned, Towers
    from asyncrl.replays.records import Batch


HIDDEN = (256, 256)
"""Units of each hidden layer (relu) of policy and critics, where the user does not say."""


@dataclass(frozen=True)
class OffPolicyOptions(StepOptions):
    """Options of every algorithm with a replay. Actions live in [-1, 1]; the environment's bounds are applied outside."""

    t_max: Annotated[int, COUNT] = 1
    """Steps of each environment in a unit that is handed to the learner. 1 in `sync` with one actor is the classic algorithm:
    a step, an update."""
    gamma: Annotated[float, PROBABILITY] = 0.99
    """Discount per step."""
    n_step: Annotated[int, Range(1, 10_000, whole=True)] = 1
    """Steps of a return before it bootstraps."""
    replay: Annotated[int, COUNT] = 1_000_000
    """Transitions that are kept."""
    replay_ratio: Annotated[float, POSITIVE] = 1.0
    """Updates per step of the environments, counted from the end of the warm-up (those due before a batch is there follow then).
    Any number above 0 is held in every mode: whenever the learner publishes, it has made floor(ratio * steps) updates for the
    steps that it has taken, and actors wait for it where it is behind. (In bounded and async an end that is asked for leaves the
    rest to the resumed run.) Refused where a whole run would come to no update."""
    batch: Annotated[int, COUNT] = 256
    """Transitions of an update."""
    warm_up: Annotated[int | None, COUNT_OR_ZERO] = None
    """Steps with uniform actions before the first update; none for 10,000, or for a tenth of a run that would then come to no update."""
    tau: Annotated[float, SHARE] = 0.005
    """Share by which target networks follow at each update (of the policy, where that is delayed)."""
    priority_alpha: Annotated[float, NOT_NEGATIVE] = 0.0
    """Exponent of priorities (Schaul and others 2016); 0 draws uniformly."""
    priority_beta: Annotated[float, PROBABILITY] = 0.4
    """Exponent of the weights that undo the priorities at the start; it rises to 1 by the last step."""
    learner_threads: Annotated[int, COUNT] = 1
    """Threads of the learner's networks; more than there are free cores makes it far slower."""
    learner_device: str = "cpu"
    """Where the learner's networks live: cpu | cuda | cuda:1 | mps. Actors and replay stay on the processor; batches are copied.
    Checkpoints are the same for all."""
    max_gradient_norm: Annotated[float | None, NOT_NEGATIVE] = None
    """Gradients of each kind of network are scaled down to this Euclidean norm; 0 for no limit; none for 0, under head
    savo and its rivals for 1."""
    reward_scale: Annotated[float, FINITE] = 1.0
    """Rewards are multiplied by this before learning (reports show the environment's own)."""
    reset_every: Annotated[int, COUNT_OR_ZERO] = 0
    """Updates after which the networks begin anew and the replay stays (Nikishin and others 2022), again and again; 0 for never."""
    reset: Literal["full", "last-layer"] = "full"
    """What begins anew: all networks, their targets and Adam's statistics, or the output layers of policy and critics and of their targets,
    with Adam's statistics as they are."""

    @property
    def usual_warm_up(self) -> int:
        """Steps of the warm-up where nobody names another and the run is long enough."""
        return 10_000

    def warm_up_for(self, steps: int) -> int:
        """The warm-up of a run of so many steps."""
        if self.warm_up is not None:
            return self.warm_up
        return self.usual_warm_up if (steps - self.usual_warm_up) * self.replay_ratio >= 1 else steps // 10

    def settled(self, steps: int, environments: int) -> tuple[Self, list[str]]:
        """With the warm-up of a run of so many steps, and a line where it is shorter than the usual one."""
        if self.warm_up is not None:
            return self, []
        warm_up, usual, notes = self.warm_up_for(steps), self.usual_warm_up, []
        if warm_up != usual:
            notes.append(
                f"the warm-up is shortened to {warm_up:,} of {steps:,} steps: after the usual {usual:,} the run would come to no update "
                "(--warm-up sets another)"
            )
        return replace(self, warm_up=warm_up), notes

    def as_example(self) -> Self:
        """With a replay of one batch, and the networks on the processor."""
        return replace(self, replay=self.batch, learner_device="cpu")

    def on_host(self) -> Self:
        """With the networks on the processor."""
        return replace(self, learner_device="cpu")


class OffPolicyLearner(ABC):
    """One algorithm's networks and its update; constructed as (observation size, action size, options, seed, hidden).

    A sixth argument, an `asyncrl.heads.networks.devices.Place`, stands in for the one that `learner_device` names. Subclasses make
    `policy` and `critics`, and `kept`: everything that is remembered between updates, by its name in checkpoints. Which of a head's
    own it needs (`Head.learners`), it takes in `under`.
    """

    figures: ClassVar[tuple[str, ...]]
    """Names of what `update` tells, for the log."""
    usual: ClassVar[Mapping[str, float]] = {"max_gradient_norm": 0.0}
    """What options are that were left open, by name."""
    policy: Learned
    """The policy's layers."""
    critics: Towers
    """The critics' layers: (observation, action) -> value [O, 1], one tower each."""
    kept: dict[str, Any]
    counts: NDArray[np.int64]
    """[1 or 2] updates so far; of delayed policies, those of the policy besides."""

    def __init__(self, options: Any, seed: int, place: Place | None):
        from asyncrl.heads.networks.devices import place_of

        self.options = replace(options, **{name: value for name, value in self.usual.items() if getattr(options, name) is None})
        self.seed, self.place = seed, place or place_of(options.learner_device)
        self.errors: NDArray[np.float32] = np.zeros(0, np.float32)
        """|temporal-difference error| [B] of the last batch: its new priorities."""

    @classmethod
    def under(cls, head: Head, observation_size: int, options: Any, seed: int, hidden: tuple[int, ...]) -> Self:
        """Made for the head that acts; most learners have no use for more of it than the size of its actions."""
        kind: Any = cls
        made: Self = kind(observation_size, head.components, options, seed, hidden)
        return made

    @property
    def published_size(self) -> int:
        """Numbers that actors need."""
        return self.policy.size

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All it remembers between updates: arrays of names, shapes and types that do not depend on the device.

        On the host they are the learner's own, without a copy; from another device they are copied each time.
        """
        from asyncrl.heads.networks.devices import saved

        return saved(self.kept)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave, of any device.

        On the same device what follows is the same to the bit: the noise of update u depends on (seed, u) alone.
        """
        from asyncrl.heads.networks.devices import put_back

        put_back(self.kept, state)

    def renew(self, fresh: Self, wholly: bool) -> None:
        """Begin anew as `fresh`, another learner of the same sizes, does: wholly, or in the output layers of policy and critics."""
        if wholly:
            self.restore(fresh.state)
            self.seed = fresh.seed
            return
        self.policy.copy_outputs(fresh.policy)
        self.critics.copy_outputs(fresh.critics)

    def published(self, out: NDArray[np.float32]) -> None:
        """Write what actors need into out [published_size]: the policy, in the layout of `heads.tower.TowerPolicy`."""
        self.policy.numbers.copy_to(out)

    def update(self, batch: Batch) -> dict[str, float]:
        """One update: of the critics to `target`, then `improve`. Returns figures to log.

        `skipped` is 1 where a gradient was not finite and was left out.
        """
        import torch

        from asyncrl.heads.networks.towers import left_out, regress, tensors

        o = self.options
        observation, action, reward, discount, next_observation, weight = tensors(batch, self.place)
        self.counts[0] += 1
        target = self.target(reward, discount, next_observation)
        pair = torch.cat([observation, action], 1)
        numbers = (o.critic_learning_rate, int(self.counts[0]), o.max_gradient_norm)
        self.errors, figures = regress(self.critics, pair, target, weight if o.priority_alpha > 0 else None, *numbers)
        figures.update(self.fit(observation, action, batch))
        figures.update(self.improve(observation))
        norms = {name: value for name, value in figures.items() if name in ("critic_gradient_norm", "policy_gradient_norm")}
        clipped = {f"{name}_clipped": length * clip_scale(length, o.max_gradient_norm) for name, length in norms.items()}
        return {**figures, **clipped, "skipped": left_out(figures)}

    @abstractmethod
    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        """What is done at observation [B, D] in an evaluation: actions [B, C] within [-1, 1]."""

    def proposals(self, observation: torch.Tensor) -> torch.Tensor:
        """What is chosen among at observation [B, D], without noise: [K, B, C] within [-1, 1], the first what one actor alone would do.

        Usually K is 1. Gradients may flow.
        """
        return self.greedy(observation)[None]

    def values(self, observation: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """What its functions say at observation [1, D] of action [n, C] within [-1, 1]: values [n] by name, without gradients.

        `q` is the first critic, which comes first; others that steer an actor follow, in the order of the actors. Pictures
        (`asyncrl landscape`) and studies ask for them.
        """
        import torch

        from asyncrl.heads.networks.towers import forward

        with torch.no_grad():
            return {"q": forward(self.critics.layers[0], torch.cat([observation.expand(len(action), -1), action], 1))[:, 0]}

    @abstractmethod
    def target(self, reward: torch.Tensor, discount: torch.Tensor, next_observation: torch.Tensor) -> torch.Tensor:
        """What the critics are drawn to, y [B, 1], of reward [B], discount [B] and next_observation [B, D]."""

    def fit(self, observation: torch.Tensor, action: torch.Tensor, batch: Batch) -> dict[str, float]:
        """What else is fitted after the critics' step, at observation [B, D] and action [B, C] of the batch. Returns figures to log."""
        return {}

    @abstractmethod
    def improve(self, observation: torch.Tensor) -> dict[str, float]:
        """What follows the critics' step: the policy's step at observation [B, D], and that of the targets. Returns figures to log."""
