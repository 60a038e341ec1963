"""The fused update rules against torch.optim and against the paper's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asyncrl.shared.optimizers import OPTIMIZERS, Adam, ClipUp, Rmsprop, Sgd, clip_scale, norm, weighted_mean

SIZE, STEPS = 37, 80
PAIRS = [
    (Sgd(), lambda p, rate: torch.optim.SGD(p, rate)),
    (Sgd(0.9), lambda p, rate: torch.optim.SGD(p, rate, momentum=0.9)),
    (Rmsprop(0.95, 1e-3, inside=False), lambda p, rate: torch.optim.RMSprop(p, rate, alpha=0.95, eps=1e-3)),
    (Adam(epsilon=1e-5), lambda p, rate: torch.optim.Adam(p, rate, eps=1e-5)),
    (Adam((0.7, 0.95), 1e-4), lambda p, rate: torch.optim.Adam(p, rate, betas=(0.7, 0.95), eps=1e-4)),
    (Adam((0.9, 0.9), 1e-5, amsgrad=True), lambda p, rate: torch.optim.Adam(p, rate, betas=(0.9, 0.9), eps=1e-5, amsgrad=True)),
]
EVERY = [pair[0] for pair in PAIRS] + [Rmsprop()]


def place(rule, seed=0):
    vector = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    return vector, np.zeros((max(rule.statistics, 1), SIZE), np.float32)


def gradients(seed=1):
    """Gradients whose size rises and falls, so that AMSGrad differs from Adam."""
    generator = np.random.default_rng(seed)
    return [((1 + 3 * np.sin(i / 5) ** 2) * generator.standard_normal(SIZE)).astype(np.float32) for i in range(STEPS)]


@pytest.mark.parametrize(("rule", "theirs"), PAIRS, ids=lambda part: repr(part) if not callable(part) else "")
def test_equal_to_torch(rule, theirs):
    vector, statistics = place(rule)
    parameter = torch.nn.Parameter(torch.tensor(vector))
    optimizer = theirs([parameter], 0.01)
    for count, gradient in enumerate(gradients(), start=1):
        rate, scale = 0.01 * (1 - count / (2 * STEPS)), 0.5 if count % 3 else 1.0
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(gradient * np.float32(scale))
        optimizer.step()
        rule.step((vector, statistics), gradient, slice(0, SIZE), scale, rate, count)
    np.testing.assert_allclose(vector, parameter.detach().numpy(), rtol=2e-5, atol=2e-6)


def test_rmsprop_is_the_papers_formula():
    rule = Rmsprop(0.99, 0.1)
    vector, statistics = place(rule)
    theta, square = vector.astype(np.float64), np.zeros(SIZE)
    for count, gradient in enumerate(gradients(), start=1):
        for i in range(SIZE):
            square[i] = 0.99 * square[i] + 0.01 * float(gradient[i]) ** 2
            theta[i] -= 0.01 * float(gradient[i]) / (square[i] + 0.1) ** 0.5
        rule.step((vector, statistics), gradient, slice(0, SIZE), 1.0, 0.01, count)
    np.testing.assert_allclose(vector, theta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics[0], square, rtol=1e-5)


def test_clipup_is_the_papers_algorithm():
    rule, speeds = ClipUp(0.8, 3.0), []
    vector, statistics = place(rule)
    theta, velocity = vector.astype(np.float64), np.zeros(SIZE)
    for count, gradient in enumerate(gradients()[:30] + [gradients()[0]] * 20 + [np.zeros(SIZE, np.float32)], start=1):
        length = sum(float(g) ** 2 for g in gradient) ** 0.5
        for i in range(SIZE):
            velocity[i] = 0.8 * velocity[i] + (0.01 * float(gradient[i]) / length if length else 0.0)
        speeds.append(sum(v**2 for v in velocity) ** 0.5)
        velocity *= min(1.0, 0.03 / speeds[-1])
        theta -= velocity
        rule.step((vector, statistics), gradient, slice(0, SIZE), 0.5, 0.01, count)  # the scale does not matter
    np.testing.assert_allclose(vector, theta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics[0], velocity, rtol=1e-5, atol=1e-8)
    assert min(speeds) < 0.03 < max(speeds)  # both cases were met


def test_clipup_refuses_a_part():
    with pytest.raises(ValueError, match="whole"):
        ClipUp().step(place(ClipUp()), np.ones(SIZE, np.float32), slice(0, 16), 1.0, 0.1, 1)


@pytest.mark.parametrize("rule", EVERY, ids=repr)
def test_shards_together_are_the_whole_and_touch_nothing_else(rule):
    whole, parts = place(rule), place(rule)
    for count, gradient in enumerate(gradients()[:5], start=1):
        rule.step(whole, gradient, slice(0, SIZE), 0.7, 0.01, count)
        for part in (slice(0, 16), slice(16, 32), slice(32, SIZE)):
            before = parts[0].copy(), parts[1].copy()
            rule.step(parts, gradient, part, 0.7, 0.01, count)
            outside = np.ones(SIZE, bool)
            outside[part] = False
            np.testing.assert_array_equal(parts[0][outside], before[0][outside])
            np.testing.assert_array_equal(parts[1][:, outside], before[1][:, outside])
            assert (parts[0][part] != before[0][part]).all()
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_registered_rule_descends(name):
    rule = OPTIMIZERS[name]()
    vector, statistics = np.full(4, 3.0, np.float32), np.zeros((max(rule.statistics, 1), 4), np.float32)
    for count in range(1, 400):
        rule.step((vector, statistics), vector.copy(), slice(0, 4), 1.0, 0.05, count)
    assert np.abs(vector).max() < 0.1
    assert rule.statistics in (0, 1, 2, 3)


@pytest.mark.parametrize("longest", [0.5, 3.0, 1000.0])
def test_clipping_is_torchs(longest):
    gradient = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    parameter = torch.nn.Parameter(torch.zeros(1000))
    parameter.grad = torch.tensor(gradient)
    length = torch.nn.utils.clip_grad_norm_([parameter], longest)
    assert norm(gradient) == pytest.approx(float(length), rel=1e-6)
    np.testing.assert_allclose(gradient * np.float32(clip_scale(norm(gradient), longest)), parameter.grad.numpy(), rtol=2e-6)


def test_no_limit_no_clipping():
    assert clip_scale(1e6, 0.0) == 1.0


def test_a_zero_gradient_is_not_divided_by():
    assert clip_scale(0.0, 0.5) == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 17, 999])
def test_the_norm_shows_what_is_no_number(bad, index):
    gradient = np.ones(1000, np.float32)
    gradient[index] = bad
    assert not np.isfinite(norm(gradient))


def test_the_norm_does_not_overflow_where_float32_would():
    assert norm(np.full(100, 1e30, np.float32)) == pytest.approx(1e31, rel=1e-6)


def test_the_mean_is_weighted_in_order_and_leaves_out_weight_zero():
    slots = np.random.default_rng(0).standard_normal((4, 2, SIZE)).astype(np.float32)
    slots[2] = np.nan  # handed nothing over: must not be read
    weights = np.array([20, 5, 0, 40], np.float32)
    out = np.full(SIZE, np.nan, np.float32)
    for parity in (0, 1):
        assert weighted_mean(slots, parity, weights, out) == 65
        expected = np.zeros(SIZE, np.float32)
        for i in (0, 1, 3):  # float32, in this order: every process must get the same bits
            expected += (weights[i] / np.float32(65)) * slots[i, parity]
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)
        again = np.empty_like(out)
        weighted_mean(slots, parity, weights, again)
        np.testing.assert_array_equal(out, again)


def test_no_weight_at_all_gives_zeros():
    out = np.ones(3, np.float32)
    assert weighted_mean(np.full((2, 2, 3), np.nan, np.float32), 0, np.zeros(2, np.float32), out) == 0
    np.testing.assert_array_equal(out, 0)
