"""The MLP actor-critic on flat float32 vectors: forward and written-out gradient, compiled.

The vector holds, one after another, every layer's weight [in, out] and bias [out], of a policy tower and then of a
value tower; with a shared trunk, of the trunk and then of the two output layers. Where nothing needs v(s) there is the policy
tower alone, and only the functions that are named after it are used. `plan` describes it (see `make_plan`).
Rows are independent, so that one function serves acting (N environments) and learning (N = T x environments).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.networks.layers import FAST, activation_backward, dense, dense_backward, relu, tanh
from asyncrl.shared.compiled import njit

SHARED, ACTIVATION, INPUTS, POLICY_OUTPUTS, HIDDEN = 0, 1, 2, 3, 4
"""Positions in a plan: trunk (one of the below), activation (0 tanh, 1 relu, 2 linear), inputs, policy outputs, first hidden size."""

ACTIVATIONS = ("tanh", "relu", "linear")
"""What a unit of a hidden layer may compute, in the order of the numbers in a plan."""
SEPARATE_TRUNKS, SHARED_TRUNK, POLICY_ALONE = range(3)


def make_plan(inputs: int, hidden: tuple[int, ...], policy_outputs: int, activation: str, shared: int) -> NDArray[np.int64]:
    """plan[4 + hidden layers], which describes an MLP actor-critic to the kernels.

    `shared`: SEPARATE_TRUNKS, SHARED_TRUNK or POLICY_ALONE.
    """
    return np.array([int(shared), ACTIVATIONS.index(activation), inputs, policy_outputs, *hidden], dtype=np.int64)


def layer_sizes(plan: NDArray[np.int64]) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of every layer of plan[4 + hidden layers], in the order of the vector."""
    hidden = [int(size) for size in plan[HIDDEN:]]
    sizes = [int(plan[INPUTS]), *hidden]
    outputs = int(plan[POLICY_OUTPUTS])
    if plan[SHARED] == SHARED_TRUNK:
        trunk = [(f"trunk.{i}", sizes[i], sizes[i + 1]) for i in range(len(hidden))]
        return [*trunk, ("policy.out", sizes[-1], outputs), ("value.out", sizes[-1], 1)]
    towers = []
    lasts = (("policy", outputs), ("value", 1))
    for tower, last in lasts[:1] if plan[SHARED] == POLICY_ALONE else lasts:
        towers += [(f"{tower}.{i}", sizes[i], sizes[i + 1]) for i in range(len(hidden))]
        towers.append((f"{tower}.out", sizes[-1], last))
    return towers


def vector_size(plan: NDArray[np.int64]) -> int:
    """How many numbers the layers of plan[4 + hidden layers] take."""
    return sum(inputs * outputs + outputs for _, inputs, outputs in layer_sizes(plan))


def workspace_size(plan: NDArray[np.int64], rows: int) -> int:
    """Floats of scratch that `forward` and `backward` need for so many rows, with plan[4 + hidden layers]."""
    widest = int(max(plan[HIDDEN:], default=1))
    towers = 1 if plan[SHARED] else 2
    return rows * (towers * int(plan[HIDDEN:].sum()) + 2 * widest) + 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _hidden_forward(plan, vector, offset, x, work, start):  # type: ignore[no-untyped-def]
    """Run hidden layers from vector[offset:]; outputs go to work[start:], layer after layer.

    Returns (offset after them, index in work of the last layer's output, index after it).
    """
    rows = x.shape[0]
    layer_input = x
    last = start
    for layer in range(HIDDEN, plan.size):
        inputs, outputs = layer_input.shape[1], plan[layer]
        weight = vector[offset : offset + inputs * outputs].reshape(inputs, outputs)
        offset += inputs * outputs
        y = work[start : start + rows * outputs].reshape(rows, outputs)
        dense(layer_input, weight, vector[offset : offset + outputs], y)
        offset += outputs
        if plan[ACTIVATION] == 0:
            tanh(y)
        elif plan[ACTIVATION] == 1:
            relu(y)
        last = start
        start += rows * outputs
        layer_input = y
    return offset, last, start


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _output_forward(vector, offset, x, y):  # type: ignore[no-untyped-def]
    inputs, outputs = x.shape[1], y.shape[1]
    weight = vector[offset : offset + inputs * outputs].reshape(inputs, outputs)
    offset += inputs * outputs
    dense(x, weight, vector[offset : offset + outputs], y)
    return offset + outputs


