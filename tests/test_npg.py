"""Natural gradient against a Fisher matrix that is built explicitly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from asyncrl.heads.categorical import kl_categorical
from asyncrl.heads.gaussian import kl_gaussian
from asyncrl.learners.natural import (
    backtrack,
    conjugate_gradient,
    fisher_product,
    natural_step,
    surrogate,
)

STATES = torch.tensor(np.random.default_rng(0).standard_normal((40, 3)))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_network(outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs)).double()


def categorical():
    """(parameters, distance, the scores of every choice [B, K, N] with their probabilities [B, K])."""
    network = small_network(3)
    parameters = list(network.parameters())
    logits = network(STATES)
    scores = [[flat(torch.autograd.grad(logits[b].log_softmax(-1)[k], parameters, retain_graph=True)) for k in range(3)] for b in range(40)]
    return parameters, kl_categorical(logits, logits.detach()), np.array(scores), logits.softmax(-1).detach().numpy()


def flat(parts):
    return torch.cat([part.reshape(-1) for part in parts]).numpy()


def fisher_of_categorical():
    """F as defined: the expectation of score score^T over states and choices."""
    parameters, distance, scores, probability = categorical()
    matrix = np.einsum("bk,bki,bkj->ij", probability, scores, scores) / len(STATES)
    return parameters, distance, matrix


def fisher_of_gaussian():
    """The same expectation, over each component of the action by Gauss-Hermite quadrature."""
    network, log_std = small_network(2), torch.tensor([-0.5, 0.3], dtype=torch.float64, requires_grad=True)
    parameters = [*network.parameters(), log_std]
    mean, deviation = network(STATES), log_std.detach().exp().numpy()
    points, weights = np.polynomial.hermite_e.hermegauss(5)
    size = sum(parameter.numel() for parameter in parameters)
    matrix = np.zeros((size, size))
    for b in range(len(STATES)):
        for c in range(2):
            slope = np.append(flat(torch.autograd.grad(mean[b, c], list(network.parameters()), retain_graph=True)), [0.0, 0.0])
            for point, weight in zip(points, weights / weights.sum()):
                score = slope * point / deviation[c]
                score[size - 2 + c] = point**2 - 1
                matrix += weight * np.outer(score, score) / len(STATES)
    return parameters, kl_gaussian(mean, log_std, mean.detach(), log_std.detach()), matrix


@pytest.mark.parametrize("fisher", [fisher_of_categorical, fisher_of_gaussian])
def test_products_are_those_of_the_fisher_matrix(fisher):
    parameters, distance, matrix = fisher()
    assert distance.item() == pytest.approx(0, abs=1e-12)
    product = fisher_product(distance, parameters, 0.0)
    columns = np.stack([product(unit) for unit in np.eye(len(matrix))])
    np.testing.assert_allclose(columns, matrix, atol=1e-10)
    np.testing.assert_allclose(columns, columns.T, atol=1e-12)
    damped = fisher_product(distance, parameters, 0.3)
    vector = np.random.default_rng(1).standard_normal(len(matrix))
    np.testing.assert_allclose(damped(vector), matrix @ vector + 0.3 * vector, atol=1e-10)


@pytest.mark.parametrize("fisher", [fisher_of_categorical, fisher_of_gaussian])
def test_the_step_solves_the_damped_system_and_is_as_long_as_the_divergence_allows(fisher):
    parameters, distance, matrix = fisher()
    size = len(matrix)
    gradient = np.random.default_rng(2).standard_normal(size)
    damped = matrix + 0.1 * np.eye(size)
    step, figures = natural_step(fisher_product(distance, parameters, 0.1), gradient, 0.02, 2 * size)
    direction = -np.linalg.solve(damped, gradient)
    np.testing.assert_allclose(step / np.linalg.norm(step), direction / np.linalg.norm(direction), atol=1e-4)
    assert 0.5 * step @ damped @ step == pytest.approx(0.02, rel=1e-6)
    assert figures["expected_improvement"] == pytest.approx(-gradient @ step)
    # No other step of the same divergence promises more.
    for seed in range(50):
        other = np.random.default_rng(seed).standard_normal(size)
        other *= np.sqrt(0.04 / (other @ damped @ other))
        assert -gradient @ other < figures["expected_improvement"]


def test_the_step_reaches_the_divergence_it_aims_at():
    network = small_network(3)
    parameters = list(network.parameters())
    before = network(STATES).detach()
    generator = np.random.default_rng(3)
    chosen, advantage = torch.tensor(generator.integers(0, 3, 40)), torch.tensor(generator.standard_normal(40))

    def judge(step):
        """Loss and divergence after a step, which is then taken back."""
        sizes = [parameter.numel() for parameter in parameters]
        parts = [torch.tensor(part) for part in np.split(step, np.cumsum(sizes)[:-1])]
        with torch.no_grad():
            for parameter, part in zip(parameters, parts):
                parameter += part.view(parameter.shape)
            logits = network(STATES)
            for parameter, part in zip(parameters, parts):
                parameter -= part.view(parameter.shape)
        return loss_of(logits).item(), kl_categorical(logits, before).item()

    def loss_of(logits):
        old, new = (part.log_softmax(-1)[torch.arange(40), chosen] for part in (before, logits))
        return surrogate(new, old, advantage)

    logits = network(STATES)
    loss = loss_of(logits)
    gradient = flat(torch.autograd.grad(loss, parameters, retain_graph=True)).astype(np.float64)
    log_prob = logits.log_softmax(-1)[torch.arange(40), chosen]
    policy_gradient = flat(torch.autograd.grad(-(log_prob * advantage).mean(), parameters, retain_graph=True))
    np.testing.assert_allclose(gradient, policy_gradient, atol=1e-12)
    product = fisher_product(kl_categorical(logits, before), parameters, 1e-3)
    step, _ = natural_step(product, gradient, 1e-3, 60)
    taken, figures = backtrack(judge, step, loss.item(), 1e-3, 10)
    np.testing.assert_array_equal(taken, step)
    assert figures["kl"] == pytest.approx(1e-3, rel=0.35)
    assert figures["improvement"] == pytest.approx(-gradient @ step, rel=0.35)


def test_conjugate_gradient_solves_and_stops():
    generator = np.random.default_rng(4)
    root = generator.standard_normal((12, 12))
    matrix, b = root @ root.T + np.eye(12), generator.standard_normal(12)
    calls = []

    def product(vector):
        calls.append(1)
        return matrix @ vector

    np.testing.assert_allclose(conjugate_gradient(product, b, 40), np.linalg.solve(matrix, b), atol=1e-4)
    assert len(calls) <= 20
    few = conjugate_gradient(product, b, 3)
    assert np.linalg.norm(b - matrix @ few) < np.linalg.norm(b)
    np.testing.assert_array_equal(conjugate_gradient(product, 0 * b, 5), 0)
    np.testing.assert_array_equal(natural_step(product, 0 * b, 0.01, 5)[0], 0)


def test_backtracking_halves_until_it_helps_and_gives_up():
    step = np.array([8.0])
    judge = lambda one: ((one[0] - 1) ** 2, one[0] / 100)  # noqa: E731
    taken, figures = backtrack(judge, step, 1.0, 0.01, 10)
    assert (taken[0], figures["backtracks"]) == (1.0, 3)
    assert figures["improvement"] == pytest.approx(1)
    taken, figures = backtrack(judge, step, 1.0, 0.001, 10)  # the divergence must be 0.002 at most
    assert taken[0] == 0.125
    assert backtrack(judge, step, 1.0, 0.01, 2)[0][0] == 0
    assert backtrack(lambda one: (np.nan, 0.0), step, 1.0, 0.01, 5)[0][0] == 0
    assert backtrack(judge, step, 1.0, 0.01, 0)[0][0] == 8


def test_divergences_are_torchs():
    generator = torch.Generator().manual_seed(0)
    mean, other = torch.randn(2, 7, 3, generator=generator)
    log_std, other_log_std = torch.randn(2, 3, generator=generator) / 2
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(other, other_log_std.exp()), normal(mean, log_std.exp())).sum(-1).mean()
    torch.testing.assert_close(kl_gaussian(mean, log_std, other, other_log_std), expected)
    choice = torch.distributions.Categorical
    expected = torch.distributions.kl_divergence(choice(logits=other), choice(logits=mean)).mean()
    torch.testing.assert_close(kl_categorical(mean, other), expected)
