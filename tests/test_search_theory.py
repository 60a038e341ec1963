"""Gradient estimates against closed forms. D = 20 unless stated; errors are relative to |gradient|^2, in units with 1/sigma.

Errors of one batch of M directions, linear F, antithetic ([S000] theorem 1, [S001], and the same for sign matrices):
with E1 = E|eps eps^T g|^2 (D + 2 for normal entries, D for norm sqrt(D)) and C = E[(eps_i.g)(eps_j.g)(eps_i.eps_j)]
(1 for independent rows, 0 for orthogonal ones, (n - D)/(n - 1) for rows of a Hadamard matrix of order n cut off after D),
it is E1/M + C (M - 1)/M - 1. Independent batches of m_b out of M: the sum of (m_b/M)^2 times their errors.
"""

from __future__ import annotations

import numpy as np
import pytest

from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.estimators import Plan, antithetic, forward, true_gradient_scale, vanilla
from asyncrl.blackbox.kinds import KINDS
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError

D = 20
ORDER = 32  # of the Hadamard matrix for D
BATCH = {"gaussian": 10**9, "discrete": 10**9, "orthogonal": D, "orthogonal-fixed": D, "hadamard": ORDER}
FIRST = {"gaussian": D + 2, "discrete": D, "orthogonal": D + 2, "orthogonal-fixed": D, "hadamard": D}
CROSS = {"gaussian": 1, "discrete": 1, "orthogonal": 0, "orthogonal-fixed": 0, "hadamard": (ORDER - D) / (ORDER - 1)}


def closed_form(kind, count):
    """Mean squared error of the antithetic estimate on a linear function of unit gradient."""
    batches = [min(BATCH[kind], count - start) for start in range(0, count, BATCH[kind])]
    return sum((m / count) ** 2 * (FIRST[kind] / m + CROSS[kind] * (m - 1) / m - 1) for m in batches)


def estimates(estimator, function, point, settings, population, generations, seed=0):
    """Estimates of the gradient, [generations, N], from a function of points [n, N], by the public path."""
    plan = Plan(estimator, population)
    directions = Directions(seed, len(point), plan.directions, settings)
    j, sign = np.array([plan.place(ticket) for ticket in range(population)]).T
    steps = (sign * directions.sigmas[j])[:, None]
    found = np.empty((generations, len(point)))
    for generation in range(generations):
        block = directions.block(generation).astype(np.float64)
        found[generation] = plan.gradient(block, function(point + steps * block[j]), directions.sigmas)
    return found * true_gradient_scale(settings[0].sigma)


def linear(generator):
    gradient = generator.standard_normal(D)
    return gradient / np.linalg.norm(gradient)


def errors(kind, count, generations=1500):
    gradient = linear(np.random.default_rng(3))
    found = estimates("antithetic", lambda x: x @ gradient, np.ones(D), [Setting(0.3, kind)], 2 * count, generations)
    return ((found - gradient) ** 2).sum(axis=1)


def test_the_closed_forms_are_those_of_the_sources():
    assert closed_form("gaussian", 20) == pytest.approx((D + 1) / 20)
    assert closed_form("orthogonal", 5) == pytest.approx((D + 2) / 5 - 1)
    assert closed_form("orthogonal", 40) == pytest.approx(((D + 2) / D - 1) / 2)
    assert closed_form("orthogonal-fixed", 5) == pytest.approx(D / 5 - 1)
    assert closed_form("hadamard", 20) == pytest.approx(0.3677, abs=1e-4)
    for count in (5, 20):  # the slides' theorem
        assert closed_form("gaussian", count) - closed_form("orthogonal", count) == pytest.approx((count - 1) / count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [5, 20, 40])
def test_error_on_linear_functions(kind, count):
    found, expected = errors(kind, count), closed_form(kind, count)
    if expected == 0:
        assert found.max() < 1e-11  # exact, up to float32 directions
    else:
        assert found.mean() == pytest.approx(expected, rel=0.05)


