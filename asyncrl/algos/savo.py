"""SAVO: successive actors for value optimisation, on TD3 (seed 002, arXiv 2410.11833): head `savo` of td3.

    P(s)  = a_0 .. a_(K-1),  a_i = nu_i(s; a_0 .. a_(i-1))                  K successive actors, each told what those before it propose
    y, critics    as `asyncrl.algos.proposing` says, with target actors' proposals
    m     = min(Q1', Q2'),   tau_i = max over j < i of m(s, b_j)            b_j: the proposals that were stored with the transition
    surrogates Psi_i, i >= 1, descend the mean over i and over the points x = b_i and x = a of
            (Psi_i(s, x; b_0 .. b_(i-1)) - max(tau_i, m(s, x)))^2
    actors descend, at every `policy_delay`-th update,  - mean of  Q1(s, a_0) + sum over i of Psi_i(s, a_i; a_0 .. a_(i-1)),
            each only through its own a_i; then the targets of critics and actors follow

Of a Discrete space proposals are points between the items, of which critics know nothing: m(s, x) is asked about the item nearest to x
there, a by its features, and there is a Psi_0, whose tau is minus infinity, in the place of Q1 (as in the authors' program).

A surrogate is a critic whose valleys below tau_i are filled: what is lower than a proposal that is there already has no slope, so an
actor is not held by an optimum that others have found. What an actor is told are actions as they are, without gradients.

Theorem 4.1 of the paper says that policy iteration with a maximiser converges to the optimal policy; appendix A proves, and theorem A.1
says, that it converges. `tests/test_savo.py` shows that values never fall on the way, and problems where the end is not the optimum.

Where the paper (v1) and its authors' program disagree, this is what is taken, and the option that takes the other:
    where surrogates are fitted     the program's: stored proposals, executed action; paper, Eq. 9: surrogate_points=fresh
    their values there              of the critics' targets, as in the program; surrogate_values=online
    target actors                   kept, as in the program and TD3; the paper lists targets of the critics alone
    the maximiser in y              asks Q1' (program savo); target_choice=online asks Q1, as its savo_refined
    target smoothing                none, as in the paper; the program has it in MuJoCo: td3's target_noise
    delay of the actors             td3's policy_delay, 2, as in the program; the paper has none
    gradients                       of each kind of network within a norm of 1, as in the program: td3's max_gradient_norm
    number of actors                n_actors counts all of them, as the program's list; the paper's k counts those after the first
Ablations and rivals are options too: told=nothing (without previous actions), told=input (without FiLM), target_noise (with action
smoothing), surrogates=exact (without approximation: an actor ascends max(Q1(s, a_i), max over j < i of Q1(s, a_j)); the program compares
with the actor before it alone), told=nothing surrogates=none (an ensemble, each of whose actors ascends Q1). Of items Psi_0 stands for
Q1 in these.

What concerns acting and the networks is told in `asyncrl.heads.savo`. The program's layer normalisation is left out, and its
orthogonal start: all networks begin as TD3's do, so that one actor is TD3 to the bit. The mean over i and both points is the paper's
sum over points up to a factor, which Adam does not see, but a limit on gradients does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from asyncrl.algos.proposing import ProposingLearner, scores
from asyncrl.algos.surrogates import FITTED, SurrogateLearner
from asyncrl.heads.savo import SavoOptions
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.cascades import Actors


class Savo(SurrogateLearner, ProposingLearner):
    """SAVO's networks and its update. Of its counts the first are updates, the second those of the actors."""

    figures: ClassVar[tuple[str, ...]] = (*ProposingLearner.figures, *FITTED)
    chosen_type = SavoOptions
    policy: Actors

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Actors:
        from asyncrl.heads.networks.cascades import Actors

        return Actors(self.chosen.cell(sizes, sizes[0], hidden, sizes[1]), self.chosen.n_actors, generator, self.place)

    def candidates(self, observation: torch.Tensor, following: bool) -> torch.Tensor:
        import torch

        if not following:
            return self.landed(self.proposals(observation))
        proposals = torch.stack(self.policy.run_targets(observation))
        return proposals if self.items is None else self.landed(self.smoothed(proposals))

    def proposals(self, observation: torch.Tensor) -> torch.Tensor:
        """The actors' [K, B, C] at observation [B, D], without noise; of items before they land on one."""
        import torch

        return torch.stack(self.policy.run(observation))

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the actors' proposals [K, B, C], the loss [] of all of them)."""
        proposals = self.proposals(observation)
        told = self.surrogates.count if self.surrogates is not None else 0
        if self.chosen.surrogates != "fitted":
            return proposals, -self._plain_ascent(observation, proposals)
        if self.items is None:
            value = scores(self.critics.layers[0], observation, proposals[:1]).mean()
            return proposals, -(value + self.surrogate_values(observation, proposals[1:], proposals).mean(1).sum() if told else value)
        return proposals, -self.surrogate_values(observation, proposals, proposals).mean(1).sum()

    def _plain_ascent(self, observation: torch.Tensor, proposals: torch.Tensor) -> torch.Tensor:
        """What actors ascend [] without surrogates of their own: the critic, or the larger of it and its value of an earlier proposal."""
        import torch

        if self.items is None:
            values = scores(self.critics.layers[0], observation, proposals)
        else:
            assert self.surrogates is not None
            rows = proposals.flatten(0, 1)[None, None]
            values = self.surrogates.run(observation.repeat(len(proposals), 1), rows, proposals[:0]).view(proposals.shape[:2])
        if self.chosen.surrogates == "exact":
            before = values.detach().cummax(0).values[:-1]
            values = torch.cat([values[:1], torch.maximum(values[1:], before)])
        return values.mean(1).sum()


SavoUpdater = ReplayUpdater.of(Savo)
