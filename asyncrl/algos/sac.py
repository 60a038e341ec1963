"""SAC: soft actor-critic with a tuned temperature (Haarnoja and others 2018, "Soft Actor-Critic Algorithms and Applications").

    u ~ N(mu(s), sigma(s)^2),  a = tanh(u)
    log pi(a | s) = sum over components of  log N(u) - log(1 - tanh(u)^2)               (appendix C)
    y = r + discount * (min(Q1'(s', a'), Q2'(s', a')) - alpha log pi(a' | s')),   a' ~ pi(. | s')
    critics descend mean of (Q1 - y)^2 + (Q2 - y)^2
    the policy descends mean of  alpha log pi(a | s) - min(Q1(s, a), Q2(s, a)),   a ~ pi(. | s), through a
    log alpha descends  - log alpha * mean of (log pi(a | s) + target entropy)

The paper's objective for the temperature (equation 18) has alpha where the last line has log alpha; so do the authors' and all
common programs, since the step then does not shrink with alpha. There is no target policy. The discount of a transition is
gamma^m, and 0 where the episode terminated: truncation bootstraps. With n_step > 1 the entropy of the steps within a window is
left out, as is usual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from asyncrl.fields import FINITE, POSITIVE
from asyncrl.heads.options import SQUASHED_LOG_STD
from asyncrl.learners.off_policy import HIDDEN, OffPolicyLearner, OffPolicyOptions
from asyncrl.learners.replays import CRITICS, ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.cascades import Actors
    from asyncrl.heads.networks.devices import Place
    from asyncrl.heads.networks.towers import Towers

LOG_STD_LOW, LOG_STD_HIGH = SQUASHED_LOG_STD
LOG_ALPHA_LARGEST = 10.0
"""The temperature stays within exp(-10) and exp(10): an unreachable target entropy must not drive it to infinity."""


@dataclass(frozen=True)
class SacOptions(OffPolicyOptions):
    """Options of SAC."""

    policy_learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Adam's step size for the policy."""
    critic_learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Adam's step size for the critics."""
    temperature: Annotated[float, POSITIVE] = 1.0
    """Alpha, the weight of the entropy, at the start."""
    tune_temperature: bool = True
    """Alpha is tuned until the policy's entropy is `target_entropy`; otherwise it stays."""
    temperature_learning_rate: Annotated[float, POSITIVE] = 3e-4
    """Adam's step size for log alpha."""
    target_entropy: Annotated[float | None, FINITE] = None
    """In nats; by default minus the number of action components."""


