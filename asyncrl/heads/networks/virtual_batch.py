"""Virtual batch normalisation (Salimans et al., "Improved techniques for training GANs", 2016): statistics of a fixed batch."""

from __future__ import annotations

import numpy as np

from asyncrl.heads.networks.kernels import ACTIVATION, HIDDEN, INPUTS
from asyncrl.heads.networks.layers import dense, relu, tanh
from asyncrl.shared.compiled import njit

VARIANCE_FLOOR = 1e-5


@njit(cache=True, nogil=True, error_model="numpy")
def fold(plan, vector, reference):  # type: ignore[no-untyped-def]
    """Normalise the inputs of every hidden activation by the reference[n, D] batch's mean and deviation, layer by layer.

    plan[K] describes the network (see `kernels`), vector[N] is changed in place.

    A unit computes activation((w x - mean) / deviation + bias), where mean and deviation are those of w x over the batch as
    the layers below, normalised already, pass it on. As both are constants, they go into weights and biases of `vector`: acting
    costs nothing more. Parameters are never normalised twice, since the vector is written afresh for every candidate.
    """
    features, offset = reference, 0
    for layer in range(HIDDEN, plan.size):
        inputs = plan[layer - 1] if layer > HIDDEN else plan[INPUTS]
        outputs = plan[layer]
        weight = vector[offset : offset + inputs * outputs].reshape(inputs, outputs)
        bias = vector[offset + inputs * outputs : offset + inputs * outputs + outputs]
        offset += inputs * outputs + outputs
        before = np.empty((reference.shape[0], outputs), np.float32)
        dense(features, weight, np.zeros(outputs, np.float32), before)
        for j in range(outputs):
            mean, square = 0.0, 0.0
            for n in range(before.shape[0]):
                mean += before[n, j]
            mean /= before.shape[0]
            for n in range(before.shape[0]):
                square += (before[n, j] - mean) ** 2
            scale = 1.0 / np.sqrt(square / before.shape[0] + VARIANCE_FLOOR)
            for i in range(inputs):
                weight[i, j] *= scale
            bias[j] -= mean * scale
            for n in range(before.shape[0]):
                before[n, j] = before[n, j] * scale + bias[j]
        if plan[ACTIVATION] == 0:
            tanh(before)
        elif plan[ACTIVATION] == 1:
            relu(before)
        features = before
