"""Greedy-AC and Greedy-TD3 on TD3's critics (Neumann and others 2023, "Greedy Actor-Critic", arXiv 1810.09103): head `greedy` of td3.

The policy ascends no gradient of the critic. It is drawn to the best of the actions that a second, broader policy proposes, which is
drawn to the same actions more slowly, since its entropy counts: the cross-entropy method, conditioned on states.

    pi, p    the policy and the proposal policy: normal, mean tanh(.), deviation given for each state; A+ as follows
    A+(s)    of `samples` actions drawn from p at s and clipped to [-1, 1], the `greedy_share` of which Q1(s, .) is highest
    pi descends   - mean over s and A+(s) of log pi(a | s)
    p  descends   - mean over s and A+(s) of log p(a | s) - entropy_scale * mean over s of H(p(. | s))
    y = r + discount * min(Q1', Q2')(s', a')
        behaviour=policy    a' = pi's mean at s'                            Greedy-AC
        behaviour=noise     a' = TD3's: the mean of the copy that follows, smoothed      Greedy-TD3

Critics, targets, `policy_delay` and Adam are TD3's. log pi(a | s) is the sum over components, of the normal density, also where a was
clipped. The gradient of H is that of - sg(log p(a | s)) log p(a | s) at one fresh action a ~ p, before clipping; sg: no gradient.

Upstream is the authors' program (samuelfneumann/GreedyAC), and the program that of SAVO's authors, which has both rivals. Where they
and the paper disagree, this is what is taken:
    the entropy              acts, as in the paper. Upstream and the program square log p where no gradient is recorded, so that their
                             bonus changes the loss's value alone
    one component            as any other number of them. Upstream forgets an axis there, and its shapes broadcast wrongly
    a' of Greedy-AC          pi's mean, as in the program; upstream draws it: target_action=drawn. Neither has a copy of pi that
                             follows; nor is there smoothing, but for who names td3's target_noise
    a' of Greedy-TD3         TD3's; the program asks pi itself, without a copy that follows
    critics                  two, and the smaller in y, as in the program; upstream has one
    delay of the policies    td3's policy_delay, 2, as in the program; the paper has none
    gradients                of each network within a norm of 1, as in the program: td3's max_gradient_norm
    start                    p begins equal to pi, as in both programs
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from asyncrl.algos.proposing import scores
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.heads.greedy import LOG_STD, GreedyOptions
from asyncrl.learners.off_policy import HIDDEN
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.head import Head
    from asyncrl.heads.networks.devices import Place
    from asyncrl.heads.networks.towers import Towers

ROWS = 1024
"""Rows of which the critic is asked at once: the units of so many stay in a core's cache, which takes about half the time."""


