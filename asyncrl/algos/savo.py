"""SAVO: successive actors for value optimisation, on TD3 (seed 002, arXiv 2410.11833), for continuous actions: head `savo` of td3.

    P(s)  = a_0 .. a_(K-1),  a_i = nu_i(s; a_0 .. a_(i-1))                  K successive actors, each told what those before it propose
    y     = r + discount * min(Q1', Q2')(s', a'),   a' = argmax of Q1'(s', .) over P'(s')               the maximiser over proposals
    critics descend the mean of (Q1 - y)^2 + (Q2 - y)^2 at the executed action a
    m     = min(Q1', Q2'),   tau_i = max over j < i of m(s, b_j)            b_j: the proposals that were stored with the transition
    surrogates Psi_i, i >= 1, descend the mean over i and over the points x = b_i and x = a of
            (Psi_i(s, x; b_0 .. b_(i-1)) - max(tau_i, m(s, x)))^2
    actors descend, at every `policy_delay`-th update,  - mean of  Q1(s, a_0) + sum over i of Psi_i(s, a_i; a_0 .. a_(i-1)),
            each only through its own a_i; then the targets of critics and actors follow

A surrogate is a critic whose valleys below tau_i are filled: what is lower than a proposal that is there already has no slope, so an
actor is not held by an optimum that others have found. What an actor is told are actions as they are, without gradients.

Where the paper (v1) and its authors' program disagree, this is what is taken, and the option that takes the other:
    where surrogates are fitted     the program's: stored proposals, executed action; paper, Eq. 9: surrogate_points=fresh
    their values there              of the critics' targets, as in the program; surrogate_values=online
    target actors                   kept, as in the program and TD3; the paper lists targets of the critics alone
    the maximiser in y              asks Q1' (program savo); target_choice=online asks Q1, as its savo_refined
    target smoothing                none, as in the paper; the program has it in MuJoCo: td3's target_noise
    delay of the actors             td3's policy_delay, 2, as in the program; the paper has none
    gradients                       of each kind of network within a norm of 1, as in the program: td3's max_gradient_norm
    number of actors                n_actors counts all of them, as the program's list; the paper's k counts those after the first
What concerns acting and the networks is told in `asyncrl.heads.savo`. The program's layer normalisation is left out, and its
orthogonal start: all networks begin as TD3's do, so that one actor is TD3 to the bit. The mean over i and both points is the paper's
sum over points up to a factor, which Adam does not see, but a limit on gradients does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.heads.savo import PROPOSALS, SavoOptions
from asyncrl.learners.off_policy import HIDDEN
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.networks.cascades import Actors
    from asyncrl.heads.networks.devices import Place
    from asyncrl.replay.records import Batch

SURROGATES = 0x5A70
"""What a stream of random numbers is for, part of its key: the start of the surrogates."""


class Savo(Td3):
    """SAVO's networks and its update. Of its counts the first are updates, the second those of the actors."""

    figures: ClassVar[tuple[str, ...]] = (*Td3.figures, "surrogate_loss", "surrogate_gradient_norm", "choice_gain", "first_chosen")
    usual: ClassVar[Mapping[str, float]] = {"max_gradient_norm": 1.0, "target_noise": 0.0}
    policy: Actors

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: Td3Options,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
        chosen: SavoOptions = SavoOptions(),  # noqa: B008 - it cannot be changed
    ):
        """`chosen`: the head's options."""
        from asyncrl.heads.networks.cascades import Surrogates

        self.chosen = chosen
        super().__init__(observation_size, action_size, options, seed, hidden, place)
        self.surrogates: Surrogates | None = None  # of one actor there are none
        if chosen.n_actors > 1:
            sizes = chosen.cell((observation_size, action_size), observation_size + action_size, hidden, 1)
            self.surrogates = Surrogates(sizes, chosen.n_actors - 1, np.random.default_rng([seed, SURROGATES]), self.place)
            kept = self.surrogates.kept("surrogates")
            del kept["surrogates_target"]
            self.kept = {**self.kept, **kept}

    @classmethod
    def under(cls, sizes: tuple[int, int], options: Any, seed: int, hidden: tuple[int, ...], chosen: Any) -> Self:
        return cls(*sizes, options, seed, hidden, chosen=chosen)

    def new_policy(self, sizes: tuple[int, int], hidden: tuple[int, ...], generator: np.random.Generator) -> Actors:
        from asyncrl.heads.networks.cascades import Actors

        return Actors(self.chosen.cell(sizes, sizes[0], hidden, sizes[1]), self.chosen.n_actors, generator, self.place)

    def target(self, reward: torch.Tensor, discount: torch.Tensor, next_observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            proposals = torch.stack(self.policy.run_targets(next_observation))
            values = self._scores(next_observation, proposals, self.chosen.target_choice)
            best = values.argmax(0)
            self._choice = {
                "choice_gain": (values.amax(0) - values[0]).mean().item(),
                "first_chosen": (best == 0).float().mean().item(),
            }
            action = self.smoothed(_picked(proposals, best))
            least = self._least(next_observation, action[None], self.critics.run_targets)
            return torch.addcmul(reward[:, None], discount[:, None], least[0, :, None])

    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            proposals = self.proposals(observation)
            return _picked(proposals, self._scores(observation, proposals, "online").argmax(0))

    def proposals(self, observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return torch.stack(self.policy.run(observation))

    def values(self, observation: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """At observation [1, D] of action [n, C]: Q [n], and of each surrogate `psi_i` [n], told what the actors before it propose."""
        import torch

        found = super().values(observation, action)
        if self.surrogates is None:
            return found
        with torch.no_grad():
            told = self.proposals(observation)[:-1]
            points = action[None, :, None].expand(len(told), -1, -1, -1)
            values = self.surrogates.run(observation, points, told)[..., 0]
        return {**found, **{f"psi_{i}": one for i, one in enumerate(values, start=1)}}

    def _scores(self, observation: torch.Tensor, proposals: torch.Tensor, which: str) -> torch.Tensor:
        """What a maximiser goes by: the values [K, B] of proposals[K, B, A] by the first critic, the `online` one or the `target`."""
        from asyncrl.heads.networks.towers import forward

        layers = self.critics.layers if which == "online" else self.critics.target_layers
        return forward(layers[0], _pairs(observation, proposals)).view(proposals.shape[:2])

    def _least(self, observation: torch.Tensor, actions: torch.Tensor, run: Any) -> torch.Tensor:
        """The smaller of the two critics' values [K, B] of actions[K, B, A]; `run`: of the critics, or of their targets."""
        import torch

        return torch.minimum(*run(_pairs(observation, actions))).view(actions.shape[:2])

    def fit(self, observation: torch.Tensor, action: torch.Tensor, batch: Batch) -> dict[str, float]:
        """The surrogates' step at observation [B, D] and action [B, C], towards values raised to those of earlier proposals."""
        import torch

        if self.surrogates is None:
            return self._choice
        o = self.options
        with torch.no_grad():
            proposals = self.place.tensor(batch.extras[PROPOSALS]).transpose(0, 1)
            if self.chosen.surrogate_points == "fresh":
                proposals = torch.stack(self.policy.run(observation))
                action = _picked(proposals, self._scores(observation, proposals, "online").argmax(0))
            wanted = self._raised(observation, proposals, action)
        points = torch.stack([proposals[1:], action.expand_as(proposals[1:])], 1)
        squares = (self.surrogates.run(observation, points, proposals[:-1]) - wanted).square()
        loss = (squares * self.place.tensor(batch.weight) if o.priority_alpha > 0 else squares).mean()
        length = self.surrogates.step(loss, o.critic_learning_rate, int(self.counts[0]), o.max_gradient_norm)
        return {**self._choice, "surrogate_loss": loss.item(), "surrogate_gradient_norm": length}

    def _raised(self, observation: torch.Tensor, proposals: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """What surrogate i is drawn to [K-1, 2, B]: max(tau_i, m) at its own proposal, and at action [B, A]; proposals: [K, B, A].

        An executed action that is one of the proposals, as it is without noise of its own, has that one's value.
        """
        import torch

        run = self.critics.run if self.chosen.surrogate_values == "online" else self.critics.run_targets
        values = self._least(observation, proposals, run)
        same = (proposals == action).all(-1)
        if bool(same.any(0).all()):
            executed = values.gather(0, same.float().argmax(0)[None])
        else:
            executed = self._least(observation, action[None], run)
        highest = values.cummax(0).values
        return torch.stack([highest[1:], torch.maximum(highest[:-1], executed)], 1)

    def descent(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the actors' proposals [K, B, A], the loss [] of all of them)."""
        import torch

        from asyncrl.heads.networks.towers import forward

        proposals = torch.stack(self.policy.run(observation))
        value = forward(self.critics.layers[0], torch.cat([observation, proposals[0]], 1)).mean()
        if self.surrogates is not None:
            values = self.surrogates.run(observation, proposals[1:, None], proposals[:-1].detach())
            value = value + values.mean(2).sum()
        return proposals, -value


def _pairs(observation: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """What critics take [K * B, S + A], of observation [B, S] and actions [K, B, A]."""
    import torch

    return torch.cat([observation.expand(len(actions), -1, -1), actions], 2).flatten(0, 1)


def _picked(proposals: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """Of proposals[K, B, A] the one [B, A] with the number best[B]."""
    return proposals.gather(0, best[None, :, None].expand(1, -1, proposals.shape[2]))[0]


SavoUpdater = ReplayUpdater.of(Savo)
