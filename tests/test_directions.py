"""Directions: moments, orthogonality, and the same bits for everybody."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.kinds import KINDS
from asyncrl.blackbox.search import Setting
from asyncrl.errors import UserError

MIXED = [
    Setting(0.1, "gaussian"),
    Setting(0.2, "orthogonal"),
    Setting(0.3, "hadamard"),
    Setting(0.4, "orthogonal"),
    Setting(0.5, "discrete"),
]


def of(kind, size, count, seed=1):
    return Directions(seed, size, count, [Setting(0.05, kind)])


def samples(kind, size, count, generations):
    directions = of(kind, size, count)
    return np.array([directions.block(g) for g in range(generations)], np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_moments(kind):
    """E[eps] = 0 in every place of the block (a Q without fixed signs fails), E[eps eps^T] = I."""
    size, count = 6, 9
    eps = samples(kind, size, count, 5000)
    assert np.abs(eps.mean(axis=0)).max() < 5 / np.sqrt(len(eps))
    flat = eps.reshape(-1, size)
    np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(size), atol=5 * np.sqrt(2 / len(flat)))


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal"])
def test_normal_marginals(kind):
    """Entries are standard normal and squared norms chi-square(N), in each place of the block."""
    size = 5
    eps = samples(kind, size, 7, 3000)
    for j in (0, 4, 5, 6):
        assert scipy.stats.kstest(eps[:, j, 1], "norm").pvalue > 1e-3
        assert scipy.stats.kstest((eps[:, j] ** 2).sum(axis=1), "chi2", args=(size,)).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["orthogonal", "orthogonal-fixed"])
@pytest.mark.parametrize(("size", "count"), [(20, 5), (20, 20), (20, 47), (1, 3), (300, 64)])
def test_orthogonality(kind, size, count):
    block = of(kind, size, count).block(3)
    for start in range(0, count, size):
        rows = block[start : start + size].astype(np.float64)
        gram = rows @ rows.T
        norms = np.diag(gram)
        np.testing.assert_allclose(gram, np.diag(norms), atol=2e-6 * norms.max())
        if kind == "orthogonal-fixed":
            np.testing.assert_allclose(norms, size, rtol=1e-6)
        elif len(rows) > 1:
            assert norms.std() > 0.01 * size


def test_settings_have_their_own_blocks():
    """Direction j has setting j % S, and directions of one setting are orthogonal to each other."""
    directions = Directions(5, 16, 40, MIXED)
    assert [directions.sigma(j) for j in range(6)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.1]
    np.testing.assert_array_equal(directions.sigmas, [directions.sigma(j) for j in range(40)])
    block = directions.block(0)
    for setting in (1, 2, 3):
        rows = block[setting::5]
        gram = rows @ rows.T
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=2e-4)
    assert set(np.unique(block[2::5])) == set(np.unique(block[4::5])) == {-1.0, 1.0}
    assert not np.allclose(block[1::5], block[3::5])


@pytest.mark.parametrize("size", [1, 2, 20, 32, 33, 256])
def test_hadamard_rows(size):
    """Rows are different rows of scipy's matrix, up to the signs of the columns, cut off after N."""
    order = 2 ** int(np.ceil(np.log2(size)))
    block = of("hadamard", size, 2 * order).block(7)
    matrix = {row.tobytes(): i for i, row in enumerate(scipy.linalg.hadamard(order, np.float32)[:, :size])}
    for half in (block[:order], block[order:]):
        # H[p] * H[q] = H[p ^ q]: multiplied with the first, the signs of the columns cancel.
        found = [matrix[np.ascontiguousarray(row * half[0]).tobytes()] for row in half]
        assert found[0] == 0
        if order == size:
            assert sorted(found) == list(range(order))
        np.testing.assert_array_equal(half.T @ half, order * np.eye(size))
        if size >= 20:
            assert np.any(np.diff(found) < 0)  # in no order
            assert 0 < (half[0] < 0).sum() < size  # times signs
    if size >= 20:
        assert len({row.tobytes() for row in block}) == 2 * order  # fresh signs


@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.lists(st.builds(Setting, st.just(0.1), st.sampled_from(list(KINDS))), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 29), st.booleans()), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_directions_are_rows_of_the_block(size, count, kinds, order):
    """Whatever was asked for before, in whatever order and from whichever generation."""
    fresh = [Directions(3, size, count, kinds).block(g).copy() for g in range(4)]
    used, out = Directions(3, size, count, kinds), np.empty(size, np.float32)
    for generation, j, whole in order:
        used.direction(generation, j % count, out)
        np.testing.assert_array_equal(out, fresh[generation][j % count])
        if whole:
            np.testing.assert_array_equal(used.block(generation), fresh[generation])


def digest():
    """Of single directions, and of blocks, of all kinds."""
    bits, out = hashlib.sha256(), np.empty(300, np.float32)
    for kind in KINDS:
        directions = of(kind, 300, 310, seed=2**40)
        for generation, j in ((9, 305), (0, 2), (2**40, 17)):
            directions.direction(generation, j, out)
            bits.update(out.tobytes())
        bits.update(directions.block(4).tobytes())
    return bits.hexdigest()


def test_same_bits_in_another_process():
    """However many threads its linear algebra has."""
    threads = {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "5"}
    code = "import sys; sys.path.insert(0, 'tests'); from test_directions import digest; print(digest())"
    child = subprocess.run([sys.executable, "-c", code], env=os.environ | threads, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == digest()


@pytest.mark.parametrize("kind", KINDS)
def test_no_direction_comes_twice(kind):
    """Over seeds, generations, settings, the blocks of a setting, and directions."""
    rows = []
    for seed in (0, 1, 2**33):
        directions = Directions(seed, 30, 80, [Setting(0.1, kind), Setting(0.1, kind)])
        rows += [row for generation in range(20) for row in directions.block(generation)]
    assert len({row.tobytes() for row in rows}) == len(rows) == 4800
    if kind == "orthogonal":  # the lengths alone don't come twice either
        assert len(np.unique(np.linalg.norm(np.array(rows, np.float64), axis=1).round(7))) > 4750


def test_blocks_are_kept_and_read_only():
    directions = of("orthogonal", 8, 8)
    first, second = directions.block(0), directions.block(1)
    assert np.shares_memory(first, directions.block(0)) and np.shares_memory(second, directions.block(1))
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1
    directions.block(2)
    again = directions.block(0)
    assert not np.shares_memory(first, again)
    np.testing.assert_array_equal(first, again)
    assert np.shares_memory(directions.block(2), directions.block(2))


def test_one_direction_of_many_makes_no_block():
    """A worker asks for one direction of a million parameters: 2 MB, not 2 GB."""
    out = np.empty(1_000_000, np.float32)
    for kind in ("gaussian", "discrete", "hadamard"):
        directions = of(kind, len(out), 10**7)
        directions.direction(0, 10**7 - 1, out)
        assert abs(out.mean()) < 0.01 and abs(out.std() - 1) < 0.01


def test_errors():
    with pytest.raises(UserError, match=r"unknown kind of directions 'hadamar'; did you mean 'hadamard'\?"):
        of("hadamar", 3, 3)
    for sigma in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"sigma is .* \(allowed: a positive number\)"):
            Directions(0, 3, 3, [Setting(sigma)])
    for size, count, kinds in ((0, 3, MIXED), (3, 0, MIXED), (3, 3, [])):
        with pytest.raises(UserError, match="at least 1"):
            Directions(0, size, count, kinds)
    with pytest.raises(IndexError):
        of("gaussian", 3, 3).direction(0, 3, np.empty(3, np.float32))
