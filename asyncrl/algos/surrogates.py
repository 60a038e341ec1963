"""What SAVO's learners share, under td3 (`asyncrl.algos.savo`) and sac (`asyncrl.algos.soft_savo`): surrogates of the critic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from asyncrl.algos.proposing import MaximisingLearner
from asyncrl.heads.proposing.head import FOUND, PROPOSALS
from asyncrl.heads.savo import SavoOptions

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.cascades import Surrogates
    from asyncrl.replays.records import Batch

SURROGATES = 0x5A70
"""What a stream of random numbers is for, part of its key: the start of the surrogates."""
FITTED = ("surrogate_loss", "surrogate_gradient_norm")
"""Figures of the surrogates' step."""


class SurrogateLearner(MaximisingLearner):
    """A maximiser with surrogates, which are fitted after each step of the critics.

    chosen       the head's options
    surrogates   None where there is no actor for whom one is needed
    """

    chosen: SavoOptions
    surrogates: Surrogates | None

    def values(self, observation: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """At observation [1, D] of action [n, C]: Q [n], and of each surrogate `psi_i` [n], told what the actors before it propose."""
        import torch

        found = super().values(observation, action)
        if self.surrogates is None:
            return found
        with torch.no_grad():
            points = action[None, :, None].expand(self.surrogates.count, -1, -1, -1)
            values = self.surrogates.run(observation, points, self.proposals(observation)[:-1])[..., 0]
        first = 1 if self.items is None else 0  # of items the first actor has a surrogate too
        return {**found, **{f"psi_{i}": one for i, one in enumerate(values, start=first)}}

    def chooser(self) -> Any:
        return self.critics.layers[0] if self.chosen.target_choice == "online" else super().chooser()

    def executed(self, observation: torch.Tensor, landed: torch.Tensor) -> torch.Tensor:
        """What would be done at observation [B, D], where the critic picks among landed[K, B, C]: [B, C]."""
        return self.best(observation, landed)

    def add_networks(self, sizes: tuple[int, int], hidden: tuple[int, ...]) -> None:
        """The surrogates."""
        from asyncrl.heads.networks.cascades import Surrogates

        self.surrogates, alone = None, self.items is not None
        told = self.chosen.n_actors - 1 if self.chosen.surrogates == "fitted" else 0
        if told or alone:
            cell = self.chosen.cell(sizes, sum(sizes), hidden, 1)
            self.surrogates = Surrogates(cell, told, np.random.default_rng([self.seed, SURROGATES]), self.place, alone=alone)
            self.keep("surrogates", self.surrogates)

    def fit(self, observation: torch.Tensor, action: torch.Tensor, batch: Batch) -> dict[str, float]:
        """The surrogates' step at observation [B, D] and action [B, C], towards values raised to those of earlier proposals."""
        import torch

        if self.surrogates is None:
            return self.choice
        o = self.options
        with torch.no_grad():
            proposals, landed, action = self._points(observation, action, batch)
            wanted = self._raised(observation, landed, action)
        fitted = slice(1, None) if self.items is None else slice(self.surrogates.count)  # of the proposals
        own = proposals[fitted]
        points = torch.stack([own, action.expand_as(own)], 1)
        squares = (self.surrogates.run(observation, points, proposals[:-1]) - wanted[fitted]).square()
        loss = (squares * self.place.tensor(batch.weight) if o.priority_alpha > 0 else squares).mean()
        length = self.surrogates.step(loss, o.critic_learning_rate, int(self.counts[0]), o.max_gradient_norm)
        return {**self.choice, "surrogate_loss": loss.item(), "surrogate_gradient_norm": length}

    def _points(self, observation: torch.Tensor, action: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(proposals [K, B, C], what critics are asked about them [K, B, C], the action [B, C]): where surrogates are fitted."""
        if self.chosen.surrogate_points == "fresh":
            proposals = self.proposals(observation)
            landed = self.landed(proposals)
            return proposals, landed, self.executed(observation, landed)
        proposals = self.place.tensor(batch.extras[PROPOSALS]).transpose(0, 1)
        if self.items is None:
            return proposals, proposals, action
        return proposals, self.items.features[self.place.tensor(batch.extras[FOUND]).long().T], action

    def _raised(self, observation: torch.Tensor, landed: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """What surrogate i is drawn to [K, 2, B]: max(tau_i, m) of its own proposal landed[i], and of action [B, C]; landed: [K, B, C].

        An executed action that is one of these, as it is without noise of its own, has that one's value.
        """
        import torch

        run = self.critics.run if self.chosen.surrogate_values == "online" else self.critics.run_targets
        values = self.least(observation, landed, run)
        same = (landed == action).all(-1)
        if bool(same.any(0).all()):
            executed = values.gather(0, same.float().argmax(0)[None])
        else:
            executed = self.least(observation, action[None], run)
        highest = values.cummax(0).values
        before = torch.cat([torch.full_like(highest[:1], -torch.inf), highest[:-1]])
        return torch.stack([highest, torch.maximum(before, executed)], 1)

    def surrogate_values(self, observation: torch.Tensor, actions: torch.Tensor, proposals: torch.Tensor) -> torch.Tensor:
        """Each surrogate's values [m, B] of actions[m, B, C] at observation[B, D], told proposals[K, B, C] without slopes."""
        assert self.surrogates is not None
        return self.surrogates.run(observation, actions[:, None], proposals[:-1].detach())[:, 0]
