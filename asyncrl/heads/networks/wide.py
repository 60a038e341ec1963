"""Networks with layers so wide that a product by FFT is the faster one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.compact import CompactNetwork, Layer
from asyncrl.heads.networks.layers import dense, relu, tanh
from asyncrl.heads.networks.structures.fast import FastProduct, pays
from asyncrl.shared.compiled import ready


class WideNetwork:
    """A `CompactNetwork` of one row, layer by layer: each by FFT where that pays, otherwise dense."""

    def __init__(self, network: CompactNetwork, activation: str):
        self._network = network
        self._activation = ready({"tanh": tanh, "relu": relu}.get(activation))
        self._parts = [_Part(layer) for layer in network.layers]

    @staticmethod
    def pays(network: CompactNetwork) -> bool:
        """Whether any layer is wide enough."""
        return any(pays(layer.structure.name, layer.inputs, layer.outputs) for layer in network.layers)

    def set(self, vector: NDArray[np.float32]) -> None:
        """Take on the parameters [size]."""
        for part, (parameters, bias) in zip(self._parts, self._network.pieces(vector)):
            part.set(parameters, bias)

    def forward(self, x: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        """Write scores[P] of x[1, D]."""
        for part in self._parts[:-1]:
            x = part.forward(x)
            if self._activation is not None:
                self._activation(x)
        scores[:] = self._parts[-1].forward(x)[0]


class _Part:
    """One layer and the array of its outputs [1, out]."""

    def __init__(self, layer: Layer):
        self._layer = layer
        self._bias = np.zeros(layer.outputs, np.float32)
        self._y = np.zeros((1, layer.outputs), np.float32)
        fast = pays(layer.structure.name, layer.inputs, layer.outputs)
        self._fast = FastProduct(layer.structure.name, layer.inputs, layer.outputs) if fast else None
        self._dense = np.zeros((0, 0) if fast else (layer.inputs, layer.outputs), np.float32)

    def set(self, parameters: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        if self._fast is not None:
            self._fast.set(parameters)
        else:
            self._layer.structure.expand(parameters, self._dense)
        if bias.size:
            self._bias[:] = bias

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._fast is None:
            dense(x, self._dense, self._bias, self._y)
        else:
            self._fast(x, self._y)
            self._y += self._bias
        return self._y
