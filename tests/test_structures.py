"""Compact layers: counts, displacement ranks, expansions, gradients, and fast products."""

from __future__ import annotations

import numpy as np
import pytest

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.networks.structures import STRUCTURES
from asyncrl.heads.networks.structures.fast import FAST_STRUCTURES, fast_product, pays
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.search_policy import SearchPolicy

SHAPES = [(1, 1), (4, 1), (1, 3), (5, 5), (7, 4), (3, 8)]
FAMILIES = [(name, 1) for name in STRUCTURES if name != "low-displacement"] + [("low-displacement", rank) for rank in (1, 2, 3)]
families = pytest.mark.parametrize(("name", "rank"), FAMILIES, ids=[f"{name}-{rank}" for name, rank in FAMILIES])


def box(observations, actions):
    return EnvSpec((observations,), "float32", "box", (), (actions,), (-1.0,) * actions, (1.0,) * actions, ())


def expanded(family, parameters, inputs, outputs):
    """M [out, in], as in the literature."""
    dense = np.full((inputs, outputs), np.nan, parameters.dtype)
    family.expand(parameters, dense)
    return dense.T


def drawn(family, inputs, outputs, seed=0):
    return np.random.default_rng(seed).standard_normal(family.count(inputs, outputs))


# Counts: environment, observations, actions, Toeplitz 41 41, hidden units of the 256-dimensional (Humanoid: 512) exploration
# and its count, dense 32 32. Of the source's figures, those of MISPRINTS can't be what the others are.

TABLE = [
    ("Swimmer", 8, 2, 253, (41, 41), 253, 1408),
    ("Ant", 111, 8, 362, (23, 23), 254, 4896),
    ("HalfCheetah", 17, 6, 266, (39, 39), 254, 2174),
    ("Hopper", 11, 3, 257, (41, 40), 254, 1536),
    ("Humanoid", 376, 17, 636, (20, 20), 510, 13664),
    ("Walker2d", 17, 6, 266, (39, 39), 254, 1824),
    ("Pusher", 23, 7, 273, (38, 38), 255, 2048),
    ("Reacher", 11, 2, 256, (41, 41), 256, 1189),
    ("Striker", 23, 7, 273, (38, 38), 255, 2048),
    ("Thrower", 23, 7, 273, (38, 38), 255, 2048),
    ("ContMountainCar", 2, 1, 246, (41, 41), 246, 1184),
    ("Pendulum", 3, 1, 247, (41, 41), 247, 1216),
    ("Minitaur", 28, 8, 279, (37, 37), 256, 2240),
]
MISPRINTS = {("Minitaur", "hadamard"): 255, ("HalfCheetah", "dense"): 1824, ("Reacher", "dense"): 1504}


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_parameter_counts_are_the_sources_table(row):
    name, observations, actions, gaussian, hidden, hadamard, dense = row
    spec = box(observations, actions)
    assert SearchPolicy(spec, "toeplitz", NetworkOptions()).size == gaussian
    assert SearchPolicy(spec, "toeplitz", NetworkOptions(hidden=hidden)).size == MISPRINTS.get((name, "hadamard"), hadamard)
    with_output_bias = SearchPolicy(spec, "mlp", NetworkOptions(hidden=(32, 32))).size
    assert with_output_bias - actions == MISPRINTS.get((name, "dense"), dense)


def test_minitaurs_256_has_no_solution():
    counts = {
        SearchPolicy(box(28, 8), "toeplitz", NetworkOptions(hidden=(h, k))).size
        for h in range(1, 80)
        for k in range(max(1, 73 - h), 76 - h)
    }
    assert 255 in counts and 256 not in counts


# Displacement.


def shift(size, corner):
    matrix = np.eye(size, k=-1)
    matrix[0, -1] += corner
    return matrix


def rank_of(matrix):
    values = np.linalg.svd(matrix, compute_uv=False)
    return int((values > 1e-9 * max(values[0], 1e-3)).sum())


@pytest.mark.parametrize("size", [2, 6, 11])
def test_displacement_ranks(size):
    one, minus, zero = shift(size, 1.0), shift(size, -1.0), shift(size, 0.0)
    of = {name: expanded(STRUCTURES[name](), drawn(STRUCTURES[name](), size, size, k), size, size) for k, name in enumerate(STRUCTURES)}
    assert rank_of(one @ of["toeplitz"] - of["toeplitz"] @ minus) == 2
    inverse = np.linalg.inv(of["toeplitz"])
    assert rank_of(one @ inverse - inverse @ minus) == 2
    assert rank_of(one @ of["hankel"] - of["hankel"] @ zero.T) == 2
    both, symmetric = of["toeplitz"] + of["hankel"], zero + zero.T
    assert rank_of(symmetric @ both - both @ symmetric) == min(size, 4)
    assert np.abs(one @ of["circulant"] - of["circulant"] @ one).max() < 1e-12
    seed = {name: k for k, name in enumerate(STRUCTURES)}
    nodes = np.tanh(drawn(STRUCTURES["vandermonde"](), size, size, seed["vandermonde"])[:size])
    assert rank_of(np.diag(nodes) @ of["vandermonde"] - of["vandermonde"] @ zero) == 1
    p = drawn(STRUCTURES["cauchy"](), size, size, seed["cauchy"])
    s, t = (0.5 + np.log1p(np.exp(part)) for part in (p[:size], p[size : 2 * size]))
    assert rank_of(np.diag(s) @ of["cauchy"] - of["cauchy"] @ np.diag(-t)) == 1
    for rank in (1, 2, 3):
        family = STRUCTURES["low-displacement"](rank)
        matrix = expanded(family, drawn(family, size, size), size, size)
        assert rank_of(one @ matrix - matrix @ minus) == min(rank, size)
        assert rank_of(matrix) == size


