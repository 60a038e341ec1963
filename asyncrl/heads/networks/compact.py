"""A flat vector of compact parameters, and the dense vector of the compiled kernels that it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.networks.kernels import layer_sizes
from asyncrl.heads.networks.structures import STRUCTURES
from asyncrl.heads.networks.structures.dense import Dense
from asyncrl.heads.networks.structures.structure import Numbers, Structure
from asyncrl.heads.options import NetworkOptions

LINEAR, MLP = "linear", "mlp"
LAYERS: dict[str, str] = {
    LINEAR: "no hidden layers, no biases",
    MLP: "dense hidden layers with biases",
    **{name: family.description for name, family in STRUCTURES.items()},
}
"""Kinds of layers that `--head` can name, with a line for each. What is drawn from their outputs is the action space's own head."""
COMPACT_HIDDEN = (41, 41)
"""Hidden layers of compact networks by default: those of the table in the source of `structures`."""

GAINS = {"policy.out": 0.01, "value.out": 1.0}
"""Gains of an actor-critic's output layers at the start; hidden ones have the square root of 2."""


@dataclass(frozen=True)
class Layer:
    """One layer: its matrix, whether it has a bias, and the norm of an output's weights at the start."""

    structure: Structure
    inputs: int
    outputs: int
    bias: bool
    gain: float


class CompactNetwork:
    """Layers, one after another, in a compact and in a dense vector.

    The compact vector [size] holds each layer's parameters and, where it has one, its bias [out]; the dense vector
    [dense_size] each layer's weight [in, out] and bias [out], which is zero where there is none: the layout of `kernels`.
    """

    def __init__(self, layers: Sequence[Layer]):
        self.layers = tuple(layers)
        self._places: list[tuple[Layer, slice, slice, slice, slice]] = []
        at = dense_at = 0
        for layer in self.layers:
            parameters = slice(at, at + layer.structure.count(layer.inputs, layer.outputs))
            bias = slice(parameters.stop, parameters.stop + (layer.outputs if layer.bias else 0))
            weight = slice(dense_at, dense_at + layer.inputs * layer.outputs)
            dense_bias = slice(weight.stop, weight.stop + layer.outputs)
            self._places.append((layer, parameters, bias, weight, dense_bias))
            at, dense_at = bias.stop, dense_bias.stop
        self.size, self.dense_size = at, dense_at

    def initial(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """Random matrices, zero biases."""
        vector = np.zeros(self.size, np.float32)
        for layer, parameters, _, _, _ in self._places:
            vector[parameters] = layer.structure.initial(generator, layer.inputs, layer.outputs, layer.gain)
        return vector

    def pieces(self, vector: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """(parameters, bias) of each layer, views of vector[size]; the bias is empty where there is none."""
        for _, parameters, bias, _, _ in self._places:
            yield vector[parameters], vector[bias]

    def expand(self, vector: Numbers, dense: Numbers) -> None:
        """Write dense[dense_size] of vector[size]."""
        for layer, parameters, bias, weight, dense_bias in self._places:
            layer.structure.expand(vector[parameters], dense[weight].reshape(layer.inputs, layer.outputs))
            dense[dense_bias] = vector[bias] if layer.bias else 0.0

    def pull_back(self, vector: Numbers, dense_gradient: Numbers, gradient: Numbers) -> None:
        """Write gradient[size] of a function of the dense vector, whose gradient there is dense_gradient[dense_size]."""
        for layer, parameters, bias, weight, dense_bias in self._places:
            matrix = dense_gradient[weight].reshape(layer.inputs, layer.outputs)
            layer.structure.pull_back(vector[parameters], matrix, gradient[parameters])
            if layer.bias:
                gradient[bias] = dense_gradient[dense_bias]


def structure_of(layers: str, options: NetworkOptions) -> Structure:
    """What the matrices of a kind of layers are, a name of LAYERS."""
    return Dense() if layers in (LINEAR, MLP) else STRUCTURES[layers](options.rank)


def hidden_of(head: str, options: NetworkOptions) -> tuple[int, ...]:
    """Units of the hidden layers under a name of layers or of a head."""
    if head == LINEAR:
        return ()
    if options.hidden is not None:
        return options.hidden
    return COMPACT_HIDDEN if head in STRUCTURES else (64, 64)


def check_network(spec: EnvSpec, head: str, options: NetworkOptions) -> None:
    """Raise UserError for observations or options that compact layers, or the networks of a search, cannot use; `head`: as it was named."""
    if spec.is_image:
        raise UserError(
            f"head {head!r} needs observations that are one flat vector, this environment's are images {spec.observation_shape}"
        )
    if options.recurrent:
        raise UserError(f"recurrent = {options.recurrent} cannot be used: head {head!r} keeps no memory (allowed: 0)")
    if head == LINEAR and options.hidden:
        raise UserError(f"hidden = {options.hidden} cannot be used: head 'linear' has no hidden layers (leave it out, or use another head)")


def actor_critic(plan: NDArray[np.int64], head: str, options: NetworkOptions) -> CompactNetwork:
    """The network of plan[4 + hidden layers], see `kernels.make_plan`.

    Hidden layers have biases, the policy's output has none. The value's output is dense and has one: a value is a number of any
    size, for which a small output without bias is ill suited.
    """
    structure = structure_of(head, options)
    return CompactNetwork(
        [
            Layer(Dense() if name == "value.out" else structure, inputs, outputs, name != "policy.out", GAINS.get(name, 2.0**0.5))
            for name, inputs, outputs in layer_sizes(plan)
        ]
    )
