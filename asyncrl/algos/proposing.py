"""What learners share under heads that propose K actions, of which the first critic picks one (`asyncrl.heads.proposing`). Of TD3's:

    P'(s') = target proposals x_0 .. x_(K-1);  of a Discrete space e(x) is the features of the item nearest to x, of a Box x itself
    a'     = e(x_j), j the argmax over P'(s') of Q1'(s', e(x_j))
    y      = r + discount * min(Q1', Q2')(s', a')
    critics descend the mean of (Q1 - y)^2 + (Q2 - y)^2 at the executed action, of items at its features

Target smoothing, which is off by default here, is noise on a'; of items on the proposals, before items are sought.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.learners.off_policy import HIDDEN, OffPolicyLearner

if TYPE_CHECKING:
    import torch

    from asyncrl.heads.head import Head
    from asyncrl.heads.networks.devices import Place
    from asyncrl.heads.networks.nearest import NearestItems
    from asyncrl.heads.networks.towers import Learned
    from asyncrl.heads.proposing.head import ProposingHead
    from asyncrl.heads.proposing.items import Items
    from asyncrl.heads.proposing.options import ProposingOptions

CHOICE = ("choice_gain", "first_chosen")
"""Figures of a maximiser: how much more its pick is worth than the first proposal, by its own critic, and how often that one is it."""


class MaximisingLearner(OffPolicyLearner):
    """The first critic picks among proposals. What to do with its pick is for those to say who also learn by TD3 or SAC.

    items    of a Discrete space; None of a Box
    choice   the figures CHOICE of the newest target
    """

    items: NearestItems | None
    choice: dict[str, float]

    def add_networks(self, sizes: tuple[int, int], hidden: tuple[int, ...]) -> None:
        """Make what is learned beside the networks of TD3 or SAC, for sizes (observation, action), and `keep` it."""

    def keep(self, name: str, network: Learned) -> None:
        """Have checkpoints hold a network under this name; there are no targets of it."""
        kept = network.kept(name)
        del kept[f"{name}_target"]
        self.kept = {**self.kept, **kept}

    def landed(self, proposals: torch.Tensor) -> torch.Tensor:
        """What the critics are asked about [K, B, C] of proposals[K, B, C]: themselves, or the features of the nearest items."""
        return proposals if self.items is None else self.items.features[self.items.nearest(proposals)]

    def chooser(self) -> Any:
        """The layers of the critic that picks in the target."""
        return self.critics.target_layers[0]

    def chosen_for_target(self, observation: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """The number [B] of the one of candidates[K, B, C] that the chooser picks at observation[B, D]; keeps figures of it."""
        values = scores(self.chooser(), observation, candidates)
        best = values.argmax(0)
        gain, first = (values.amax(0) - values[0]).mean(), (best == 0).float().mean()
        self.choice = {"choice_gain": gain.item(), "first_chosen": first.item()}
        return best

    def best(self, observation: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Of actions[K, B, C] the one [B, C] of which the first critic says most at observation[B, D]."""
        return picked(actions, scores(self.critics.layers[0], observation, actions).argmax(0))

    def least(self, observation: torch.Tensor, actions: torch.Tensor, run: Any) -> torch.Tensor:
        """The smaller of the two critics' values [K, B] of actions[K, B, C]; `run`: of the critics, or of their targets."""
        import torch

        return torch.minimum(*run(pairs(observation, actions))).view(actions.shape[:2])


class ProposingLearner(MaximisingLearner, Td3):
    """TD3 whose target maximises over proposals; subclasses say what these are, and what teaches their networks."""

    figures: ClassVar[tuple[str, ...]] = (*Td3.figures, *CHOICE)
    usual: ClassVar[Mapping[str, float]] = {"max_gradient_norm": 1.0, "target_noise": 0.0}
    chosen_type: ClassVar[type[ProposingOptions]]
    """Of the head's options."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: Td3Options,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
        *,
        chosen: Any = None,
        items: Items | None = None,
    ):
        """`chosen`: the head's options, or None for its defaults; `items`: of a Discrete space, of `action_size` features."""
        from asyncrl.heads.networks.nearest import items_of

        self.chosen: Any = self.chosen_type() if chosen is None else chosen
        super().__init__(observation_size, action_size, options, seed, hidden, place)
        self.items = None if items is None else items_of(self.chosen.search, items.features, items.half_squares, self.place)
        self.add_networks((observation_size, action_size), hidden)

    @classmethod
    def under(cls, head: Head, observation_size: int, options: Any, seed: int, hidden: tuple[int, ...]) -> Self:
        made, kind = cast("ProposingHead", head), cast(Any, cls)
        found: Self = kind(observation_size, head.components, options, seed, hidden, chosen=head.chosen_options, items=made.items)
        return found

    @abstractmethod
    def candidates(self, observation: torch.Tensor, following: bool) -> torch.Tensor:
        """What the critic picks among [K, B, C] at observation [B, D], of items their features.

        By the networks, without noise; or `following`: in the target, by those that follow them and, of items, with smoothing.
        """

    def proposals(self, observation: torch.Tensor) -> torch.Tensor:
        return self.candidates(observation, following=False)

    def target(self, reward: torch.Tensor, discount: torch.Tensor, next_observation: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            candidates = self.candidates(next_observation, following=True)
            action = picked(candidates, self.chosen_for_target(next_observation, candidates))
            if self.items is None:
                action = self.smoothed(action)
            least = self.least(next_observation, action[None], self.critics.run_targets)
            return torch.addcmul(reward[:, None], discount[:, None], least[0, :, None])

    def greedy(self, observation: torch.Tensor) -> torch.Tensor:
        """Of items: the features [B, F] of the one that is taken."""
        import torch

        with torch.no_grad():
            return self.best(observation, self.candidates(observation, following=False))


def scores(layers: Any, observation: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Values [K, B] of actions[K, B, C] at observation[B, D], by one critic's layers."""
    from asyncrl.heads.networks.towers import forward

    return forward(layers, pairs(observation, actions)).view(actions.shape[:2])


def pairs(observation: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """What critics take [K * B, D + C], of observation [B, D] and actions [K, B, C]."""
    import torch

    return torch.cat([observation.expand(len(actions), -1, -1), actions], 2).flatten(0, 1)


def picked(actions: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """Of actions[K, B, C] the one [B, C] with the number best[B]."""
    return actions.gather(0, best[None, :, None].expand(1, -1, actions.shape[2]))[0]
