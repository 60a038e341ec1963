"""The written-out gradient, torch's, and plain loops must agree."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from asyncrl.algos.a3c import A3C, A3COptions
from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.networks.modules import Trunk, initialise
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.learners.fused import FusedGradient, gradient_of
from asyncrl.learners.gradients import POLICY_FIGURES, AutogradGradient, WrittenGradient
from asyncrl.trajectory import TERMINATED, TRUNCATED, Trajectory

DISCRETE = EnvSpec((5,), "float32", "discrete", (3,), (), (), (), (0,))
MULTI = EnvSpec((5,), "float32", "multidiscrete", (3, 2, 4), (3,), (), (), (0, 0, 0))
BOX = EnvSpec((5,), "float32", "box", (), (2,), (-1.0, -2.0), (1.0, 3.0), ())
IMAGE = EnvSpec((3, 36, 40), "uint8", "discrete", (4,), (), (), (), (0,))
SPECS = {"discrete": DISCRETE, "multidiscrete": MULTI, "box": BOX}
SMALL = NetworkOptions(hidden=(16, 8))
SUM = A3COptions(reduction="sum", value_weight=1.0, gamma=0.9, gae_lambda=1.0)


def rollout(policy, steps, envs, seed=0, ends=True):
    """Random numbers with terminations, truncations and a recurrent memory in them; nothing that no worker could meet."""
    spec, head = policy.spec, policy.head
    generator = np.random.default_rng(seed)
    shapes = (spec.observation_shape, spec.observation_dtype), (head.components, head.action_dtype)
    trajectory = Trajectory.empty(Trajectory.layout(steps, envs, *shapes, policy.memory_size))
    for array in (trajectory.observation, trajectory.final_observation):
        array[:] = generator.integers(0, 256, array.shape) if spec.is_image else generator.standard_normal(array.shape)
    if spec.action_kind == "box":
        trajectory.action[:] = generator.standard_normal(trajectory.action.shape)
    else:
        trajectory.action[:] = generator.integers(0, spec.action_sizes, trajectory.action.shape)
    trajectory.reward[:] = generator.standard_normal((steps, envs))
    if ends:
        trajectory.ended[:] = generator.choice([0, 1, 2], (steps, envs), p=[0.6, 0.2, 0.2])
        if steps * envs >= 4:  # ends in the middle and at the very last step, of both kinds
            trajectory.ended.flat[[0, 1]] = TERMINATED, TRUNCATED
            trajectory.ended.flat[[-1, -2]] = TRUNCATED, TERMINATED
    trajectory.final_observation[trajectory.ended != TRUNCATED] = 99  # holds the past: must not be read
    trajectory.memory[:] = 0.3 * generator.standard_normal(trajectory.memory.shape)
    return trajectory


def sharpened(policy, seed=0):
    """Fresh parameters, the policy's outputs no longer near zero."""
    vector = policy.initial(seed)
    return (vector + 0.3 * np.random.default_rng(seed).standard_normal(vector.size)).astype(np.float32)


def close(computed, expected, tolerance=2e-5):
    np.testing.assert_allclose(computed, expected, rtol=1e-3, atol=tolerance * max(1e-3, float(np.abs(expected).max())))


# The two of the package against each other.

