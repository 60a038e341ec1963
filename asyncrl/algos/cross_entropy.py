"""TD3's critics without an actor: head `cross-entropy` of td3 (QT-Opt, Kalashnikov and others 2018, arXiv 1806.10293, with twin critics).

    a' = the best of the samples that the cross-entropy method finds for Q1'(s', .), as `asyncrl.heads.cross_entropy` says;
         of a Discrete space the item that is nearest to it
    y and critics as `asyncrl.algos.proposing` says; targets follow at every `policy_delay`-th update

QT-Opt has targets of its own (two lagged copies, of which it takes the smaller value); here they are TD3's, so that what differs between
heads is how an action is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from asyncrl.algos.proposing import CHOICE, ProposingLearner, picked, scores
from asyncrl.heads.cross_entropy import LEAST_DEVIATION, CrossEntropyOptions
from asyncrl.heads.keyed_numbers import normal_at
from asyncrl.learners.replays import VALUES, ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.towers import Towers


class CrossEntropy(ProposingLearner):
    """The critics and their update. Of its counts the first are updates, the second those after which the targets followed."""

    figures: ClassVar[tuple[str, ...]] = (*VALUES, *CHOICE)
    chosen_type = CrossEntropyOptions

    def add_networks(self, sizes: tuple[int, int], hidden: tuple[int, ...]) -> None:
        self._shape = (self.chosen.iterations, self.chosen.samples, 1, sizes[1])
        same = [normal_at(0, i) for i in range(self.chosen.iterations * self.chosen.samples * sizes[1])]
        self._same = np.array(same, np.float32).reshape(self._shape)  # of every evaluation

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Towers:
        """What the head's network is, which nobody learns."""
        from asyncrl.heads.networks.towers import Towers

        return Towers(sizes[0], (), sizes[1], 1, generator, self.place)

    def candidates(self, observation: torch.Tensor, following: bool) -> torch.Tensor:
        """The samples [N, B, C] of the last iteration; of items the features [1, B, C] of the one nearest to the best of them."""
        from asyncrl.heads.networks.towers import noise

        iterations, samples, _, components = self._shape
        layers = self.chooser() if following else self.critics.layers[0]
        normal = self.place.tensor(self._same)
        if following:
            shape = (iterations, samples, len(observation), components)
            normal = noise(self.seed, int(self.counts[0]), 1, shape, self.place)
        drawn = self._sought(layers, observation, normal)
        if self.items is None:
            return drawn
        best = picked(drawn, scores(layers, observation, drawn).argmax(0))
        return self.landed((self.smoothed(best) if following else best)[None])

    def proposals(self, observation: torch.Tensor) -> torch.Tensor:
        """What is found [1, B, C] at observation [B, D]: nobody proposes, and samples mean nothing one by one."""
        return self.greedy(observation)[None]

    def _sought(self, layers: list[tuple[torch.Tensor, torch.Tensor]], observation: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
        """The samples [N, B, C] of the last iteration at observation [B, D], from normal [iterations, N, B or 1, C]."""
        mean, deviation = 0.0 * normal[0, 0], 1.0 + 0.0 * normal[0, 0]
        for number in normal[:-1]:
            drawn = (mean + deviation * number).clamp(-1.0, 1.0).expand(-1, len(observation), -1)
            elite = scores(layers, observation, drawn).topk(self.chosen.elites, 0).indices
            taken = drawn.gather(0, elite[..., None].expand(-1, -1, drawn.shape[2]))
            mean, deviation = taken.mean(0), taken.std(0, correction=0).clamp(min=LEAST_DEVIATION)
        return (mean + deviation * normal[-1]).clamp(-1.0, 1.0).expand(-1, len(observation), -1)

    def improve(self, observation: torch.Tensor) -> dict[str, float]:
        """At every `policy_delay`-th update the targets follow; observation [B, D] is not needed."""
        if self.counts[0] % self.options.policy_delay == 0:
            self.counts[1] += 1
            self.critics.follow(self.options.tau)
        return self.choice


CrossEntropyUpdater = ReplayUpdater.of(CrossEntropy)
