"""The search by codes of 8 bits is exact: the same action as by all scores, bit for bit, whatever the table."""

from __future__ import annotations

import numpy as np
import pytest
from test_selections import latents_of, queries_of

from asyncrl.heads.implicit.selection.brute import best_row
from asyncrl.heads.implicit.selection.coded import TOP, WIDE, Coded, write_levels
from asyncrl.heads.implicit.selection.selection import SelectionOptions


def plain(latents, query):
    """The first of the highest products, summed in float32 in the order of `row_score`."""
    sums, whole = np.zeros((4, len(latents)), np.float32), latents.shape[1] // 4 * 4
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(latents.shape[1]):
            sums[j % 4 if j < whole else 0] += latents[:, j] * query[j]
        scores = (sums[0] + sums[1]) + (sums[2] + sums[3])
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def coded_of(latents):
    return Coded.build(latents, SelectionOptions(), np.random.default_rng(0))


def check(latents, queries):
    coded = coded_of(latents)
    for query in queries:
        assert coded.best(query) == best_row(latents, query) == plain(latents, query)


@pytest.mark.parametrize("size", [1, 3, 4, 6, 20, 33, 200])
@pytest.mark.parametrize("actions", [1, 2, 7, WIDE - 1, WIDE, WIDE + 1, 1000, 10_001])
def test_random_tables(actions, size):
    for unit in (False, True):
        check(latents_of(actions, size, unit=unit), queries_of(20, size))


def tables():
    """Of 10,001 actions with latents of 12 numbers, by name."""
    generator, latents = np.random.default_rng(0), latents_of(10_001, 12)
    one_long, constant, far, steep = latents.copy(), latents.copy(), latents.copy(), latents.copy()
    one_long[7777], constant[:, 3], constant[:, 5] = 1e4, 0.7, 0.0
    far += 1e5
    steep *= np.float32(10.0) ** np.arange(-20, 16, 3, dtype=np.float32)
    twins = latents[generator.integers(0, 40, len(latents))]
    near = np.nextafter(twins, np.float32(9.0) * generator.choice([-1.0, 1.0], twins.shape).astype(np.float32))
    return {
        "equal": np.full_like(latents, 0.3),
        "zeros": np.zeros_like(latents),
        "whole numbers": generator.integers(-2, 3, latents.shape).astype(np.float32),
        "twins": twins,
        "a bit apart": near,
        "tiny": latents * np.float32(1e-38),
        "below what is normal": latents * np.float32(1e-44),
        "huge": latents * np.float32(1e30),
        "overflowing": latents * np.float32(3e37),
        "one is long": one_long,
        "constant columns": constant,
        "far from 0": far,
        "columns of many lengths": steep,
        "one column": np.where(np.arange(12) == 4, latents, np.float32(0.0)),
        "heavy tails": (latents**7).astype(np.float32),
    }


@pytest.mark.parametrize("name", tables())
def test_adversarial_tables(name):
    latents = np.ascontiguousarray(tables()[name])
    queries = queries_of(12, 12)
    whole = np.rint(2.0 * queries)
    lonely = np.where(np.arange(12) == 4, queries, np.float32(0.0))
    check(latents, [*queries, *whole, *lonely, *latents[:5], 1e-30 * queries[0], 1e30 * queries[1], 0.0 * queries[2], 1e-44 * queries[3]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(bad):
    """A table's index is also written of latents that are not finite, and a network's outputs may be anything."""
    latents, queries = latents_of(700, 5), queries_of(6, 5)
    coded = coded_of(latents)
    queries[::2, 1] = bad
    for query in queries:
        assert coded.best(query) == best_row(latents, query) == plain(latents, query)
    for row in (0, 300, 699):
        broken = latents.copy()
        broken[row, 2] = bad
        Coded.fill(broken, coded.arrays, SelectionOptions(), np.random.default_rng(0))
        for query in queries_of(6, 5):
            assert coded.best(query) == best_row(broken, query) == plain(broken, query)


def test_few_are_left_for_an_exact_look():
    """Otherwise it would be no faster: of 10,001 actions on a sphere some dozens."""
    latents, levels = latents_of(10_001, 20, unit=True), np.zeros(20, np.int16)
    arrays = coded_of(latents).arrays
    codes = arrays["codes"].astype(np.int64).transpose(0, 2, 1).reshape(-1, 20)[:10_001]
    assert np.abs(codes).max() == TOP and codes.std() > TOP / 8
    left = []
    for query in queries_of(20, 20):
        unit, base, slack = write_levels(query, arrays["scales"], arrays["longest"], levels)
        sums, scores = codes @ levels.astype(np.int64), latents.astype(np.float64) @ query
        assert unit > 0.0 and np.abs(sums).max() < 2**15 and np.abs(base + unit * sums - scores).max() <= slack
        left.append((sums >= (scores.max() - base - slack) / unit).sum())
    assert np.mean(left) < 60