CHOICES = [
    A3COptions(),
    A3COptions(reduction="sum", value_weight=1.0, gae_lambda=1.0),
    A3COptions(gae_lambda=0.9, gamma=0.8),
    A3COptions(normalize_advantages=True),
    A3COptions(reduction="sum", normalize_advantages=True, gae_lambda=0.5, value_weight=0.2),
]


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("trunk", ["shared", "separate"])
@pytest.mark.parametrize("options", CHOICES, ids=range(len(CHOICES)))
def test_written_is_autograd(kind, trunk, options):
    policy = Policy(SPECS[kind], "auto", NetworkOptions(hidden=(16, 8), trunk=trunk))
    vector = sharpened(policy)
    for steps, envs, entropy_weight in ((1, 1, 0.01), (5, 1, 0.0), (6, 3, 0.3)):
        trajectory = rollout(policy, steps, envs, steps)
        written, by_torch = (kind(policy, vector, steps, envs, options, A3C) for kind in (WrittenGradient, AutogradGradient))
        losses, by_torchs = written(trajectory, entropy_weight), by_torch(trajectory, entropy_weight)
        close(written.gradient, by_torch.gradient)
        np.testing.assert_allclose(losses, by_torchs, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(written.figures, by_torch.figures, rtol=1e-4, atol=1e-5)
        told = dict(zip(POLICY_FIGURES, written.figures))
        assert told["residual_square"] * (steps * envs if options.reduction == "sum" else 1) == pytest.approx(losses.value_loss, rel=1e-4)
        assert np.abs(written.gradient).max() > 1e-3


def test_a_head_that_writes_its_gradient_itself_is_asked_for_it(monkeypatch):
    policy = Policy(DISCRETE, "auto", SMALL)
    assert policy.head.one_loss_call
    monkeypatch.setattr(type(policy.head), "output_gradient", lambda self, *given: (0.0, 0.0))
    assert not policy.head.one_loss_call
    assert type(gradient_of(policy, policy.initial(0), 2, 1, SUM, A3C)) is WrittenGradient


@pytest.mark.parametrize("kind", SPECS)
def test_one_call_is_the_steps_to_the_bit(kind):
    for hidden, trunk in (((), "separate"), ((64, 64), "separate"), ((12, 9), "shared")):
        policy = Policy(SPECS[kind], "auto", NetworkOptions(hidden=hidden, trunk=trunk))
        vector = sharpened(policy)
        for number, options in enumerate(CHOICES):
            trajectory = rollout(policy, 7, 2, number)
            trajectory.temperature, trajectory.epsilon = 1.0 + number, 0.2 * (number == 3)
            fused, stepwise = (kind(policy, vector, 7, 2, options, A3C) for kind in (FusedGradient, WrittenGradient))
            for _ in range(2):  # what the first call has left changes nothing
                np.testing.assert_allclose(fused(trajectory, 0.1), stepwise(trajectory, 0.1), rtol=1e-6)
                np.testing.assert_array_equal(fused.gradient, stepwise.gradient)
                np.testing.assert_allclose(fused.figures, stepwise.figures, rtol=1e-6)
            assert np.abs(fused.gradient).max() > 1e-3


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (64, 64), (8,), (12, 9, 7)])
def test_written_is_autograd_for_every_shape(hidden, activation):
    for trunk in ("shared", "separate"):
        policy = Policy(DISCRETE, "auto", NetworkOptions(hidden=hidden, activation=activation, trunk=trunk))
        vector, trajectory = sharpened(policy), rollout(policy, 5, 2)
        written, by_torch = (kind(policy, vector, 5, 2, SUM, A3C) for kind in (WrittenGradient, AutogradGradient))
        written(trajectory, 0.1), by_torch(trajectory, 0.1)
        close(written.gradient, by_torch.gradient)


def test_a_log_deviation_beyond_its_limits_is_led_back_and_no_further_away():
    """The slope there is that of the nearest limit, where descending it leads back; nothing where it leads on."""
    policy = Policy(BOX, "auto", SMALL)
    found = []
    for outside, limit in ((-6.0, -5.0), (3.0, 2.0)):
        for seed in range(4):
            vector, trajectory = sharpened(policy), rollout(policy, 5, 2, seed)
            trajectory.action *= 0.02 if outside < 0 else 1.0
            trajectory.reward += 3.0 * (-1) ** seed
            slopes = []
            for value in (limit, outside):
                vector[-2:] = value, 0.5
                written, by_torch = (kind(policy, vector, 5, 2, SUM, A3C) for kind in (WrittenGradient, AutogradGradient))
                written(trajectory, 0.1), by_torch(trajectory, 0.1)
                close(written.gradient, by_torch.gradient)
                slopes.append(float(written.gradient[-2]))
            leads_back = (slopes[0] > 0) == (outside > limit)
            assert slopes[1] == (pytest.approx(slopes[0], rel=1e-5) if leads_back else 0.0)
            found.append((outside, leads_back))
    assert len(set(found)) == 4, "both ways at both limits"


