"""A flat vector of compact parameters, and the dense vector of the compiled kernels that it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

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

HIDDEN_GAIN, OUTPUT_GAIN = 1.0, 0.01
"""Norms of an output's weights at the start of a search, in hidden layers and in the last: those of Salimans et al. (2017)."""


@dataclass(frozen=True)
class Layer:
    """One layer: its matrix, whether it has a bias, and the norm of an output's weights at the start."""

    structure: Structure
    inputs: int
    outputs: int
    bias: bool
    gain: float
    input_scale: tuple[float, ...] = ()
    """Of a dense layer: by what each input's weights are multiplied at the start; () for 1."""


@dataclass(frozen=True)
class Shape:
    """What the layers of a policy's network are, but for its two ends: the observation's size and the head's outputs.

    Biases are those of the policy's layers: v(s), where there is one, always has them, since it is a number of any size.
    """

    hidden: tuple[int, ...]
    """Units of each hidden layer."""
    activation: str
    """Of the hidden layers, a name of `kernels.ACTIVATIONS`."""
    structure: Structure
    """What its matrices are."""
    hidden_biases: bool = True
    output_bias: bool = True
    start: Literal["scaled", "zeros", "normal"] = "scaled"
    """How a search begins: random layers with small outputs, zeros, or every number standard normal. Gradients begin `scaled`."""

    input_scale: tuple[float, ...] = ()
    """Under gradients: by what each number of an observation is multiplied, by the first layers' weights as they begin; () for 1."""

    @property
    def plain(self) -> bool:
        """Whether the network's parameters are the kernels' own vector: dense layers, each with a bias."""
        return isinstance(self.structure, Dense) and self.hidden_biases and self.output_bias


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

    @property
    def counts(self) -> list[int]:
        """How many numbers of the compact vector each layer takes."""
        return [bias.stop - parameters.start for _, parameters, bias, _, _ in self._places]

    def initial(self, generator: np.random.Generator, normalised: bool = False) -> NDArray[np.float32]:
        """Random matrices, zero biases. `normalised`: inputs have deviation 1, so that an `input_scale` says nothing of them."""
        vector = np.zeros(self.size, np.float32)
        for layer, parameters, _, _, _ in self._places:
            vector[parameters] = layer.structure.initial(generator, layer.inputs, layer.outputs, layer.gain)
            if layer.input_scale and not normalised:
                vector[parameters].reshape(layer.inputs, layer.outputs)[:] *= np.array(layer.input_scale, np.float32)[:, None]
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


def shape_of(name: str, options: NetworkOptions) -> Shape:
    """The layers that a name of LAYERS, or of a head, stands for; a head may want others (`Head.network`)."""
    if name == LINEAR:
        return Shape((), options.hidden_activation, Dense(), output_bias=False, start="zeros")
    if name in STRUCTURES:
        hidden = COMPACT_HIDDEN if options.hidden is None else options.hidden
        return Shape(hidden, options.hidden_activation, STRUCTURES[name](options.rank), output_bias=False)
    return Shape((64, 64) if options.hidden is None else options.hidden, options.hidden_activation, Dense())


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


def actor_critic(plan: NDArray[np.int64], shape: Shape) -> CompactNetwork:
    """The network of plan[4 + hidden layers], see `kernels.make_plan`, with the layers of `shape`.

    The value's output is dense: a value is a number of any size, for which a small output is ill suited.
    """
    layers, hidden = [], bool(shape.hidden)
    for name, inputs, outputs in layer_sizes(plan):
        structure = Dense() if name == "value.out" else shape.structure
        scale = shape.input_scale if name.endswith(".0") or not hidden else ()  # of what is given the observation
        layers.append(Layer(structure, inputs, outputs, _biased(name, shape), GAINS.get(name, 2.0**0.5), scale))
    return CompactNetwork(layers)


def _biased(name: str, shape: Shape) -> bool:
    if name.startswith("value."):
        return True
    return shape.output_bias if name == "policy.out" else shape.hidden_biases


def searched(inputs: int, outputs: int, shape: Shape) -> CompactNetwork:
    """The network of a deterministic policy, from an observation of `inputs` numbers to `outputs`."""
    sizes, last = (inputs, *shape.hidden, outputs), len(shape.hidden)
    return CompactNetwork(
        [
            Layer(
                shape.structure,
                sizes[k],
                sizes[k + 1],
                shape.hidden_biases if k < last else shape.output_bias,
                HIDDEN_GAIN if k < last else OUTPUT_GAIN,
            )
            for k in range(last + 1)
        ]
    )
