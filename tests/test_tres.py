"""Trust region evolution strategies: ratios, their surrogate and its gradient, and the epochs."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from searches import batch, synchronous

from asyncrl.algos.es import Es, EsOptions
from asyncrl.algos.tres import Tres, TresOptions
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.ratios import Samples, divergence, gradient, measure
from asyncrl.blackbox.search import Setting
from asyncrl.blackbox.shaping import shape

N, SEED = 9, 4
OPTIONS = TresOptions(population=16)


def samples(n=24, size=N, sigma=0.3, seed=0, cohorts=1, eps=None, value=None, stale=None):
    """Mirrored evaluations of versions that are about half a sigma away; two different sigmas."""
    generator = np.random.default_rng(seed)
    eps = generator.standard_normal((n // 2, size)).astype(np.float32) if eps is None else np.ascontiguousarray(eps, np.float32)
    eps.flags.writeable = False
    value = generator.standard_normal(n) if value is None else value
    stale = 0.5 * sigma * generator.standard_normal((cohorts, size)) if stale is None else stale
    cohort = generator.integers(0, max(cohorts, 1), n)
    inverse, normal = 1.0 / np.where(np.arange(n) % 4 < 2, sigma, 2 * sigma), np.ones(n, np.bool_)
    return Samples(eps, np.arange(n) // 2, np.where(np.arange(n) % 2, -1.0, 1.0), value, cohort, stale, inverse, normal, sigma)


def ratios(s, move):
    e = s.sign[:, None] * s.block[s.row].astype(np.float64)
    d = (s.stale[s.cohort] + move) * s.inverse_sigma[:, None]
    return np.exp(e * d - d**2 / 2)


def surrogate(s, move, clip):
    """The seed's equation 25 for normal densities, in plain numpy."""
    r, v = ratios(s, move), s.value[:, None]
    return np.minimum(r * v, np.clip(r, 1 - clip, 1 + clip) * v).sum(axis=1).mean()


def test_the_ratio_is_that_of_two_normal_densities():
    s, move = samples(cohorts=3), np.linspace(-0.2, 0.2, N)
    x = s.sign[:, None] * s.block[s.row] / s.inverse_sigma[:, None]  # less theta_v
    away = s.stale[s.cohort] + move
    density = np.exp(-((x - away) ** 2 - x**2) * s.inverse_sigma[:, None] ** 2 / 2)
    np.testing.assert_allclose(ratios(s, move), density, rtol=1e-12)


@pytest.mark.parametrize("clip", [14.0, 0.3, np.inf])
@pytest.mark.parametrize("cohorts", [1, 3])
def test_the_gradient_is_the_surrogates(clip, cohorts):
    s, move, step = samples(cohorts=cohorts), 0.05 * np.linspace(-1, 1, N), 1e-5
    expected = np.zeros(N)
    for i in range(N):
        far = [surrogate(s, move + k * step * (np.arange(N) == i), clip) for k in (-2, -1, 1, 2)]
        expected[i] = (far[0] - 8 * far[1] + 8 * far[2] - far[3]) / (12 * step)
    np.testing.assert_allclose(gradient(s, move, clip), s.sigma * expected, atol=1e-8)
    value, clipped, effective = measure(s, move, clip)
    r = ratios(s, move)
    assert value == pytest.approx(surrogate(s, move, clip), rel=1e-12)
    over = ((s.value[:, None] > 0) & (r > 1 + clip)) | ((s.value[:, None] < 0) & (r < 1 - clip))
    assert clipped == over.mean()
    assert (clipped > 0) == (clip == 0.3)
    assert effective == pytest.approx((r.sum(axis=0) ** 2 / (r**2).sum(axis=0)).mean(), rel=1e-12)