def test_all_rows_of_a_truncated_hadamard_matrix_are_exact():
    assert errors("hadamard", ORDER, 50).max() < 1e-24
    assert errors("hadamard", 3 * ORDER, 50).max() < 1e-24


def quadratic(size, seed=4):
    """Gradient and Hessian at 0, with weight on and off the diagonal, and a trace."""
    generator = np.random.default_rng(seed)
    hessian = generator.standard_normal((size, size))
    return generator.standard_normal(size), (hessian + hessian.T) / 2 + 0.7 * np.eye(size)


def forward_gap(hessian, sigma, count):
    """Error that forward differences add to antithetic pairs: sigma^2/(4 M) E[|eps|^2 (eps^T H eps)^2], for normal eps."""
    size = len(hessian)
    return sigma**2 / (4 * count) * (size + 4) * (2 * (hessian**2).sum() + np.trace(hessian) ** 2)


def forward_gap_of_the_paper(hessian, sigma, count):
    """[S000] lemma 1, as printed."""
    size, squares = len(hessian), (hessian**2).sum()
    return sigma**4 / count * ((size + 4) / 4 * squares + (size + 2) * (np.diag(hessian) ** 2).sum())


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("count", [5, 20])
def test_error_of_forward_differences_on_quadratics(kind, count):
    gradient, hessian = quadratic(D)
    sigma = 0.5

    def function(x):
        return x @ gradient + ((x @ hessian) * x).sum(axis=1) / 2

    point = np.zeros(D)
    pairs = estimates("antithetic", function, point, [Setting(sigma, kind)], 2 * count, 2500)
    differences = estimates("forward", function, point, [Setting(sigma, kind)], count + 1, 2500)
    error_of_pairs, error = (((found - gradient) ** 2).sum(axis=1).mean() for found in (pairs, differences))
    assert error_of_pairs == pytest.approx(closed_form(kind, count) * (gradient**2).sum(), rel=0.06)
    expected = closed_form(kind, count) * (gradient**2).sum() + forward_gap(hessian, sigma, count)
    assert error == pytest.approx(expected, rel=0.05)


def test_the_forward_term_of_the_paper_is_wrong():
    """Where the gradient is 0, forward differences err by the term alone. Two things are wrong with lemma 1 of [S000]: the
    fourth moments leave out E[eps_i^2 eps_j^2 H_ii H_jj] and half of the H_ij^2, and the power of sigma does not fit definition 1."""
    size, count = 8, 8
    hessian = quadratic(size)[1]

    def measured(sigma):
        point, settings = np.zeros(size), [Setting(sigma, "orthogonal")]
        found = estimates("forward", lambda x: ((x @ hessian) * x).sum(axis=1) / 2, point, settings, count + 1, 6000)
        return (found**2).sum(axis=1).mean()

    assert measured(1.0) == pytest.approx(forward_gap(hessian, 1.0, count), rel=0.05)
    assert measured(1.0) != pytest.approx(forward_gap_of_the_paper(hessian, 1.0, count), rel=0.2)
    assert measured(0.5) == pytest.approx(measured(1.0) / 4)  # sigma^2, not sigma^4
    one = np.ones((1, 1))  # D = M = 1: E[eps^6] = 15 against 17
    assert forward_gap(one, 1, 1) == 15 / 4 and forward_gap_of_the_paper(one, 1, 1) == 17 / 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ["vanilla", "antithetic", "forward"])
def test_unbiased(estimator, kind):
    """On a quadratic away from its optimum, with settings of two sigmas."""
    size, point = 6, np.linspace(-1, 1, 6)
    gradient, hessian = quadratic(size)
    expected = gradient + hessian @ point

    def function(x):
        return x @ gradient + ((x @ hessian) * x).sum(axis=1) / 2

    found = estimates(estimator, function, point, [Setting(0.3, kind), Setting(0.9, kind)], 14, 2000)
    deviation = found.std(axis=0) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4.5 * deviation + 1e-9)
    assert deviation.max() < 0.15  # or the test would see nothing


