"""TD3: twin delayed deep deterministic policy gradient (Fujimoto, van Hoof and Meger 2018).

    a' = clip(pi'(s') + clip(noise, -c, c), -1, 1)              noise ~ N(0, sigma^2): target policy smoothing
    y  = r + discount * min(Q1'(s', a'), Q2'(s', a'))           clipped double Q
    critics descend mean of (Q1 - y)^2 + (Q2 - y)^2;  every `policy_delay`-th update the policy ascends mean of Q1(s, pi(s)),
    and all targets follow (Algorithm 1)

The discount of a transition is gamma^m, and 0 where the episode terminated: truncation bootstraps. Defaults are those of the
authors' published program (the paper has layers of 400 and 300, batches of 100 and a learning rate of 1e-3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from asyncrl.fields import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, POSITIVE
from asyncrl.learners.off_policy import HIDDEN, OffPolicyLearner, OffPolicyOptions
from asyncrl.learners.replays import CRITICS, ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.cascades import Actors
    from asyncrl.heads.networks.devices import Place
    from asyncrl.heads.networks.towers import Towers


@dataclass(frozen=True)
class Td3Options(OffPolicyOptions):
    """Options of TD3."""

    warm_up: Annotated[int | None, COUNT_OR_ZERO] = None
    """Steps with uniform actions before the first update; none for 25,000, or for a tenth of a run that would then come to no update."""
    policy_learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Adam's step size for the policy."""
    critic_learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Adam's step size for the critics."""
    policy_delay: Annotated[int, COUNT] = 2
    """Updates of the critics for one of the policy and the targets."""
    target_noise: Annotated[float | None, NOT_NEGATIVE] = None
    """Deviation of the noise on the target policy's actions; 0 for no noise; none for 0.2, under head savo and its
    rivals for 0, but for greedy with behaviour noise."""
    target_noise_clip: Annotated[float, NOT_NEGATIVE] = 0.5
    """That noise is clipped to this magnitude."""

    @property
    def usual_warm_up(self) -> int:
        """Steps of the warm-up where nobody names another and the run is long enough."""
        return 25_000


class Td3(OffPolicyLearner):
    """TD3's networks and its update."""

    figures: ClassVar[tuple[str, ...]] = (*CRITICS, "saturated_actions")
    usual: ClassVar[Mapping[str, float]] = {**OffPolicyLearner.usual, "target_noise": 0.2}
    policy: Towers | Actors

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: Td3Options,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
        critics: int = 2,
    ):
        from asyncrl.heads.networks.towers import Towers

        super().__init__(options, seed, place)
        generator = np.random.default_rng([seed, 0x7D3])
        self.policy = self.new_policy((observation_size, action_size), hidden, generator)
        self.critics = Towers(observation_size + action_size, hidden, 1, critics, generator, self.place)
        self.counts = np.zeros(2, np.int64)  # updates, and those of the policy
        self.kept = {**self.policy.kept("policy"), **self.critics.kept("critics"), "counts": self.counts}

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Towers | Actors:
        """The policy's networks for sizes (observation, action)."""
        from asyncrl.heads.networks.towers import Towers

        return Towers(sizes[0], hidden, sizes[1], 1, generator, self.place)

    def target(self, reward: torch.Tensor, discount: torch.Tensor, next_observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            action = self.smoothed(self.following(next_observation))
            values = torch.cat(self.critics.run_targets(torch.cat([next_observation, action], 1)), 1)
            return torch.addcmul(reward[:, None], discount[:, None], values.amin(1, keepdim=True))

    def following(self, next_observation: torch.Tensor) -> torch.Tensor:
        """What y supposes to be done at next_observation [B, D]: the target policy's actions [B, C], without noise."""
        return self.policy.run_targets(next_observation)[0].tanh_()

    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return self.policy.run(observation)[0].tanh_()

    def smoothed(self, action: torch.Tensor) -> torch.Tensor:
        """The target policy's action [B, C] with this update's noise, in place."""
        from asyncrl.heads.networks.towers import noise

        o = self.options
        if o.target_noise == 0:
            return action
        smoothing = noise(self.seed, int(self.counts[0]), 0, tuple(action.shape), self.place).mul_(o.target_noise)
        return action.add_(smoothing.clamp_(-o.target_noise_clip, o.target_noise_clip)).clamp_(-1.0, 1.0)

    def improve(self, observation: torch.Tensor) -> dict[str, float]:
        """The policy's step at observation [B, D], at every `policy_delay`-th update only; then all targets follow as well."""
        o = self.options
        if self.counts[0] % o.policy_delay:
            return {}
        self.counts[1] += 1
        figures = self.improve_policy(observation)
        self.policy.follow(o.tau)
        self.critics.follow(o.tau)
        return figures

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(what the policy does at observation [B, D], the loss [] that it descends)."""
        import torch

        from asyncrl.heads.networks.towers import forward

        action = self.policy.run(observation)[0].tanh()
        return action, -forward(self.critics.layers[0], torch.cat([observation, action], 1)).mean()

    def improve_policy(self, observation: torch.Tensor) -> dict[str, float]:
        """The policy's step at observation [B, D]. Returns figures to log."""
        o = self.options
        action, loss = self.descent(observation)
        length = self.policy.step(loss, o.policy_learning_rate, int(self.counts[1]), o.max_gradient_norm)
        saturated = (action.detach().abs() > 0.99).float().mean().item()
        return {"policy_loss": loss.item(), "policy_gradient_norm": length, "saturated_actions": saturated}


Td3Updater = ReplayUpdater.of(Td3)