def test_fresh_evaluations_need_no_ratios():
    """The short cut is the general case at d = 0."""
    s = samples(stale=np.zeros((1, N)))
    short = replace(s, stale=np.zeros((0, N)))
    np.testing.assert_allclose(gradient(short), gradient(s), rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(gradient(short, np.full(N, 0.1)), gradient(s, np.full(N, 0.1)))


def test_every_coordinate_is_on_its_own():
    """More coordinates than are summed at a time, in another order."""
    s = samples(size=600, cohorts=2)
    move, order = 0.1 * np.random.default_rng(1).standard_normal(600), np.random.default_rng(2).permutation(600)
    other = replace(samples(size=600, cohorts=2, eps=s.block[:, order]), stale=s.stale[:, order], value=s.value, cohort=s.cohort)
    np.testing.assert_array_equal(gradient(other, move[order], 14.0), gradient(s, move, 14.0)[order])
    assert np.abs(gradient(s, move, 14.0)).min() > 0


def test_what_a_late_gradient_estimates():
    """dJ/dtheta_i of J = -x'Hx/2 at theta_v of which only coordinate i has been moved, whatever the others did."""
    generator, sigma, n = np.random.default_rng(0), 0.5, 400_000
    hessian = np.array([[2.0, 0.8, -0.5], [0.8, 1.0, 0.3], [-0.5, 0.3, 1.5]])
    theta_v, move = np.array([0.4, -0.6, 0.2]), np.array([0.2, 0.3, -0.25])
    eps = generator.standard_normal((n // 2, 3)).astype(np.float32)
    s = samples(n, 3, sigma, eps=eps, stale=np.zeros((1, 3)), value=np.zeros(n))
    x = theta_v + sigma * s.sign[:, None] * eps[s.row]
    value = -np.einsum("ni,ij,nj->n", x, hessian, x) / 2
    s = replace(s, value=value - value.mean(), inverse_sigma=np.full(n, 1 / sigma))
    predicted = [-(hessian @ (theta_v + move * (np.arange(3) == i)))[i] for i in range(3)]
    np.testing.assert_allclose(gradient(s, move) / sigma, predicted, atol=0.02)
    assert np.abs(-hessian @ theta_v - predicted).min() > 0.2  # what it would be uncorrected
    assert np.abs(-hessian @ (theta_v + move) - predicted).max() > 0.1  # and at theta itself


@pytest.mark.parametrize("kind", ["hadamard", "gaussian"])
def test_entries_of_one_show_no_curvature(kind):
    """d/dt of the gradient at 0 is c_2 = mean V (eps^2 - 1): nothing where eps is +-1."""
    directions = Directions(SEED, 8, 8, (Setting(1.0, kind),))
    eps = directions.block(0)
    value = np.random.default_rng(0).standard_normal(16)
    s = samples(16, 8, eps=eps, value=value - value.mean(), stale=np.zeros((1, 8)))
    s = replace(s, inverse_sigma=np.full(16, 1 / s.sigma), normal=np.repeat(directions.normal, 2))
    step = 1e-4 * s.sigma
    curvature = (gradient(s, np.full(8, step)) - gradient(s, np.full(8, -step))) / 2e-4
    assert (np.abs(curvature).max() < 1e-6) == (kind == "hadamard")


def test_divergences():
    assert divergence(np.array([0.1, -0.2]), 0.1) == pytest.approx((2.0, 1.25, 2.5))


def returns_of(x):
    return -np.square(x - 1.0).sum(axis=1)


def test_one_epoch_is_a_step_of_es():
    returns = np.random.default_rng(0).standard_normal(16)
    tres = Tres(replace(OPTIONS, epochs=1), N, SEED)
    es = Es(EsOptions(population=16, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=0.5 * OPTIONS.sigma), N, SEED)
    for search in (tres, es):
        search.begin(np.full(N, 0.2, np.float32))
        search.update(0, batch(returns))
    np.testing.assert_allclose(tres.theta, es.theta, atol=1e-7)
    assert np.abs(tres.theta - 0.2).max() > 1e-4


def epochs(options, returns, start):
    """Algorithm 1 in plain numpy: (theta', epochs, mean divergence)."""
    eps = Directions(SEED, N, len(returns) // 2, (Setting(options.sigma),)).block(0).astype(np.float64)
    e = np.stack([eps, -eps], axis=1).reshape(-1, N)
    v, d = shape(returns, options.shaping)[:, None], np.zeros(N)
    v = v - v.mean()
    done = 0
    while done < options.epochs:
        done += 1
        r = np.exp(e * d - d**2 / 2)
        keep = ~((v > 0) & (r > 1 + options.clip)) & ~((v < 0) & (r < 1 - options.clip))
        d = d + options.learning_rate * (v * keep * r * (e - d)).mean(axis=0)
        kl = d**2 / 2
        if kl.mean() > options.mean_kl or kl.max() > options.max_kl:
            d *= np.sqrt(min(options.mean_kl / kl.mean(), options.max_kl / kl.max()))
            break
    return start + options.sigma * d, done


@pytest.mark.parametrize(
    "options",
    [
        replace(OPTIONS, learning_rate=0.2),
        replace(OPTIONS, learning_rate=0.2, clip=0.1),
        replace(OPTIONS, learning_rate=3.0),
        replace(OPTIONS, learning_rate=3.0, max_kl=0.03),
        replace(OPTIONS, shaping="none", learning_rate=50.0),
    ],
    ids=["all epochs", "clipped", "mean divergence", "largest divergence", "first epoch"],
)
def test_epochs_are_algorithm_1_inside_the_trust_region(options):
    returns = np.random.default_rng(0).standard_normal(16)
    search = Tres(options, N, SEED)
    search.begin(np.full(N, 0.2, np.float32))
    figures = search.update(0, batch(returns))
    theta, done = epochs(options, returns, 0.2)
    np.testing.assert_allclose(search.theta, theta, atol=2e-7)
    assert figures["epochs_done"] == done
    assert (done == 15) == (options.learning_rate == 0.2)
    assert figures["max_kl"] <= options.max_kl * (1 + 1e-9)
    assert figures["total_kl"] <= N * options.mean_kl * (1 + 1e-9)
    assert (figures["clipped_share"] > 0) == (options.clip == 0.1)
    assert 10 < figures["effective_sample_size"] <= 16


def test_the_default_step_of_an_epoch():
    """About 0.02 sigma, root mean square, where returns are noise, and for every sigma."""
    for sigma in (0.01, 1.0):
        search = Tres(TresOptions(epochs=1, sigma=sigma), 102, SEED)
        search.begin(np.zeros(102, np.float32))
        search.update(0, batch(np.random.default_rng(0).standard_normal(64)))
        assert 0.01 < np.sqrt(np.mean(search.theta**2)) / sigma < 0.03


def test_both_returns_of_a_pair_count():
    """With V+ + V- = 0 in every pair there is no curvature: the same V+ - V- then ends elsewhere."""
    ends = []
    for even in (0.0, 1.0):
        odd = np.random.default_rng(0).standard_normal(8)
        bend = even * np.random.default_rng(1).standard_normal(8)
        search = Tres(replace(OPTIONS, shaping="none", learning_rate=0.1), N, SEED)
        search.begin(np.zeros(N, np.float32))
        search.update(0, batch(np.stack([bend + odd, bend - odd], axis=1).ravel()))
        ends.append(search.theta.copy())
    assert np.abs(ends[0] - ends[1]).max() > 1e-4


def test_late_evaluations_are_corrected_in_every_epoch():
    """The same batch as fresh and as late: the ratio starts from where its version was."""
    returns = np.random.default_rng(0).standard_normal(16)
    ends = {}
    for late in ("ratio", "as-is"):
        search = Tres(replace(OPTIONS, late=late), N, SEED)
        search.begin(np.zeros(N, np.float32))
        synchronous(search, returns_of, range(2))
        figures = search.update(2, batch(returns, 2, version=[1, 2] * 8))
        assert figures["late_used"] == 8
        ends[late] = search.theta.copy()
    assert np.abs(ends["ratio"] - ends["as-is"]).max() > 1e-5


def test_an_update_is_quick():
    """Epochs of a linear policy cost no more than a millisecond or two; the bound is for a busy machine."""
    search = Tres(TresOptions(population=128), 102, SEED)
    search.begin(np.zeros(102, np.float32))
    seconds = []
    for version in range(5):
        evaluations = batch(np.random.default_rng(version).standard_normal(128), version, version=version)
        start = time.perf_counter()
        search.update(version, evaluations)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02


@pytest.mark.parametrize("limits", [{}, {"mean_kl": 1e-3}, {"max_kl": 1e-3}, {"mean_kl": 1e9, "max_kl": 1e9}])
@pytest.mark.parametrize("seed", range(3))
def test_the_straight_control_goes_exactly_as_far_along_the_gradient(limits, seed):
    s = samples(seed=seed, stale=np.zeros((1, N)))
    options = replace(OPTIONS, sigma=s.sigma, **limits)
    move, epochs, norm = Tres(options, N, SEED)._epochs(s, slice(None))
    straight, as_many, same = Tres(replace(options, straight=True), N, SEED)._epochs(s, slice(None))
    assert (epochs, norm) == (as_many, same)
    assert np.linalg.norm(straight) == pytest.approx(np.linalg.norm(move), rel=1e-14)
    np.testing.assert_allclose(straight / np.linalg.norm(straight), gradient(s) / norm, rtol=1e-12)
    assert epochs == 1 or not np.allclose(straight, move, rtol=1e-6), "the epochs have turned"
