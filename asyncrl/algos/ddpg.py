"""DDPG: deep deterministic policy gradient (Lillicrap and others 2016).

    y = r + discount * Q'(s', pi'(s'));  the critic descends mean of (Q - y)^2;  the policy ascends mean of Q(s, pi(s));  targets follow

This is TD3 with one critic, no delay and no smoothing, and is computed as such. The defaults are those of "our DDPG" in the
TD3 paper (Fujimoto and others 2018, appendix), which does far better than the original's: layers of 400 and 300, batches of 64,
a policy learning rate of 1e-4, a weight decay of 0.01 in the critic, tau 0.001. Layers and batches are TD3's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.fields import POSITIVE
from asyncrl.learners.off_policy import HIDDEN, OffPolicyOptions
from asyncrl.learners.replays import ReplayUpdater

if TYPE_CHECKING:
    from asyncrl.heads.networks.devices import Place


@dataclass(frozen=True)
class DdpgOptions(OffPolicyOptions):
    """Options of DDPG."""

    policy_learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Adam's step size for the policy."""
    critic_learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Adam's step size for the critic."""


class Ddpg(Td3):
    """DDPG's networks and its update: those of TD3 with one critic."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        options: DdpgOptions,
        seed: int,
        hidden: tuple[int, ...] = HIDDEN,
        place: Place | None = None,
    ):
        as_td3 = Td3Options(**asdict(options), policy_delay=1, target_noise=0.0)
        super().__init__(observation_size, action_size, as_td3, seed, hidden, place, critics=1)


DdpgUpdater = ReplayUpdater.of(Ddpg)