class Greedy(Td3):
    """The two policies, TD3's critics, and their update. Of its counts the first are updates, the second those of the policies."""

    figures: ClassVar[tuple[str, ...]] = (*Td3.figures, "proposal_loss", "proposal_gradient_norm", "policy_std", "proposal_std")
    usual: ClassVar[Mapping[str, float]] = {**Td3.usual, "max_gradient_norm": 1.0}
    policy: Towers

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: Td3Options,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
        chosen: GreedyOptions = GreedyOptions(),  # noqa: B008 - it cannot be changed
    ):
        """`chosen`: the head's options."""
        self.chosen = chosen
        if options.target_noise is None and chosen.behaviour == "policy":
            options = replace(options, target_noise=0.0)
        super().__init__(observation_size, action_size, options, seed, hidden, place)
        self.proposal = self.new_policy((observation_size, action_size), hidden, np.random.default_rng(0))
        self.proposal.numbers.tensors[0].copy_(self.policy.numbers.tensors[0])
        kept = self.proposal.kept("proposal")
        del kept["proposal_target"]
        self.kept = {**self.kept, **kept}

    @classmethod
    def under(cls, head: Head, observation_size: int, options: Any, seed: int, hidden: tuple[int, ...]) -> Self:
        return cls(observation_size, head.components, options, seed, hidden, chosen=head.chosen_options)

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Towers:
        """A normal policy's network for sizes (observation, action): its outputs are as `log_density` takes them."""
        from asyncrl.heads.networks.towers import Towers

        return Towers(sizes[0], hidden, 2 * sizes[1], 1, generator, self.place)

    def following(self, next_observation: torch.Tensor) -> torch.Tensor:
        run = self.policy.run if self.chosen.behaviour == "policy" else self.policy.run_targets
        outputs = run(next_observation)[0]
        return normal(outputs)[0] if self.chosen.target_action == "mean" else self.drawn(outputs, 1, 3)[0].clamp_(-1.0, 1.0)

    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return normal(self.policy.run(observation)[0])[0]

    def improve_policy(self, observation: torch.Tensor) -> dict[str, float]:
        """A step of each policy at observation [B, D]. Returns figures to log."""
        o, count = self.options, int(self.counts[1])
        outputs, proposed = self.policy.run(observation)[0], self.proposal.run(observation)[0]
        best = self.best(observation, proposed.detach())
        loss = -log_density(outputs, best).mean()
        proposal_loss = -log_density(proposed, best).mean() - self.chosen.entropy_scale * self.entropy(proposed)
        figures = {
            "policy_loss": loss.item(),
            "policy_gradient_norm": self.policy.step(loss, o.policy_learning_rate, count, o.max_gradient_norm),
            "proposal_loss": proposal_loss.item(),
            "proposal_gradient_norm": self.proposal.step(proposal_loss, o.policy_learning_rate, count, o.max_gradient_norm),
        }
        (mean, log_std), (_, proposal_log_std) = normal(outputs.detach()), normal(proposed.detach())
        figures["saturated_actions"] = (mean.abs() > 0.99).float().mean().item()
        return {**figures, "policy_std": log_std.exp().mean().item(), "proposal_std": proposal_log_std.exp().mean().item()}

    def best(self, observation: torch.Tensor, proposed: torch.Tensor) -> torch.Tensor:
        """A+ [R, B, A], R of each state: of actions drawn at observation [B, D] from the proposal's outputs [B, 2 A], without gradients."""
        import torch

        with torch.no_grad():
            actions = self.drawn(proposed, self.chosen.samples, 1).clamp_(-1.0, 1.0)
            parts = actions.split(max(ROWS // len(observation), 1))
            values = torch.cat([scores(self.critics.layers[0], observation, part) for part in parts])
            places = values.topk(self.chosen.chosen, 0).indices
            return actions.gather(0, places[:, :, None].expand(-1, -1, actions.shape[2]))

    def drawn(self, outputs: torch.Tensor, count: int, stream: int) -> torch.Tensor:
        """Unclipped actions [count, B, A] of the normal policy with these outputs [B, 2 A]; noise number `stream` of the present update."""
        from asyncrl.heads.networks.towers import noise

        mean, log_std = normal(outputs)
        return noise(self.seed, int(self.counts[0]), stream, (count, *mean.shape), self.place).mul_(log_std.exp()).add_(mean)

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """What has the gradient of the entropy, the mean [] over states, by one fresh action of each; outputs [B, 2 A]."""
        log_prob = log_density(outputs, self.drawn(outputs.detach(), 1, 2))
        return -(log_prob.detach() * log_prob).mean()


def normal(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean [B, A], logarithm of the deviation [B, A]) of a normal policy whose network gives outputs [B, 2 A]."""
    mean, log_std = outputs.chunk(2, 1)
    return mean.tanh(), log_std.clamp(*LOG_STD)


def log_density(outputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """The logarithm [K, B] of the density of actions [K, B, A], over all their components, under outputs [B, 2 A]."""
    mean, log_std = normal(outputs)
    squares = ((actions - mean) * (-log_std).exp()).square()
    return -(0.5 * squares + log_std + 0.5 * math.log(2.0 * math.pi)).sum(2)


GreedyUpdater = ReplayUpdater.of(Greedy)
