"""A learned policy as one torch module, from raw observations to greedy actions: what `asyncrl export` writes into a file.

It computes what `asyncrl.load(RUN).act` does, up to the rounding of sums and of tanh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.networks.kernels import ACTIVATION, ACTIVATIONS, layer_sizes
from asyncrl.heads.networks.modules import ACTIVATIONS as FUNCTIONS
from asyncrl.heads.networks.modules import Dense, bind

if TYPE_CHECKING:
    from asyncrl.heads.policy import Policy
    from asyncrl.heads.search_policy import SearchPolicy


class GreedyModule(nn.Module):
    """observation[N, *shape], not normalised, float32 or of images uint8 -> actions [N, ...] of the action space's own type and numbers."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, policy: Policy | SearchPolicy, vector: NDArray[np.float32], normaliser: NDArray[np.float32]):
        """vector[size]: the policy's parameters; normaliser[3, D]: shift, scale, and in [2, 0] whether it is on. Both are copied.

        Raises UserError for what cannot be a function of the newest observation alone, or has no such function of its own.
        """
        super().__init__()
        self._policy = policy
        self.network = _network(policy, np.array(vector, np.float32))
        self.given = _Given(policy.spec)
        self.normalises = bool(normaliser.size and normaliser[2, 0]) and not policy.spec.is_image
        shift, scale = torch.from_numpy(np.array(normaliser[:2], np.float32))
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """observation[N, *shape] -> actions [N, ...]."""
        return self.chosen(self.outputs(observation))

    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        """observation[N, *shape] -> the network's outputs [N, P]."""
        if self.normalises:
            observation = ((observation - self.shift) * self.scale).clamp(-10.0, 10.0)
        output: torch.Tensor = self.network(observation)
        return output

    def chosen(self, output: torch.Tensor) -> torch.Tensor:
        """output[N, P] -> actions [N, ...]."""
        actions: torch.Tensor = self.given(self._policy.greedy_action(output))
        return actions


def _network(policy: Any, vector: NDArray[np.float32]) -> nn.Module:
    """What computes a policy's outputs [N, P], over numbers of its own."""
    if policy.options.recurrent:
        raise UserError(f"a recurrent policy (recurrent = {policy.options.recurrent}) cannot be exported: it remembers what was before")
    if policy.options.virtual_batch:
        raise UserError(f"a policy with virtual_batch = {policy.options.virtual_batch} cannot be exported: it needs reference observations")
    if policy.plan is None:
        return _First(policy.module(vector, None)[0])
    return _Layers(policy.plan, _dense(policy, vector))


def _dense(policy: Any, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The dense layers that a policy's vector stands for."""
    dense: NDArray[np.float32] = policy.dense(vector)
    policy.expand(vector, dense)
    return dense


class _Layers(nn.Module):
    """The layers below the policy's outputs, which come first in the vector; those of v(s) are left out."""

    def __init__(self, plan: NDArray[np.int64], dense: NDArray[np.float32]):
        super().__init__()
        self._activation = FUNCTIONS[ACTIVATIONS[plan[ACTIVATION]]]
        sizes = [(inputs, outputs) for name, inputs, outputs in layer_sizes(plan) if not name.startswith("value.")]
        self.layers = nn.ModuleList(Dense(inputs, outputs) for inputs, outputs in sizes)
        bind(self, dense, None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x[N, D] -> [N, P]."""
        *hidden, last = self.layers
        for layer in hidden:
            x = self._activation(layer(x))
        output: torch.Tensor = last(x)
        return output


class _First(nn.Module):
    """The first of what a network gives: its outputs for the policy."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x[N, *shape] -> [N, P]."""
        output: torch.Tensor = self.network(x)[0]
        return output


class _Given(nn.Module):
    """What `asyncrl.heads.actions.EnvironmentActions` does, for N actions: choices or numbers [N, C] -> [N, ...] of the space's type."""

    def __init__(self, spec: EnvSpec):
        super().__init__()
        self._kind, self._shape = spec.action_kind, spec.action_shape
        named = spec.action_dtype or ("float32" if spec.action_kind == "box" else "int64")
        self._dtype: Any = getattr(torch, np.dtype(named).name, None)
        if self._dtype is None:
            raise UserError(f"actions of type {named} cannot be exported: torch has no such type")
        exact = self._kind == "box" and np.dtype(named).itemsize > 4
        self._bounds = [torch.tensor(bound, dtype=torch.float64) for bound in (spec.action_low, spec.action_high)] if exact else None
        self._starts = torch.tensor(spec.action_start, dtype=torch.int64)

    def forward(self, actions: torch.Tensor) -> torch.Tensor:
        """actions [N, C] -> [N, *shape of the space]."""
        if self._kind == "box":
            numbers = actions.float()  # as kernels have them
            if self._bounds is not None:
                numbers = numbers.double().clamp(*self._bounds)
            return numbers.to(self._dtype).reshape(-1, *self._shape)
        choices = (actions + self._starts).to(self._dtype)
        return choices[:, 0] if self._kind == "discrete" else choices