@pytest.mark.parametrize("kind", SPECS)
def test_written_is_autograd_whatever_the_worker_explores_with(kind):
    policy = Policy(SPECS[kind], "auto", SMALL)
    vector, gradients = sharpened(policy), []
    for temperature, epsilon in ((1.0, 0.0), (0.5, 0.0), (2.0, 0.3), (1.0, 1.0)):
        trajectory = rollout(policy, 6, 3)
        trajectory.action[:] = np.clip(trajectory.action, -1, 1) if kind == "box" else trajectory.action
        trajectory.temperature, trajectory.epsilon = temperature, epsilon
        written, by_torch = (one(policy, vector, 6, 3, CHOICES[3], A3C) for one in (WrittenGradient, AutogradGradient))
        losses, by_torchs = written(trajectory, 0.1), by_torch(trajectory, 0.1)
        close(written.gradient, by_torch.gradient)
        np.testing.assert_allclose(losses, by_torchs, rtol=1e-4, atol=1e-5)
        gradients.append(written.gradient.copy())
    assert all(np.abs(gradients[0] - other).max() > 1e-3 for other in gradients[1:])


# Both against the algorithm's text.


def softmax_loops(policy, vector, trajectory, entropy_weight):
    """Algorithm S3 read aloud: rollout by rollout, step by step, gradients added up one at a time. Float64.

    d theta is accumulated as the descent of -log pi(a|s) (R - V) (and of the entropy's weight), d theta_v as that of
    (R - V)^2, with R a constant; an end of an episode begins a new R.
    """
    module, _ = policy.module(vector.copy(), None)
    module = module.double()
    total = [torch.zeros_like(parameter) for parameter in module.parameters()]

    def value_of(observation):
        return float(module(torch.tensor(observation[None]).double())[1].detach())

    steps, envs = trajectory.reward.shape
    for e in range(envs):
        following = value_of(trajectory.observation[steps, e])
        for i in reversed(range(steps)):
            if trajectory.ended[i, e] == TERMINATED:
                following = 0.0
            elif trajectory.ended[i, e] == TRUNCATED:
                following = value_of(trajectory.final_observation[i, e])
            following = float(trajectory.reward[i, e]) + SUM.gamma * following
            logits, value = module(torch.tensor(trajectory.observation[i, e][None]).double())
            distribution = torch.distributions.Categorical(logits=logits)
            log_prob = distribution.log_prob(torch.tensor([int(trajectory.action[i, e, 0])]))
            descent = -log_prob * (following - float(value.detach())) + (following - value) ** 2 - entropy_weight * distribution.entropy()
            for part, added in zip(total, torch.autograd.grad(descent.sum(), list(module.parameters()))):
                part += added
    return torch.cat([part.reshape(-1) for part in total]).numpy()


@pytest.mark.parametrize("trunk", ["shared", "separate"])
@pytest.mark.parametrize("kind", [WrittenGradient, AutogradGradient])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.05])
def test_sum_and_weight_one_is_algorithm_s3(kind, trunk, entropy_weight):
    policy = Policy(DISCRETE, "auto", dataclasses.replace(SMALL, trunk=trunk))
    vector, trajectory = sharpened(policy), rollout(policy, 7, 2)
    gradient = kind(policy, vector, 7, 2, SUM, A3C)
    gradient(trajectory, entropy_weight)
    close(gradient.gradient, softmax_loops(policy, vector, trajectory, entropy_weight))


def test_the_mean_is_the_sum_divided_by_the_steps():
    policy = Policy(DISCRETE, "auto", SMALL)
    vector, trajectory = sharpened(policy), rollout(policy, 5, 3)
    total, mean = (WrittenGradient(policy, vector, 5, 3, dataclasses.replace(SUM, reduction=kind), A3C) for kind in ("sum", "mean"))
    total(trajectory, 0.1), mean(trajectory, 0.1)
    close(mean.gradient, total.gradient / 15)


# Three backward passes give three gradients.