class Sac(OffPolicyLearner):
    """SAC's networks and its update. The policy gives mu [B, C] and log sigma [B, C], one after the other."""

    figures: ClassVar[tuple[str, ...]] = (*CRITICS, "entropy", "temperature", "policy_std")
    policy: Towers | Actors

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: SacOptions,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
    ):
        from asyncrl.heads.networks.towers import Towers

        super().__init__(options, seed, place)
        generator = np.random.default_rng([seed, 0x5AC])
        self.target_entropy = -float(action_size) if options.target_entropy is None else options.target_entropy
        self.policy = self.new_policy((observation_size, action_size), hidden, generator)
        self.critics = Towers(observation_size + action_size, hidden, 1, 2, generator, self.place)
        self.counts = np.zeros(1, np.int64)
        self._newest_log_std: torch.Tensor  # [.., C], of the actions that were drawn last; for the log
        self.temperature = np.array([math.log(options.temperature), 0.0, 0.0])  # log alpha, and Adam's mean and square
        policy = self.policy.kept("policy")
        del policy["policy_target"]
        self.kept = {**policy, **self.critics.kept("critics"), "temperature": self.temperature, "counts": self.counts}

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Towers | Actors:
        """The policy's networks for sizes (observation, action)."""
        from asyncrl.heads.networks.towers import Towers

        return Towers(sizes[0], hidden, 2 * sizes[1], 1, generator, self.place)

    @property
    def alpha(self) -> float:
        """The temperature."""
        return math.exp(self.temperature[0])

    def sample(self, observation: torch.Tensor, stream: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(action [B, C], log pi [B, 1]), through which gradients flow; noise number `stream` of the present update."""
        return self.drawn(self.policy.run(observation)[0], stream)

    def drawn(self, outputs: torch.Tensor, stream: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(action [.., C], log pi [.., 1]) of a policy's outputs [.., 2 C]; noise number `stream` of the present update."""
        from asyncrl.heads.networks.towers import noise

        mean, log_std = outputs.chunk(2, -1)
        log_std = log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH)
        self._newest_log_std = log_std.detach()
        normal = noise(self.seed, int(self.counts[0]), stream, tuple(mean.shape), self.place)
        return squashed(mean, log_std, normal)

    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return self.policy.run(observation)[0].chunk(2, 1)[0].tanh()

    def target(self, reward: torch.Tensor, discount: torch.Tensor, next_observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            action, log_prob = self.sample(next_observation, 0)
            values = torch.cat(self.critics.run_targets(torch.cat([next_observation, action], 1)), 1)
            soft = values.amin(1, keepdim=True).sub_(log_prob, alpha=self.alpha)
            return torch.addcmul(reward[:, None], discount[:, None], soft)

    def improve(self, observation: torch.Tensor) -> dict[str, float]:
        """At every update: a step of the policy and of the temperature; the critics' targets follow."""
        figures = self._improve_policy(observation)
        self.critics.follow(self.options.tau)
        return figures

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(log pi [B, 1] of an action that is drawn at observation [B, D], the loss [] that the policy descends)."""
        import torch

        action, log_prob = self.sample(observation, 1)
        values = torch.cat(self.critics.run(torch.cat([observation, action], 1)), 1)
        return log_prob, (self.alpha * log_prob - values.amin(1, keepdim=True)).mean()

    def _improve_policy(self, observation: torch.Tensor) -> dict[str, float]:
        o, alpha = self.options, self.alpha
        log_prob, loss = self.descent(observation)
        length = self.policy.step(loss, o.policy_learning_rate, int(self.counts[0]), o.max_gradient_norm)
        entropy = -log_prob.mean().item()
        if o.tune_temperature and math.isfinite(entropy):
            self._tune(self.target_entropy - entropy)
        figures = {"policy_loss": loss.item(), "policy_gradient_norm": length, "entropy": entropy, "temperature": alpha}
        return {**figures, "policy_std": self._newest_log_std.exp().mean().item()}

    def _tune(self, shortage: float) -> None:
        """One Adam step on log alpha, whose derivative is the entropy less its target."""
        t, count, slope = self.temperature, int(self.counts[0]), -shortage
        t[1] = 0.9 * t[1] + 0.1 * slope
        t[2] = 0.999 * t[2] + 0.001 * slope**2
        mean, square = t[1] / (1 - 0.9**count), t[2] / (1 - 0.999**count)
        log_alpha = t[0] - self.options.temperature_learning_rate * mean / (math.sqrt(square) + 1e-8)
        t[0] = min(max(log_alpha, -LOG_ALPHA_LARGEST), LOG_ALPHA_LARGEST)


def squashed(mean: torch.Tensor, log_std: torch.Tensor, normal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(tanh(u) [.., C], its log-probability [.., 1]) for u = mean + exp(log_std) * normal.

    log(1 - tanh(u)^2) is written 2 (log 2 - u - softplus(-2 u)), which is exact for large |u|.
    """
    from torch.nn.functional import softplus

    u = mean + log_std.exp() * normal
    log_normal = -0.5 * normal.square() - log_std - 0.5 * math.log(2.0 * math.pi)
    correction = 2.0 * (math.log(2.0) - u - softplus(-2.0 * u))
    return u.tanh(), (log_normal - correction).sum(-1, keepdim=True)


SacUpdater = ReplayUpdater.of(Sac)
