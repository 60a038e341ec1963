"""From the rewards that environments give to those that are learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.faults import EnvironmentFault, reward_fault, wrong_reward
from asyncrl.shared.compiled import njit


@njit(cache=True)
def _scale_and_clip(rewards, scale, clip, out):  # type: ignore[no-untyped-def]
    """out[T, E] = clipped scaled rewards[T, E]; False where one is not finite."""
    total = 0.0
    for t in range(out.shape[0]):
        for e in range(out.shape[1]):
            reward = rewards[t, e]
            total += reward - reward
            reward *= scale
            if clip > 0.0:
                reward = min(max(reward, -clip), clip)
            out[t, e] = reward
            total += out[t, e] - out[t, e]  # finite as float32 too
    return total == 0.0


@dataclass(frozen=True)
class RewardRule:
    """Rewards are multiplied by `scale`, then clipped to [-clip, clip]; clip 0: not clipped."""

    scale: float = 1.0
    clip: float = 0.0

    def __call__(self, rewards: NDArray[np.float64], out: NDArray[np.float32]) -> None:
        """Write out[T, E], what is learned from rewards [T, E]. Raises EnvironmentFault where a number is not finite, before or after."""
        if not _scale_and_clip(rewards, self.scale, self.clip, out):
            self._raise_fault(rewards)

    def _raise_fault(self, rewards: NDArray[np.float64]) -> NoReturn:
        for reward in rewards.flat:
            if reward_fault(reward) is not None:
                raise wrong_reward(reward)
        largest = float(np.abs(rewards).max())
        raise EnvironmentFault(f"a reward of magnitude {largest:g} is not finite once multiplied by reward_scale {self.scale:g}")