@pytest.mark.parametrize("kind", [WrittenGradient, AutogradGradient])
def test_a_gradient_is_overwritten_not_added_to(kind):
    policy = Policy(BOX, "auto", SMALL)
    vector, gradient = sharpened(policy), None
    learner = kind(policy, vector, 4, 1, SUM, A3C)
    view, seen = learner.gradient, []
    for seed in (1, 2, 3, 1):
        learner(rollout(policy, 4, 1, seed), 0.01)
        assert learner.gradient is view
        seen.append(view.copy())
    np.testing.assert_array_equal(seen[0], seen[3])
    for gradient, seed in zip(seen, (1, 2, 3)):
        fresh = kind(policy, vector, 4, 1, SUM, A3C)
        fresh(rollout(policy, 4, 1, seed), 0.01)
        np.testing.assert_array_equal(gradient, fresh.gradient)
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("options", [SMALL, NetworkOptions(hidden=(8,), recurrent=6), NetworkOptions(hidden=(8,), trunk="shared")])
@pytest.mark.parametrize("spec", [DISCRETE, BOX, IMAGE], ids=["discrete", "box", "image"])
def test_a_modules_memory_is_the_flat_vector(spec, options):
    policy = Policy(spec, "auto", options)
    vector, gradient = policy.initial(0), np.zeros(policy.size, np.float32)
    module, extra = policy.module(vector, gradient)
    parameters = [*module.parameters(), extra]
    assert sum(parameter.numel() for parameter in parameters) == vector.size
    vector[:] = np.arange(vector.size)
    gradient[:] = -vector
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    np.testing.assert_array_equal(flat.numpy(), vector)
    np.testing.assert_array_equal(torch.cat([parameter.grad.reshape(-1) for parameter in parameters]).numpy(), gradient)
    with torch.no_grad():
        for parameter in parameters:
            parameter.fill_(7.0)
    assert (vector == 7.0).all()


@pytest.mark.parametrize("kind", [WrittenGradient, AutogradGradient])
def test_a_gradient_sees_parameters_that_change_in_place(kind):
    policy = Policy(DISCRETE, "auto", SMALL)
    vector, trajectory = sharpened(policy, 0), rollout(policy, 4, 1)
    learner = kind(policy, vector, 4, 1, SUM, A3C)
    learner(trajectory, 0.0)
    vector[:] = sharpened(policy, 1)
    learner(trajectory, 0.0)
    fresh = kind(policy, vector.copy(), 4, 1, SUM, A3C)
    fresh(trajectory, 0.0)
    np.testing.assert_array_equal(learner.gradient, fresh.gradient)


def test_descending_the_gradient_descends_the_value_error():
    for spec in (DISCRETE, IMAGE):
        policy = Policy(spec, "auto", NetworkOptions(hidden=(16,)))
        vector, trajectory = policy.initial(0), rollout(policy, 6, 2)
        trajectory.ended[:] = TERMINATED  # fixed targets
        learner = gradient_of(policy, vector, 6, 2, A3COptions(), A3C)
        losses = []
        for _ in range(30):
            losses.append(learner(trajectory, 0.0).value_loss)
            vector -= 0.02 * learner.gradient / max(1.0, float(np.linalg.norm(learner.gradient)))
        assert losses[-1] < losses[0]


# Other networks.


def test_the_fastest_that_serves():
    light, image = Policy(BOX, "auto", SMALL), Policy(IMAGE, "auto", SMALL)
    recurrent = Policy(BOX, "auto", NetworkOptions(recurrent=4))
    assert isinstance(gradient_of(light, light.initial(0), 2, 1, SUM, A3C), FusedGradient)
    for policy in (recurrent, image):
        assert isinstance(gradient_of(policy, policy.initial(0), 2, 1, SUM, A3C), AutogradGradient)


