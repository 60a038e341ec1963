"""MLPs for learners: weights, gradients, statistics and target copies in flat vectors, run by torch where `devices` has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asyncrl.heads.networks.devices import HOST, Place

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""(weight [in, out], bias [out]) of each layer."""


class Learned:
    """Numbers that are learned by Adam on a flat vector, and a copy that follows them (the target).

    vector [N], target [N], gradient [N], statistics [2, N]

    They live where `place` has them: arrays on the host, tensors on a device. A subclass lays its layers over them: `learn` says
    which tensors over the vector have their slopes in which tensors over the gradient.

    outputs   weights and biases of its output layers, over the vector and then over the target
    """

    outputs: Layers

    def __init__(self, vector: NDArray[np.float32], place: Place):
        self.place = place
        self.numbers = place.numbers(vector)
        self.vector, self.target = self.numbers.vector, self.numbers.target
        self.gradient, self.statistics = self.numbers.gradient, self.numbers.statistics
        self.size = len(self.vector)
        self.parameters: list[torch.Tensor] = []

    def learn(self, layers: Layers, gradients: Layers) -> None:
        """Add the layers' tensors to what `step` moves."""
        for layer, gradient in zip(layers, gradients):
            for parameter, slope in zip(layer, gradient):
                parameter.requires_grad_(True).grad = slope
                self.parameters.append(parameter)

    def step(self, loss: torch.Tensor, rate: float, count: int, longest: float = 0.0) -> float:
        """One Adam step, the count-th, of these numbers alone, down the scalar `loss` [].

        Returns the gradient's norm, before it is clipped to `longest`; infinity where the gradient was not finite: then no step
        was made (see `left_out`).
        """
        self.numbers.clear()
        loss.backward(inputs=self.parameters)  # type: ignore[no-untyped-call]
        return self.numbers.descend(rate, count, longest)

    def follow(self, tau: float) -> None:
        """target += tau * (vector - target)"""
        self.numbers.follow(tau)

    @torch.no_grad()
    def copy_outputs(self, other: Learned) -> None:
        """Take over the output layers of another one of the same sizes, and those of its target."""
        for own, new in zip(self.outputs, other.outputs):
            for part, numbers in zip(own, new):
                part.copy_(numbers)

    def kept(self, name: str) -> dict[str, NDArray[Any] | torch.Tensor]:
        """What a checkpoint keeps, under this name, where it lives (see `devices.saved`)."""
        return {name: self.vector, f"{name}_target": self.target, f"{name}_statistics": self.statistics}


class Towers(Learned):
    """`count` relu MLPs of one shape (the two critics, or one policy), and copies that follow them (the targets).

    vector [N], target [N]   all layers of the first, all of the second, ...: each the layout of `heads.kernels`' policy tower
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], outputs: int, count: int, generator: np.random.Generator, place: Place = HOST
    ):
        self.shapes = list(pairwise([inputs, *hidden, outputs]))
        super().__init__(np.concatenate([fresh(self.shapes, generator) for _ in range(count)]), place)
        self.layers, self.target_layers, gradients = (_towers(flat, count, self.shapes) for flat in self.numbers.tensors)
        for layers, slopes in zip(self.layers, gradients):
            self.learn(layers, slopes)
        self.outputs = [layers[-1] for layers in (*self.layers, *self.target_layers)]

    def run(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x[B, inputs] -> [B, outputs] of every tower."""
        return [forward(layers, x) for layers in self.layers]

    def run_targets(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x[B, inputs] -> [B, outputs] of the copies that follow each tower; without gradients."""
        return [forward(layers, x) for layers in self.target_layers]


def forward(layers: Layers, x: torch.Tensor) -> torch.Tensor:
    """Run one MLP, with relu between layers: x[B, inputs] -> [B, outputs]."""
    last = len(layers) - 1
    for i, (weight, bias) in enumerate(layers):
        x = torch.addmm(bias, x, weight)
        if i < last:
            x = x.relu_()
    return x


def regress(
    critics: Towers, pair: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None, rate: float, count: int, longest: float
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """One step of all critics towards target[B, 1] at pair[B, S + A]: down the mean of weight * (sum of their squared errors).

    Returns (|error| [B], the mean over critics; figures).
    """
    values = torch.cat(critics.run(pair), 1)
    errors = values - target
    squares = errors.square().sum(1)
    loss = squares.mean() if weight is None else (squares * weight).mean()
    length = critics.step(loss, rate, count, longest)
    with torch.no_grad():
        figures = {"critic_loss": loss.item(), "value": values.mean().item(), "critic_gradient_norm": length}
        return critics.place.array(errors.abs().mean(1)), figures


def left_out(figures: Mapping[str, float]) -> float:
    """1 where one of an update's gradients was left out, else 0; `figures` have the norms that `Towers.step` gave."""
    return float(not all(math.isfinite(value) for name, value in figures.items() if name.endswith("gradient_norm")))


def noise(seed: int, update: int, stream: int, shape: tuple[int, ...], place: Place = HOST) -> torch.Tensor:
    """Standard normal numbers [*shape] that depend on the first four alone; `stream` tells several of one update apart."""
    generator = np.random.Generator(np.random.Philox(key=[seed % 2**64, update * 4 + stream]))
    return place.tensor(generator.standard_normal(shape, np.float32))


def tensors(batch: Any, place: Place) -> tuple[torch.Tensor, ...]:
    """(observation [B, D], action [B, C], reward [B], discount [B], next_observation [B, D], weight [B]) of a batch.

    On the host without a copy.
    """
    arrays = (batch.observation, batch.action, batch.reward, batch.discount, batch.next_observation, batch.weight)
    return tuple(place.tensor(array) for array in arrays)


def fresh(shapes: list[tuple[int, int]], generator: np.random.Generator) -> NDArray[np.float32]:
    """Numbers [N] of layers with these (inputs, outputs), one after another, a layer's weight and then its bias.

    Uniform within +-1/sqrt(inputs), weights and biases: torch's default, with which TD3 and SAC were published. A layer without inputs,
    which is a bias alone, is 0.
    """
    parts = [
        generator.uniform(-1.0, 1.0, inputs * outputs + outputs) / np.sqrt(inputs) if inputs else np.zeros(outputs)
        for inputs, outputs in shapes
    ]
    return np.concatenate(parts).astype(np.float32)


def _towers(flat: torch.Tensor, count: int, shapes: list[tuple[int, int]]) -> list[Layers]:
    """Views of a flat vector [N], for each of `count` MLPs."""
    rows = flat.view(count, -1)
    return [views(rows[i], shapes) for i in range(count)]


def views(flat: torch.Tensor, shapes: list[tuple[int, int]]) -> Layers:
    """Layers with these (inputs, outputs) over flat [N], which `fresh` has laid out."""
    position, layers = 0, []
    for inputs, outputs in shapes:
        weight = flat[position : position + inputs * outputs].view(inputs, outputs)
        position += inputs * outputs
        layers.append((weight, flat[position : position + outputs]))
        position += outputs
    return layers
