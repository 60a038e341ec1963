"""Networks as torch modules whose weights and gradients are views of flat vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.networks.kernels import layer_sizes
from asyncrl.heads.options import NetworkOptions

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"tanh": torch.tanh, "relu": torch.relu, "linear": lambda x: x}

_MODULES: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "linear": nn.Identity}


class Dense(nn.Module):
    """A linear layer with weight [in, out]: the layout of the compiled kernels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x[N, in] -> [N, out]."""
        return x @ self.weight + self.bias


class MlpActorCritic(nn.Module):
    """The network of `kernels`, layer for layer, over the same vector."""

    def __init__(self, plan: NDArray[np.int64], activation: str):
        super().__init__()
        self.layers = nn.ModuleDict()
        self._activation = ACTIVATIONS[activation]
        for name, inputs, outputs in layer_sizes(plan):
            self.layers[name.replace(".", "_")] = Dense(inputs, outputs)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """observation[N, D] -> (policy_output[N, P], value[N]; zeros where the plan has no value)."""
        outputs, features = [], observation
        shared = "trunk_0" in self.layers
        for name, layer in self.layers.items():
            if name.endswith("_out"):
                outputs.append(layer(features))
                features = features if shared else observation
            else:
                features = self._activation(layer(features))
        return outputs[0], outputs[1].squeeze(-1) if len(outputs) > 1 else torch.zeros(len(observation))


class Trunk(nn.Module):
    """Convolutions of the A3C paper for images (16 of 8x8 stride 4, 32 of 4x4 stride 2, relu), then hidden layers."""

    def __init__(self, spec: EnvSpec, hidden: tuple[int, ...], activation: str):
        super().__init__()
        layers: list[nn.Module] = []
        size = spec.observation_size
        if spec.is_image:
            channels, height, width = spec.observation_shape
            rows, columns = (((side - 8) // 4 + 1 - 4) // 2 + 1 for side in (height, width))
            if rows < 1 or columns < 1:
                raise UserError(f"images of {height}x{width} are too small for the convolutional network (at least 20x20)")
            layers += [nn.Conv2d(channels, 16, 8, 4), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten()]
            size, activation = 32 * rows * columns, "relu"
        for units in hidden:
            layers += [nn.Linear(size, units), _MODULES[activation]()]
            size = units
        self.layers = nn.Sequential(*layers)
        self._convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        self._dense = [layer for layer in layers if isinstance(layer, nn.Linear)]
        self.size = size
        self._forward = self._of_images if spec.is_image else self._of_vectors

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """observation[N, *shape] -> features[N, size]."""
        return self._forward(observation)

    def _of_vectors(self, observation: torch.Tensor) -> torch.Tensor:
        return self.layers(observation.float())

    def _of_images(self, image: torch.Tensor) -> torch.Tensor:
        """The layers called as functions, which saves a third of the time of a single image.

        Where gradients are wanted channels lie innermost: torch computes those of convolutions so in a fifth to a third less time.
        """
        layout = torch.channels_last if torch.is_grad_enabled() else torch.contiguous_format
        x = image.to(torch.float32, memory_format=layout).mul_(1.0 / 255.0)
        for layer in self._convolutions:
            x = torch.conv2d(x, layer.weight.contiguous(memory_format=layout), layer.bias, layer.stride).relu_()
        x = x.flatten(1)
        for dense in self._dense:
            x = functional.linear(x, dense.weight, dense.bias).relu_()
        return x


class TorchActorCritic(nn.Module):
    """Trunk(s), an optional LSTM, and two linear outputs."""

    def __init__(self, spec: EnvSpec, options: NetworkOptions, policy_outputs: int):
        super().__init__()
        hidden = options.hidden if options.hidden is not None else ((256,) if spec.is_image else (64, 64))
        self.memory_size = options.recurrent
        self.trunk = Trunk(spec, hidden, options.hidden_activation)
        apart = options.trunk == "separate" and not options.recurrent and not spec.is_image
        self.value_trunk = Trunk(spec, hidden, options.hidden_activation) if apart else None
        self.cell = nn.LSTMCell(self.trunk.size, options.recurrent) if options.recurrent else None
        size = options.recurrent or self.trunk.size
        self.policy_out, self.value_out = nn.Linear(size, policy_outputs), nn.Linear(size, 1)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """observation[N, *shape] -> (policy_output[N, P], value[N]). Without memory."""
        features = self.trunk(observation)
        of_value = self.value_trunk(observation) if self.value_trunk is not None else features
        return self.policy_out(features), self.value_out(of_value).squeeze(-1)

    def recur(self, observation: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(observation[E, *shape], memory[2, E, H]) -> (policy_output[E, P], value[E], memory)."""
        assert self.cell is not None
        hidden, carry = self.cell(self.trunk(observation), (memory[0], memory[1]))
        return self.policy_out(hidden), self.value_out(hidden).squeeze(-1), torch.stack([hidden, carry])


def initialise(module: nn.Module, seed: int) -> None:
    """Orthogonal weights (gain sqrt 2 within, 0.01 for the policy's and 1 for the value's output), zero biases."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.dim() < 2:
            nn.init.zeros_(parameter)
            continue
        gain = 0.01 if "policy_out" in name else 1.0 if "value_out" in name or "cell" in name else math.sqrt(2.0)
        nn.init.orthogonal_(parameter, gain, generator=generator)


def bind(module: nn.Module, vector: NDArray[np.float32], gradient: NDArray[np.float32] | None) -> int:
    """Make the module's parameters views of vector[N] and their gradients views of gradient[N]; returns how many numbers they take.

    The gradients must be zeroed through the flat vector; `zero_grad` would cut the views off.
    """
    position = 0
    flat = torch.from_numpy(vector)
    flat_gradient = None if gradient is None else torch.from_numpy(gradient)
    for parameter in module.parameters():
        count = parameter.numel()
        parameter.data = flat[position : position + count].view(parameter.shape)
        if flat_gradient is not None:
            parameter.grad = flat_gradient[position : position + count].view(parameter.shape)
        position += count
    return position


def flatten(module: nn.Module) -> NDArray[np.float32]:
    """The module's parameters as one vector [N], in the module's order."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()]).numpy().astype(np.float32)


def trial(spec: EnvSpec) -> torch.Tensor:
    """Observations [2, *shape] of zeros for a trial forward pass: two, since layers that normalise over a batch refuse one."""
    return torch.zeros((2, *spec.observation_shape), dtype=torch.uint8 if spec.is_image else torch.float32)


def checked(module: Any, spec: EnvSpec, policy_outputs: int) -> nn.Module:
    """A user's network, after one trial forward pass. Raises UserError where it does not fit."""
    if not isinstance(module, nn.Module):
        raise UserError(f"the network function must return a torch.nn.Module, not {type(module).__name__}")
    result = module(trial(spec))
    shapes = [tuple(part.shape) for part in result] if isinstance(result, tuple) else result
    if shapes != [(2, policy_outputs), (2,)]:
        wanted = f"(policy_output[N, {policy_outputs}], value[N])"
        raise UserError(f"the network must return {wanted} for observations [N, {spec.observation_shape}]; for N = 2 it returned {shapes}")
    return module