@njit(cache=True)
def _tower_size(plan, outputs):  # type: ignore[no-untyped-def]
    """Numbers of the hidden layers plus, when outputs > 0, of an output layer."""
    size, inputs = 0, plan[INPUTS]
    for layer in range(HIDDEN, plan.size):
        size += inputs * plan[layer] + plan[layer]
        inputs = plan[layer]
    return size + (inputs * outputs + outputs if outputs > 0 else 0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _tower_forward(plan, vector, offset, x, work, start, y):  # type: ignore[no-untyped-def]
    """Hidden layers and one output layer; returns the index after the scratch that was used."""
    rows = x.shape[0]
    offset, last, after = _hidden_forward(plan, vector, offset, x, work, start)
    width = plan[plan.size - 1] if plan.size > HIDDEN else plan[INPUTS]
    features = work[last : last + rows * width].reshape(rows, width) if plan.size > HIDDEN else x
    _output_forward(vector, offset, features, y)
    return after


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def policy_forward(plan, vector, x, work, policy_output):  # type: ignore[no-untyped-def]
    """policy_output[N, P] of observations x[N, D]: all that acting needs. Leaves the hidden outputs in `work`."""
    _tower_forward(plan, vector, 0, x, work, 0, policy_output)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def forward(plan, vector, x, work, policy_output, value):  # type: ignore[no-untyped-def]
    """policy_output[N, P] and value[N, 1] of x[N, D] by plan[K] and vector[S]; leaves the hidden outputs in work[W] for `backward`."""
    after = _tower_forward(plan, vector, 0, x, work, 0, policy_output)
    if plan[SHARED] == 0:
        _tower_forward(plan, vector, _tower_size(plan, plan[POLICY_OUTPUTS]), x, work, after, value)
        return
    rows = x.shape[0]
    width = plan[plan.size - 1] if plan.size > HIDDEN else plan[INPUTS]
    features = work[after - rows * width : after].reshape(rows, width) if plan.size > HIDDEN else x
    _output_forward(vector, _tower_size(plan, plan[POLICY_OUTPUTS]), features, value)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def value_forward(plan, vector, x, work, value):  # type: ignore[no-untyped-def]
    """value[N, 1] of x[N, D] alone, by plan[K] and vector[S], with work[W]."""
    if plan[SHARED] == 0:
        _tower_forward(plan, vector, _tower_size(plan, plan[POLICY_OUTPUTS]), x, work, 0, value)
        return
    rows = x.shape[0]
    _, last, _ = _hidden_forward(plan, vector, 0, x, work, 0)
    width = plan[plan.size - 1] if plan.size > HIDDEN else plan[INPUTS]
    features = work[last : last + rows * width].reshape(rows, width) if plan.size > HIDDEN else x
    _output_forward(vector, _tower_size(plan, plan[POLICY_OUTPUTS]), features, value)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def rollout_forward(plan, vector, observation, final_observation, ended, work, policy_output, value, next_value):  # type: ignore[no-untyped-def]
    """Outputs for a whole rollout, observation[T+1, E, D]; leaves the hidden outputs of its T x E rows in `work`.

    policy_output[T*E, P] and value[T*E, 1] of the states acted in; next_value[T, E] of their true successors: of
    observation[t+1], or of final_observation[t] where ended[t] is 2 (truncated).
    """
    steps, envs, inputs = final_observation.shape
    rows = steps * envs
    scratch = np.empty((envs, 1), np.float32)
    # The rollout itself comes last, since its hidden outputs must stay in `work` for `backward`.
    value_forward(plan, vector, observation[steps], work, scratch)
    next_value[steps - 1] = scratch[:, 0]
    single = np.empty((1, 1), np.float32)
    for t in range(steps):
        for e in range(envs):
            if ended[t, e] == 2:
                value_forward(plan, vector, final_observation[t, e : e + 1], work, single)
                next_value[t, e] = single[0, 0]
    forward(plan, vector, observation[:steps].reshape(rows, inputs), work, policy_output, value)
    for t in range(steps):
        for e in range(envs):
            if ended[t, e] != 2 and t < steps - 1:
                next_value[t, e] = value[(t + 1) * envs + e, 0]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _output_backward(vector, gradient, offset, x, dy, dx, need_dx):  # type: ignore[no-untyped-def]
    inputs, outputs = x.shape[1], dy.shape[1]
    size = inputs * outputs
    dense_backward(
        x,
        vector[offset : offset + size].reshape(inputs, outputs),
        dy,
        gradient[offset : offset + size].reshape(inputs, outputs),
        gradient[offset + size : offset + size + outputs],
        dx,
        need_dx,
    )


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _hidden_backward(plan, vector, gradient, offset, x, work, start, dy, spare):  # type: ignore[no-untyped-def]
    """Gradients of the hidden layers that begin at `offset`, with outputs in work[start:]; dy is the last one's."""
    rows = x.shape[0]
    for layer in range(HIDDEN, plan.size):
        inputs = plan[layer - 1] if layer > HIDDEN else plan[INPUTS]
        offset += inputs * plan[layer] + plan[layer]
        start += rows * plan[layer]
    for layer in range(plan.size - 1, HIDDEN - 1, -1):
        outputs = plan[layer]
        inputs = plan[layer - 1] if layer > HIDDEN else plan[INPUTS]
        offset -= inputs * outputs + outputs
        start -= rows * outputs
        d_output = dy[: rows * outputs].reshape(rows, outputs)
        activation_backward(plan[ACTIVATION], work[start : start + rows * outputs].reshape(rows, outputs), d_output)
        if layer > HIDDEN:
            before = work[start - rows * inputs : start].reshape(rows, inputs)
            _output_backward(vector, gradient, offset, before, d_output, spare[: rows * inputs].reshape(rows, inputs), True)
            dy, spare = spare, dy
        else:
            _output_backward(vector, gradient, offset, x, d_output, d_output, False)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def policy_backward(plan, vector, x, work, d_policy, gradient):  # type: ignore[no-untyped-def]
    """Write gradient[S] of the policy tower's layers for d_policy[N, P].

    After `policy_forward` with the same plan[K], vector[S], x[N, D], work[W].
    """
    rows = x.shape[0]
    after = rows * plan[HIDDEN:].sum()
    half = (work.size - after) // 2
    first, second = work[after : after + half], work[after + half :]
    if plan.size == HIDDEN:
        _output_backward(vector, gradient, 0, x, d_policy, x, False)
        return
    width = plan[plan.size - 1]
    features = work[after - rows * width : after].reshape(rows, width)
    _output_backward(vector, gradient, _tower_size(plan, 0), features, d_policy, first[: rows * width].reshape(rows, width), True)
    _hidden_backward(plan, vector, gradient, 0, x, work, 0, first, second)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def backward(plan, vector, x, work, d_policy, d_value, gradient):  # type: ignore[no-untyped-def]
    """Write gradient[S] of every layer for d_policy[N, P] and d_value[N, 1].

    After `forward` with the same plan[K], vector[S], x[N, D], work[W].
    """
    rows = x.shape[0]
    hidden_total = rows * plan[HIDDEN:].sum()
    after = hidden_total if plan[SHARED] else 2 * hidden_total
    half = (work.size - after) // 2
    first, second = work[after : after + half], work[after + half :]
    width = plan[plan.size - 1] if plan.size > HIDDEN else plan[INPUTS]
    has_hidden = plan.size > HIDDEN
    hidden_size = _tower_size(plan, 0)
    value_start = _tower_size(plan, plan[POLICY_OUTPUTS])
    features = work[hidden_total - rows * width : hidden_total].reshape(rows, width) if has_hidden else x
    d_first = first[: rows * width].reshape(rows, width) if has_hidden else features
    _output_backward(vector, gradient, hidden_size, features, d_policy, d_first, has_hidden)
    if plan[SHARED]:
        d_second = second[: rows * width].reshape(rows, width) if has_hidden else features
        _output_backward(vector, gradient, value_start, features, d_value, d_second, has_hidden)
        if has_hidden:
            for n in range(rows):
                for j in range(width):
                    d_first[n, j] += d_second[n, j]
            _hidden_backward(plan, vector, gradient, 0, x, work, 0, first, second)
        return
    if has_hidden:
        _hidden_backward(plan, vector, gradient, 0, x, work, 0, first, second)
        features = work[2 * hidden_total - rows * width : 2 * hidden_total].reshape(rows, width)
    _output_backward(vector, gradient, value_start + hidden_size, features, d_value, d_first, has_hidden)
    if has_hidden:
        _hidden_backward(plan, vector, gradient, value_start, x, work, hidden_total, first, second)