def test_it_is_the_smoothed_gradient():
    """E[(theta + sigma eps)^3] has the gradient 3 theta^2 + 3 sigma^2, of which finite sigma shows the second term."""
    point, sigma = np.array([0.0, 0.5, -1.0]), 0.8
    found = estimates("antithetic", lambda x: (x**3).sum(axis=1), point, [Setting(sigma)], 40, 4000)
    np.testing.assert_allclose(found.mean(axis=0), 3 * point**2 + 3 * sigma**2, atol=0.15)


def test_the_functions_are_the_plans():
    """Written out, in units of sigma, with weights of 1, 1/2 and 1/4."""
    block = np.arange(12, dtype=np.float64).reshape(3, 4)
    sigmas = np.array([0.1, 0.2, 0.4])
    weigh = np.array([1, 0.5, 0.25])
    v = np.array([5.0, 3, 2, 8, 1, 1])
    np.testing.assert_allclose(vanilla(block, v[:3], sigmas), weigh * v[:3] / 3 @ block)
    np.testing.assert_allclose(antithetic(block, v, sigmas), weigh * np.array([2, -6, 0]) / 6 @ block)
    np.testing.assert_allclose(forward(block, v[:4], sigmas), weigh * np.array([-2, -3, 3]) / 3 @ block)
    np.testing.assert_allclose(antithetic(block, v), np.array([2, -6, 0]) / 6 @ block)
    assert antithetic(block.astype(np.float32), v).dtype == np.float32
    with pytest.raises(ValueError, match="5 values for 4 tickets"):
        Plan("vanilla", 4).weights(np.ones(5))


def test_what_was_not_evaluated_is_left_out():
    nan = float("nan")
    block = np.random.default_rng(0).standard_normal((3, 4))
    v = np.array([5.0, nan, 2, 8, 1, 4])
    np.testing.assert_allclose(antithetic(block, v), antithetic(block[1:], v[2:]))
    np.testing.assert_allclose(vanilla(block, v[:3]), vanilla(block[[0, 2]], v[[0, 2]]))
    np.testing.assert_allclose(forward(block, v[[0, 1, 2, 3]]), forward(block[1:], v[[0, 2, 3]]))
    assert not forward(block, v[[1, 0, 2, 3]]).any()  # no centre, no differences
    assert not vanilla(block, np.full(3, nan)).any()


def test_tickets():
    assert [Plan("antithetic", 4).place(t) for t in range(4)] == [(0, 1), (0, -1), (1, 1), (1, -1)]
    assert [Plan("vanilla", 3).place(t) for t in range(3)] == [(0, 1), (1, 1), (2, 1)]
    assert [Plan("forward", 3).place(t) for t in range(3)] == [(0, 0), (0, 1), (1, 1)]
    assert [Plan(name, 6).directions for name in ("antithetic", "vanilla", "forward")] == [3, 6, 5]
    assert [Plan("antithetic", 4).pair(t) for t in range(4)] == [0, 0, 1, 1]
    assert [Plan("vanilla", 3).pair(t) for t in range(3)] == [0, 1, 2]
    assert [Plan("forward", 3).pair(t) for t in range(3)] == [0, 0, 0]
    with pytest.raises(IndexError):
        Plan("vanilla", 3).place(3)


def test_impossible_populations():
    with pytest.raises(UserError, match=r"population is 7 \(allowed with the antithetic estimator: an even number from 2\)"):
        Plan("antithetic", 7)
    for estimator in ("antithetic", "vanilla", "forward"):
        Plan(estimator, 2)
        with pytest.raises(UserError, match="population is 1"):
            Plan(estimator, 1)
        with pytest.raises(UserError, match="population is 0"):
            Plan(estimator, 0)
    with pytest.raises(UserError, match=r"unknown estimator 'antithetical'; did you mean 'antithetic'\?"):
        Plan("antithetical", 4)