# Expansions.


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_expansions_are_their_formulas(inputs, outputs):
    j, i = np.meshgrid(np.arange(outputs), np.arange(inputs), indexing="ij")
    v = {name: drawn(STRUCTURES[name](), inputs, outputs) for name in STRUCTURES}
    n = max(inputs, outputs)
    nodes, scales = np.tanh(v["vandermonde"][:outputs, None]), v["vandermonde"][outputs:, None]
    above, below = (0.5 + np.log1p(np.exp(part)) for part in np.split(v["cauchy"][: inputs + outputs], [outputs]))
    g, h = np.split(v["cauchy"][inputs + outputs :], [outputs])
    formulas = {
        "toeplitz": v["toeplitz"][j - i + inputs - 1],
        "hankel": v["hankel"][i + j],
        "circulant": v["circulant"][(j - i) % n],
        "vandermonde": scales * nodes**i,
        "cauchy": g[:, None] * h / (above[:, None] + below),
    }
    for name, matrix in formulas.items():
        np.testing.assert_allclose(expanded(STRUCTURES[name](), v[name], inputs, outputs), matrix, rtol=1e-12)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("rank", [1, 3])
def test_low_displacement_is_the_corner_of_circulants_times_skew_circulants(inputs, outputs, rank):
    family, n = STRUCTURES["low-displacement"](rank), max(inputs, outputs)
    parameters = drawn(family, inputs, outputs)

    def krylov(operator, vector):
        return np.stack([np.linalg.matrix_power(operator, k) @ vector for k in range(n)], axis=1)

    pairs = parameters.reshape(rank, 2, n)
    square = sum(krylov(shift(n, 1.0), g) @ krylov(shift(n, -1.0), h) for g, h in pairs)
    np.testing.assert_allclose(expanded(family, parameters, inputs, outputs), square[:outputs, :inputs], rtol=1e-9, atol=1e-12)


@families
def test_starts_have_columns_of_the_norm_that_was_asked_for(name, rank):
    family, generator = STRUCTURES[name](rank), np.random.default_rng(3)
    for inputs, outputs in ((17, 41), (41, 41), (41, 6)):
        norms = [
            np.linalg.norm(expanded(family, family.initial(generator, inputs, outputs, 0.3), inputs, outputs), axis=1) for _ in range(20)
        ]
        assert np.mean(norms) == pytest.approx(0.3, rel=0.15)


@families
def test_large_parameters_make_finite_numbers(name, rank):
    family = STRUCTURES[name](rank)
    for seed in range(5):
        parameters = (100 * drawn(family, 30, 20, seed)).astype(np.float32)
        gradient = np.zeros_like(parameters)
        family.pull_back(parameters, np.ones((30, 20), np.float32), gradient)
        assert np.isfinite(expanded(family, parameters, 30, 20)).all() and np.isfinite(gradient).all()


# Gradients.


@families
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_pull_back_is_the_derivative(name, rank, inputs, outputs):
    family = STRUCTURES[name](rank)
    parameters = drawn(family, inputs, outputs)
    weights = np.random.default_rng(1).standard_normal((inputs, outputs))
    gradient = np.full_like(parameters, np.nan)
    family.pull_back(parameters, weights, gradient)
    for k in range(len(parameters)):
        step = np.zeros_like(parameters)
        step[k] = 1e-6
        ahead, behind = (expanded(family, parameters + sign * step, inputs, outputs) for sign in (1, -1))
        assert gradient[k] == pytest.approx(((ahead - behind).T * weights).sum() / 2e-6, rel=1e-6, abs=1e-8)


# Fast products.


@pytest.mark.parametrize("name", FAST_STRUCTURES)
@pytest.mark.parametrize(("inputs", "outputs"), [*SHAPES, (2, 1), (17, 41), (64, 64), (65, 64), (100, 300)])
def test_fast_products_are_dense_ones(name, inputs, outputs):
    family = STRUCTURES[name]()
    parameters = drawn(family, inputs, outputs).astype(np.float32)
    x = np.random.default_rng(2).standard_normal((3, inputs)).astype(np.float32)
    expected = x @ expanded(family, parameters, inputs, outputs).T
    np.testing.assert_allclose(fast_product(name, parameters, x, outputs), expected, atol=3e-6 * (inputs + outputs) ** 0.5 * 4)


def test_fast_products_are_used_where_they_were_measured_to_pay():
    assert not pays("toeplitz", 41, 41) and not pays("toeplitz", 256, 256) and not pays("circulant", 513, 513)
    assert pays("toeplitz", 1024, 1024) and pays("hankel", 1024, 1024) and not pays("cauchy", 4096, 4096)
    with pytest.raises(UserError, match=r"unknown structure with a fast product 'toeplits'; did you mean 'toeplitz'"):
        fast_product("toeplits", np.zeros(3, np.float32), np.zeros((1, 2), np.float32), 2)