def recurrent_loops(policy, vector, trajectory, options, entropy_weight):
    """Every environment on its own, the cell's equations written out, episodes cut by hand. Float64."""
    module, extra = policy.module(vector.copy(), None)
    module, extra = module.double(), extra.detach().double().requires_grad_()
    cell = module.cell

    def advance(observation, hidden, carry):
        features = module.trunk.layers(torch.tensor(observation[None]).double())
        gates = features @ cell.weight_ih.T + cell.bias_ih + hidden @ cell.weight_hh.T + cell.bias_hh
        into, forget, new, out = gates.chunk(4, 1)
        carry = torch.sigmoid(forget) * carry + torch.sigmoid(into) * torch.tanh(new)
        hidden = torch.sigmoid(out) * torch.tanh(carry)
        return module.policy_out(hidden), module.value_out(hidden)[0, 0], hidden, carry

    total = torch.zeros((), dtype=torch.float64)
    steps, envs = trajectory.reward.shape
    for e in range(envs):
        hidden, carry = (torch.tensor(trajectory.memory[k, e][None]).double() for k in (0, 1))
        rows, bootstrap = [], {}
        for t in range(steps):
            output, value, hidden, carry = advance(trajectory.observation[t, e], hidden, carry)
            rows.append((output, value))
            if trajectory.ended[t, e] == TRUNCATED:
                bootstrap[t] = float(advance(trajectory.final_observation[t, e], hidden, carry)[1].detach())
            if trajectory.ended[t, e]:
                hidden, carry = torch.zeros_like(hidden), torch.zeros_like(carry)
        following = float(advance(trajectory.observation[steps, e], hidden, carry)[1].detach())
        for t in reversed(range(steps)):
            if trajectory.ended[t, e]:
                following = bootstrap.get(t, 0.0)
            following = float(trajectory.reward[t, e]) + options.gamma * following
            output, value = rows[t]
            if policy.spec.action_kind == "box":
                distribution = torch.distributions.Independent(torch.distributions.Normal(output[0], extra.exp()), 1)
                log_prob = distribution.log_prob(torch.tensor(trajectory.action[t, e]).double())
            else:
                distribution = torch.distributions.Categorical(logits=output[0])
                log_prob = distribution.log_prob(torch.tensor(int(trajectory.action[t, e, 0])))
            total = total - log_prob * (following - float(value.detach())) + (following - value) ** 2
            total = total - entropy_weight * distribution.entropy()
    leaves = [*module.parameters(), *([extra] if extra.numel() else [])]
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(total, leaves)]).numpy()


@pytest.mark.parametrize("spec", [DISCRETE, BOX], ids=["discrete", "box"])
def test_a_recurrent_gradient_is_that_of_the_steps_one_by_one(spec):
    policy = Policy(spec, "auto", NetworkOptions(hidden=(8,), recurrent=6))
    vector = sharpened(policy)
    for steps, envs in ((1, 1), (6, 3)):
        trajectory = rollout(policy, steps, envs, 3)
        learner = AutogradGradient(policy, vector, steps, envs, SUM, A3C)
        learner(trajectory, 0.05)
        close(learner.gradient, recurrent_loops(policy, vector, trajectory, SUM, 0.05))


def test_convolutions_take_pixels_as_parts_of_one_and_learn():
    policy = Policy(IMAGE, "auto", NetworkOptions())
    vector, trajectory = policy.initial(0), rollout(policy, 3, 2)
    learner = gradient_of(policy, vector, 3, 2, A3COptions(), A3C)
    losses = learner(trajectory, 0.01)
    assert np.isfinite(losses).all() and np.isfinite(learner.gradient).all()
    module, _ = policy.module(vector, learner.gradient)
    output, value = module(torch.from_numpy(trajectory.observation[0]))
    assert output.shape == (2, 4) and value.shape == (2,)
    shapes = [tuple(parameter.shape) for parameter in module.parameters() if parameter.dim() == 4]
    assert shapes == [(16, 3, 8, 8), (32, 16, 4, 4)]
    assert all(np.abs(parameter.grad.numpy()).max() > 0 for parameter in module.parameters())
    by_hand = module.trunk.layers(torch.from_numpy(trajectory.observation[0]).float() / 255)
    assert torch.allclose(module.policy_out(by_hand), output, atol=1e-6)


def test_images_too_small_for_the_convolutions_are_refused():
    Policy(dataclasses.replace(IMAGE, observation_shape=(1, 20, 20)), "auto", NetworkOptions())
    with pytest.raises(UserError, match=r"19x40 are too small.*20x20"):
        Policy(dataclasses.replace(IMAGE, observation_shape=(3, 19, 40)), "auto", NetworkOptions())


def test_the_trunk_for_images_is_its_layers():
    """Called as functions, in two layouts, they give what they give one after the other, and the same gradients."""
    trunk = Trunk(IMAGE, (24, 8), "tanh")
    initialise(trunk, 0)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, *IMAGE.observation_shape), np.uint8))
    plain, called = trunk.layers(image.float() / 255.0), trunk(image)
    assert (plain > 0).any()
    parameters = list(trunk.parameters())
    ours, expected = (torch.autograd.grad(features.square().sum(), parameters) for features in (called, plain))
    for one, other in zip(ours, expected):
        close(one.numpy(), other.numpy())
    with torch.inference_mode():
        close(trunk(image).numpy(), plain.detach().numpy())
    close(called.detach().numpy(), plain.detach().numpy())
