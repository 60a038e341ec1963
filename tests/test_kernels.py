"""The compiled network against torch in float64: outputs, gradients, rollouts, and what is not a number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asyncrl.heads.networks.kernels import (
    backward,
    forward,
    layer_sizes,
    make_plan,
    policy_forward,
    rollout_forward,
    value_forward,
    vector_size,
    workspace_size,
)
from asyncrl.heads.networks.layers import normalise, tanh

INPUTS, OUTPUTS = 7, 3
HIDDEN = [(64, 64), (32,), (), (16, 24, 8)]
networks = pytest.mark.parametrize(
    ("hidden", "activation", "shared"),
    [(hidden, activation, shared) for hidden in HIDDEN for activation in ("tanh", "relu") for shared in (False, True)],
)


def reference(plan, vector, x):
    """policy_output[N, P] and value[N] by torch, in the layout of `layer_sizes`."""
    layers, position = {}, 0
    for name, inputs, outputs in layer_sizes(plan):
        weight = vector[position : position + inputs * outputs].reshape(inputs, outputs)
        position += inputs * outputs
        layers[name] = (weight, vector[position : position + outputs])
        position += outputs
    assert position == len(vector)
    activation = (torch.tanh, torch.relu)[int(plan[1])]

    def tower(name, features):
        for i in range(len(plan) - 4):
            weight, bias = layers[f"{name}.{i}"]
            features = activation(features @ weight + bias)
        return features

    def out(name, features):
        weight, bias = layers[f"{name}.out"]
        return features @ weight + bias

    if plan[0]:
        features = tower("trunk", x)
        return out("policy", features), out("value", features)[:, 0]
    return out("policy", tower("policy", x)), out("value", tower("value", x))[:, 0]


def draw(hidden, activation, shared, rows, seed=0):
    generator = np.random.default_rng(seed)
    plan = make_plan(INPUTS, hidden, OUTPUTS, activation, shared)
    vector = (0.5 * generator.standard_normal(vector_size(plan))).astype(np.float32)
    x = generator.standard_normal((rows, INPUTS)).astype(np.float32)
    return plan, vector, x, generator


def scratch(plan, rows):
    return np.full(workspace_size(plan, rows), np.nan, np.float32)  # whatever is read before it is written shows


@pytest.mark.parametrize("rows", [1, 5, 20])
@networks
def test_outputs_are_those_of_torch(hidden, activation, shared, rows):
    plan, vector, x, _ = draw(hidden, activation, shared, rows)
    policy, value = (part.numpy() for part in reference(plan, torch.tensor(vector).double(), torch.tensor(x).double()))
    out, alone, of_value, value_alone = (np.full((rows, width), np.nan, np.float32) for width in (OUTPUTS, OUTPUTS, 1, 1))
    forward(plan, vector, x, scratch(plan, rows), out, of_value)
    policy_forward(plan, vector, x, scratch(plan, rows), alone)
    value_forward(plan, vector, x, scratch(plan, rows), value_alone)
    for computed, expected in ((out, policy), (alone, policy), (of_value[:, 0], value), (value_alone[:, 0], value)):
        np.testing.assert_allclose(computed, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("rows", [1, 5, 20])
@networks
def test_backward_is_autograd(hidden, activation, shared, rows):
    plan, vector, x, generator = draw(hidden, activation, shared, rows, 1)
    d_policy = generator.standard_normal((rows, OUTPUTS)).astype(np.float32)
    d_value = generator.standard_normal((rows, 1)).astype(np.float32)
    leaf = torch.tensor(vector).double().requires_grad_()
    policy, value = reference(plan, leaf, torch.tensor(x).double())
    (policy * torch.tensor(d_policy)).sum().add((value * torch.tensor(d_value[:, 0])).sum()).backward()

    gradient, work = np.full(vector.size, np.nan, np.float32), scratch(plan, rows)
    for _ in range(2):  # overwritten, never added to
        forward(plan, vector, x, work, np.empty((rows, OUTPUTS), np.float32), np.empty((rows, 1), np.float32))
        backward(plan, vector, x, work, d_policy, d_value, gradient)
    expected = leaf.grad.numpy()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=3e-5 * np.abs(expected).max())


@pytest.mark.parametrize("shared", [False, True])
def test_backward_is_what_finite_differences_say(shared):
    plan, vector, x, generator = draw((5, 4), "tanh", shared, 6, 2)
    d_policy = generator.standard_normal((6, OUTPUTS)).astype(np.float32)
    d_value = generator.standard_normal((6, 1)).astype(np.float32)

    def objective(numbers):
        policy, value = reference(plan, torch.tensor(numbers), torch.tensor(x).double())
        return float((policy.numpy() * d_policy).sum() + (value.numpy() * d_value[:, 0]).sum())

    gradient, work = np.empty(vector.size, np.float32), scratch(plan, 6)
    forward(plan, vector, x, work, np.empty((6, OUTPUTS), np.float32), np.empty((6, 1), np.float32))
    backward(plan, vector, x, work, d_policy, d_value, gradient)
    for i in range(vector.size):
        step = np.zeros(vector.size)
        step[i] = 1e-6
        slope = (objective(vector.astype(float) + step) - objective(vector.astype(float) - step)) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(("steps", "envs"), [(1, 1), (5, 1), (5, 4)])
@networks
def test_a_rollout_values_the_true_successors(hidden, activation, shared, steps, envs):
    plan, vector, _, generator = draw(hidden, activation, shared, 1)
    observation = generator.standard_normal((steps + 1, envs, INPUTS)).astype(np.float32)
    final = generator.standard_normal((steps, envs, INPUTS)).astype(np.float32)
    ended = generator.integers(0, 3, (steps, envs)).astype(np.uint8)
    rows = steps * envs
    policy_output, value = np.full((rows, OUTPUTS), np.nan, np.float32), np.full((rows, 1), np.nan, np.float32)
    next_value, work = np.full((steps, envs), np.nan, np.float32), scratch(plan, rows)
    rollout_forward(plan, vector, observation, final, ended, work, policy_output, value, next_value)

    def of(rows_of_observations):
        policy, values = reference(plan, torch.tensor(vector).double(), torch.tensor(rows_of_observations).double())
        return policy.numpy(), values.numpy()

    policy, values = of(observation[:steps].reshape(rows, INPUTS))
    np.testing.assert_allclose(policy_output, policy, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(value[:, 0], values, rtol=2e-5, atol=2e-5)
    for t in range(steps):
        for e in range(envs):
            successor = final[t, e] if ended[t, e] == 2 else observation[t + 1, e]
            assert next_value[t, e] == pytest.approx(of(successor[None])[1][0], rel=1e-4, abs=2e-5)
    # the hidden outputs of the rollout itself are what `backward` finds
    again = scratch(plan, rows)
    forward(plan, vector, observation[:steps].reshape(rows, INPUTS), again, policy_output, value)
    hidden_numbers = rows * sum(hidden) * (1 if shared else 2)
    np.testing.assert_array_equal(work[:hidden_numbers], again[:hidden_numbers])


def test_tanh_is_within_a_few_units_of_the_last_place():
    x = np.concatenate([np.linspace(-12, 12, 400_001), np.geomspace(1e-30, 1, 1000), [0.0, 1e30, -1e30]]).astype(np.float32)
    y = x.reshape(1, -1).copy()
    tanh(y)
    assert np.abs(y[0] - np.tanh(x.astype(np.float64))).max() < 5e-7
    assert np.abs(y).max() <= 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_parameter_that_is_no_number_shows_in_the_outputs_or_the_gradient(activation, bad):
    plan, vector, x, _ = draw((16, 16), activation, False, 5)
    vector[3] = np.nan if np.isnan(bad) else bad
    policy_output, value, work = np.zeros((5, OUTPUTS), np.float32), np.zeros((5, 1), np.float32), scratch(plan, 5)
    forward(plan, vector, x, work, policy_output, value)
    if np.isnan(bad):
        assert np.isnan(policy_output).all()
    gradient = np.empty(vector.size, np.float32)
    backward(plan, vector, x, work, np.ones_like(policy_output), np.ones_like(value), gradient)
    assert np.isfinite(value).all() and ((activation == "tanh" and np.isinf(bad)) or not np.isfinite(gradient).all())


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 17), (3, 376)])
@pytest.mark.parametrize("layout", ["plain", "strided", "reversed"])
def test_normalise_shifts_scales_clips_and_finds_what_is_no_number(on, shape, layout):
    generator = np.random.default_rng(0)
    store = (5 * generator.standard_normal((shape[0], 2 * shape[1]))).astype(np.float32)
    raw = {"plain": store[:, : shape[1]].copy(), "strided": store[:, ::2], "reversed": store[:, shape[1] - 1 :: -1]}[layout]
    assert raw.shape == shape
    normaliser = np.zeros((3, shape[1]), np.float32)
    normaliser[0], normaliser[1], normaliser[2, 0] = 1.5, 4.0, on
    out = np.empty(shape, np.float32)
    assert normalise(raw, normaliser, out)
    np.testing.assert_allclose(out, np.clip((raw - 1.5) * 4.0, -10, 10) if on else raw, rtol=1e-6)
    for bad in (np.nan, np.inf, -np.inf):
        for place in {(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 2, shape[1] // 2)}:
            before, raw[place] = raw[place], bad
            assert not normalise(raw, normaliser, out)
            raw[place] = before
    assert normalise(raw, normaliser, out)
