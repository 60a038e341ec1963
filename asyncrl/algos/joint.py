"""Joint actors on TD3: head `joint` of td3 (seed 002, section 5.2; the research code's `flair_joint`).

    P(s)  = x_0 .. x_(K-1), all by one network pi;  y and critics as `asyncrl.algos.proposing` says, with proposals of pi'
    joint critics J1, J2 of (s, all proposals) descend the mean of  sum over i of (J_i(s, b_0 .. b_(K-1)) - min(Q1', Q2')(s, a))^2
            at the proposals and the action that were stored
    pi ascends J1(s, P(s)), at every `policy_delay`-th update; then all targets follow
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from asyncrl.algos.proposing import ProposingLearner
from asyncrl.heads.joint import JointOptions
from asyncrl.heads.proposing.head import PROPOSALS
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.towers import Towers
    from asyncrl.replays.records import Batch

JOINT = 0x10147
"""What a stream of random numbers is for, part of its key: the start of the joint critics."""


class Joint(ProposingLearner):
    """Its networks and its update. Of its counts the first are updates, the second those of the policy."""

    figures: ClassVar[tuple[str, ...]] = (*ProposingLearner.figures, "joint_loss", "joint_gradient_norm")
    chosen_type = JointOptions
    policy: Towers

    def add_networks(self, sizes: tuple[int, int], hidden: tuple[int, ...]) -> None:
        from asyncrl.heads.networks.towers import Towers

        inputs = sizes[0] + self.chosen.n_actors * sizes[1]
        self.joint = Towers(inputs, hidden, 1, 2, np.random.default_rng([self.seed, JOINT]), self.place)
        self.keep("joint", self.joint)

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Towers:
        """With the outputs of all actors."""
        from asyncrl.heads.networks.towers import Towers

        return Towers(sizes[0], hidden, self.chosen.n_actors * sizes[1], 1, generator, self.place)

    def candidates(self, observation: torch.Tensor, following: bool) -> torch.Tensor:
        proposed = (self.policy.run_targets if following else self.policy.run)(observation)[0].tanh()
        slices = proposed.view(len(observation), self.chosen.n_actors, -1).transpose(0, 1)
        return self.landed(self.smoothed(slices.contiguous()) if following and self.items is not None else slices)

    def fit(self, observation: torch.Tensor, action: torch.Tensor, batch: Batch) -> dict[str, float]:
        """The joint critics' step at observation [B, D], the stored proposals and action [B, C]."""
        import torch

        o = self.options
        with torch.no_grad():
            wanted = self.least(observation, action[None], self.critics.run_targets)[0]
        pair = torch.cat([observation, self.place.tensor(batch.extras[PROPOSALS]).flatten(1)], 1)
        squares = (torch.cat(self.joint.run(pair), 1) - wanted[:, None]).square().sum(1)
        loss = (squares * self.place.tensor(batch.weight) if o.priority_alpha > 0 else squares).mean()
        length = self.joint.step(loss, o.critic_learning_rate, int(self.counts[0]), o.max_gradient_norm)
        return {**self.choice, "joint_loss": loss.item(), "joint_gradient_norm": length}

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from asyncrl.heads.networks.towers import forward

        proposed = self.policy.run(observation)[0].tanh()
        return proposed, -forward(self.joint.layers[0], torch.cat([observation, proposed], 1)).mean()


JointUpdater = ReplayUpdater.of(Joint)
