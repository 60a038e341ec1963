"""Wolpertinger on TD3 (Dulac-Arnold and others 2015, arXiv 1512.07679, there on DDPG): head `wolpertinger` of td3.

    candidates of the target are those of `asyncrl.heads.wolpertinger` at pi'(s'); y and critics as `asyncrl.algos.proposing` says
    Box        pi ascends Q1(s, pi(s)), at every `policy_delay`-th update; then all targets follow
    Discrete   critics know items alone, so pi ascends a value of points, Psi(s, pi(s)); Psi descends the mean of
               (Psi(s, x) - max over the K items nearest to x of min(Q1', Q2')(s, item))^2  at the points x that were proposed

The paper's pi ascends Q at the point itself, between the items that Q was taught. Psi is the "dual critic" of SAVO's research code, with
which seed 002 compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from asyncrl.algos.proposing import ProposingLearner
from asyncrl.heads.keyed_numbers import normal_at
from asyncrl.heads.proposing.head import FOUND, PROPOSALS
from asyncrl.heads.wolpertinger import WolpertingerOptions
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.towers import Towers
    from asyncrl.replays.records import Batch

POINTS = 0x3017
"""What a stream of random numbers is for, part of its key: the start of Psi."""


class Wolpertinger(ProposingLearner):
    """Its networks and its update. Of its counts the first are updates, the second those of the policy."""

    figures: ClassVar[tuple[str, ...]] = (*ProposingLearner.figures, "point_loss", "point_gradient_norm")
    chosen_type = WolpertingerOptions
    policy: Towers

    def add_networks(self, sizes: tuple[int, int], hidden: tuple[int, ...]) -> None:
        from asyncrl.heads.networks.towers import Towers

        self.points: Towers | None = None
        if self.items is not None:
            self.points = Towers(sum(sizes), hidden, 1, 1, np.random.default_rng([self.seed, POINTS]), self.place)
            self.keep("points", self.points)
        others = (self.chosen.candidates - 1) * sizes[1]
        self._same = np.array([normal_at(0, i) for i in range(others)], np.float32).reshape(-1, 1, sizes[1])  # of every evaluation

    def candidates(self, observation: torch.Tensor, following: bool) -> torch.Tensor:
        import torch

        from asyncrl.heads.networks.towers import noise

        own = (self.policy.run_targets if following else self.policy.run)(observation)[0].tanh()
        if self.items is not None:
            found = self.items.several(self.smoothed(own) if following else own, self.chosen.candidates)
            return self.items.features[found].transpose(0, 1)
        shape = (self.chosen.candidates - 1, *own.shape)
        normal = noise(self.seed, int(self.counts[0]), 1, shape, self.place) if following else self.place.tensor(self._same)
        return torch.cat([own[None], (own + self.chosen.spread * normal).clamp_(-1.0, 1.0)])

    def fit(self, observation: torch.Tensor, action: torch.Tensor, batch: Batch) -> dict[str, float]:
        """Of items: the step of Psi, at observation [B, D] and the points that were proposed."""
        import torch

        if self.points is None or self.items is None:
            return self.choice
        o = self.options
        points = self.place.tensor(batch.extras[PROPOSALS])[:, 0]
        with torch.no_grad():
            found = self.items.features[self.place.tensor(batch.extras[FOUND]).long().T]
            wanted = self.least(observation, found, self.critics.run_targets).amax(0)
        squares = (self.points.run(torch.cat([observation, points], 1))[0][:, 0] - wanted).square()
        loss = (squares * self.place.tensor(batch.weight) if o.priority_alpha > 0 else squares).mean()
        length = self.points.step(loss, o.critic_learning_rate, int(self.counts[0]), o.max_gradient_norm)
        return {**self.choice, "point_loss": loss.item(), "point_gradient_norm": length}

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        if self.points is None:
            return super().descent(observation)
        action = self.policy.run(observation)[0].tanh()
        return action, -self.points.run(torch.cat([observation, action], 1))[0].mean()


WolpertingerUpdater = ReplayUpdater.of(Wolpertinger)
