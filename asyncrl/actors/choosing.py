"""How the actions of a step are chosen: by one compiled call, or by a torch forward and the head's compiled draw."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.stepping import Chooser
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.policy import Policy
from asyncrl.heads.rounds import RoundArrays
from asyncrl.shared.compiled import ready

Choosing = Callable[[int], bool]
"""Chooses action[t, E] of the round for raw[t, E]. Returns False where an observation has a component that is not finite."""


class Memory:
    """What a recurrent policy remembers of the episode of each environment: a torch tensor [2, E, H], replaced at every step."""

    def __init__(self, envs: int, size: int):
        import torch

        self.tensor: Any = torch.zeros((2, envs, size))

    def forget(self, e: int) -> None:
        """Empty that of environment e."""
        self.tensor = self.tensor.clone()
        self.tensor[:, e] = 0.0

    def array(self) -> NDArray[np.float32]:
        """A copy [2, E, H]."""
        array: NDArray[np.float32] = self.tensor.numpy().copy()
        return array

    def restore(self, array: NDArray[np.float32]) -> None:
        """Take back what `array` gave."""
        import torch

        self.tensor = torch.from_numpy(array.copy())


def choosing(
    policy: Policy,
    dense: NDArray[np.float32],
    rounds: RoundArrays,
    memory: Memory | None = None,
    at_start: NDArray[np.float32] | None = None,
) -> Choosing:
    """What chooses the actions of a round.

    dense      what `policy.dense` gave for the vector of parameters that acts
    memory     a recurrent policy's, which is advanced by every step
    at_start   [2, E, H], where the memory before step 0 is written
    """
    return _light(policy, dense, rounds) if policy.light else _by_torch(policy, dense, rounds, memory, at_start)


def _light(policy: Policy, dense: NDArray[np.float32], rounds: RoundArrays) -> Choosing:
    kernel, arguments = policy.head.light_kernel(policy.plan, dense, rounds)
    return functools.partial(ready(kernel), *arguments)


def _by_torch(
    policy: Policy, dense: NDArray[np.float32], rounds: RoundArrays, memory: Memory | None, at_start: NDArray[np.float32] | None
) -> Choosing:
    import torch

    module, _ = policy.module(dense, None)
    image, head = policy.spec.is_image, policy.head

    def choose(t: int) -> bool:
        sound = image or normalise(rounds.raw[t], rounds.normaliser, rounds.observation[t])
        if memory is not None and at_start is not None and t == 0:
            at_start[:] = memory.tensor.numpy()
        with torch.inference_mode():
            observation = torch.from_numpy(rounds.observation[t])
            if memory is not None:
                output, _, memory.tensor = module.recur(observation, memory.tensor)
            else:
                output, _ = module(observation)
            rounds.policy_output[:] = output.numpy()
        head.choose(rounds, dense, t)
        return bool(sound)

    return choose


def chooser(policy: Policy, act: Choosing, rounds: RoundArrays, outputs: NDArray[np.float32] | None = None) -> Chooser:
    """What `Stepping` asks for actions: `act`, from `choosing`, on the same arrays. outputs [T, E, P]: see `Chooser`.

    It has a kernel where one compiled call chooses, and environments take what that has written as it is.
    """
    newest = rounds.policy_output
    outputs = np.zeros((0, *newest.shape), np.float32) if outputs is None else outputs
    plain = Chooser(act, functools.partial(policy.head.environment_action, rounds), newest=newest, outputs=outputs)
    if policy.why_not_compiled() is not None or not isinstance(act, functools.partial):
        return plain
    return replace(plain, kernel=act.func, arguments=act.args, action=rounds.action, bounded=rounds.bounded)
