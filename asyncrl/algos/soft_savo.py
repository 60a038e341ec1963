"""SAVO on SAC, "SAC+SAVO" of the paper's preliminary version (seed 002, arXiv 2410.11833): head `savo` of sac, for Box actions.

    pi_i(. | s; m_0 .. m_(i-1))  is SAC's policy, tanh of a normal; m_i, tanh of its mean, is what the actors after it are told
    j*(s) = the argmax over i of Q1'(s, m_i)                                there is no target policy, as in SAC
    y     = r + discount * (min(Q1', Q2')(s', a') - alpha log pi_j*(a' | s')),   a' ~ pi_j*(. | s')
    critics as in SAC, surrogates Psi_i as in `asyncrl.algos.savo`: at the stored m_i and the executed action, which was drawn
    actors descend, at every update, the mean of  sum over i of  alpha log pi_i(a_i | s) - Psi_i(s, a_i; m_0 .. m_(i-1)),  a_i ~ pi_i,
            each only through its own a_i; Psi_0 is min(Q1, Q2), as in SAC
    log alpha descends as in SAC, where log pi is that of the actor of whose m_i Q1 says most: of the one that acts

With one actor it is SAC to the bit, but for gradients: each kind of network has a norm of at most 1, as under td3, unless
max_gradient_norm says otherwise (sac alone has no limit).

The authors' program has this in options alone, without a paper on its details; what is taken of them: candidates are means, surrogates
are fitted to Q (the program can score Q - alpha log pi). Options that choose otherwise mean what they mean under td3, but:
    target_choice=online      Q1 picks in y
    surrogate_points=fresh    at the present m_i, and at an action of the one that Q1 picks
    surrogates=exact          Psi_i(s, a) is max(min(Q1, Q2)(s, a), max over j < i of min(Q1, Q2)(s, m_j)); none: min(Q1, Q2)
    explore_on, catalogue     are refused: the action is drawn, noise of --explore is added to it alone, and there are no items
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from asyncrl.algos.proposing import CHOICE, picked, scores
from asyncrl.algos.sac import Sac, SacOptions
from asyncrl.algos.surrogates import FITTED, SurrogateLearner
from asyncrl.heads.savo import SavoOptions
from asyncrl.learners.off_policy import HIDDEN
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.head import Head
    from asyncrl.heads.networks.cascades import Actors
    from asyncrl.heads.networks.devices import Place


class SoftSavo(SurrogateLearner, Sac):
    """Its networks and its update. An actor gives mean [B, C] before tanh and log deviation [B, C], one after the other."""

    figures: ClassVar[tuple[str, ...]] = (*Sac.figures, *CHOICE, *FITTED)
    usual: ClassVar[Mapping[str, float]] = {"max_gradient_norm": 1.0}
    policy: Actors

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: SacOptions,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
        *,
        chosen: SavoOptions | None = None,
    ):
        """`chosen`: the head's options, or None for its defaults."""
        self.chosen, self.items = chosen or SavoOptions(), None
        super().__init__(observation_size, action_size, options, seed, hidden, place)
        self.add_networks((observation_size, action_size), hidden)

    @classmethod
    def under(cls, head: Head, observation_size: int, options: Any, seed: int, hidden: tuple[int, ...]) -> Self:
        return cls(observation_size, head.components, options, seed, hidden, chosen=head.chosen_options)

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Actors:
        from asyncrl.heads.networks.cascades import Actors

        return Actors(self.chosen.cell(sizes, sizes[0], hidden, 2 * sizes[1]), self.chosen.n_actors, generator, self.place)

    def proposals(self, observation: torch.Tensor) -> torch.Tensor:
        return means(self.policy.run_outputs(observation))

    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return self.best(observation, self.proposals(observation))

    def sample(self, observation: torch.Tensor, stream: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the actor that the target's chooser picks."""
        outputs = self.policy.run_outputs(observation)
        return self.drawn(picked(outputs, self.chosen_for_target(observation, means(outputs))), stream)

    def executed(self, observation: torch.Tensor, landed: torch.Tensor) -> torch.Tensor:
        outputs = self.policy.run_outputs(observation)
        return self.drawn(picked(outputs, scores(self.critics.layers[0], observation, landed).argmax(0)), 2)[0]

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(log pi [B, 1] of the actor that would act at observation [B, D], the loss [] of all of them)."""
        import torch

        outputs = self.policy.run_outputs(observation)
        proposals = means(outputs.detach())
        actions, log_probs = self.drawn(outputs, 1)
        loss = (self.alpha * log_probs[..., 0] - self._ascended(observation, actions, proposals)).mean(1).sum()
        with torch.no_grad():
            best = scores(self.critics.layers[0], observation, proposals).argmax(0)
            return picked(log_probs, best), loss

    def _ascended(self, observation: torch.Tensor, actions: torch.Tensor, proposals: torch.Tensor) -> torch.Tensor:
        """Psi_i [K, B] of actions[K, B, C] at observation[B, D]; proposals[K, B, C]: all m_i."""
        import torch

        kind = self.chosen.surrogates
        soft = self.least(observation, actions[:1] if kind == "fitted" else actions, self.critics.run)
        if kind == "fitted" and self.surrogates is not None:
            return torch.cat([soft, self.surrogate_values(observation, actions[1:], proposals)])
        if kind != "exact" or len(actions) == 1:
            return soft
        with torch.no_grad():
            before = self.least(observation, proposals[:-1], self.critics.run).cummax(0).values
        return torch.cat([soft[:1], torch.maximum(soft[1:], before)])


def means(outputs: torch.Tensor) -> torch.Tensor:
    """What actors with outputs [K, B, 2 C] propose [K, B, C]: tanh of their means."""
    return outputs.chunk(2, -1)[0].tanh()


SoftSavoUpdater = ReplayUpdater.of(SoftSavo)
