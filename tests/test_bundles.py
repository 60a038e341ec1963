"""Bundles of arrays: what a compiled function reads and writes through one is the arrays themselves."""

from __future__ import annotations

import numpy as np
import pytest

from asyncrl.shared.bundles import array1, array2, array3, array4, bundle
from asyncrl.shared.compiled import njit

KINDS = ((np.float32, 1), (np.int64, 2), (np.float64, 3), (np.int32, 4))


def arrays():
    shapes = ((5,), (2, 3), (2, 3, 4), (2, 1, 3, 2))
    return [np.arange(np.prod(shape), dtype=dtype).reshape(shape) for shape, (dtype, _) in zip(shapes, KINDS)]


@njit(cache=True)
def weigh(words, place):
    """Adds 1 to one number of each array; returns their weighed sum, their sizes and a length of each."""
    a, b = array1(words, place, np.float32), array2(words, place + 1, np.int64)
    c, d = array3(words, place + 2, np.float64), array4(words, place + 3, np.int32)
    a[1] += 1
    b[1, 2] += 1
    c[1, 2, 3] += 1
    d[1, 0, 2, 1] += 1
    return a.sum() + 10 * b.sum() + 100 * c.sum() + 1000 * d.sum(), a.size + b.size + c.size + d.size, a.shape[0] + d.shape[2] + b.shape[1]


def test_what_is_read_and_written_is_the_arrays():
    given, expected = arrays(), arrays()
    made = bundle(given, KINDS)
    for number in range(1, 4):
        for one in expected:
            one.reshape(-1)[-1 if one.ndim > 1 else 1] += 1
        total, size, lengths = weigh(made.words, 0)
        assert total == sum(10.0**i * float(one.sum()) for i, one in enumerate(expected)) and (size, lengths) == (47, 11)
        for one, other in zip(given, expected):
            np.testing.assert_array_equal(one, other)
        given[0][0] = expected[0][0] = number  # what changes afterwards is seen


def test_a_bundle_keeps_its_arrays_alive():
    made = bundle([np.full(100_000, 7.0, np.float32), *arrays()[1:]], KINDS)
    _ = [np.zeros(100_000, np.float32) for _ in range(20)]
    assert made.arrays[0][0] == 7.0 and weigh(made.words, 0)[0] > 700_000


@pytest.mark.parametrize("wrong", [np.zeros(5), np.zeros((5, 1), np.float32), np.zeros(10, np.float32)[::2]])
def test_arrays_of_another_kind_are_refused(wrong):
    with pytest.raises(TypeError, match=r"array 0 of a bundle is .* \(allowed: float32 with 1, contiguous\)"):
        bundle([wrong, *arrays()[1:]], KINDS)
    with pytest.raises(ValueError, match="zip"):
        bundle(arrays()[:3], KINDS)
