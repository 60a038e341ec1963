"""Random numbers and sets of actions from a key alone: who stores the key can make the same again, bit by bit, in any process.

The generator is SplitMix64 (Steele, Lea and Flood 2014), which counts: number i of a key is a mixture of key + (i + 1) g, so any of
them is made without those before it. Keys are whole numbers below 2^53, those of parts of a set below 2^63.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.shared.compiled import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_U11, _U27, _U30, _U31, _U32, _U40 = (np.uint64(bits) for bits in (11, 27, 30, 31, 32, 40))
_ONE = np.uint64(1)
KEY_BITS, SHORT_BITS = 53, 42
KEYS = 2.0**KEY_BITS
LARGEST_PART = 2 ** (63 - SHORT_BITS) - 1
"""Actions of a part of a set: its key holds how many they are, above SHORT_BITS that tell it from others of that size."""


@njit(cache=True, nogil=True, error_model="numpy")
def mixed(word):  # type: ignore[no-untyped-def]
    """A number in which every bit depends on every bit of `word`; both are uint64."""
    word = (word ^ (word >> _U30)) * _FIRST
    word = (word ^ (word >> _U27)) * _SECOND
    return word ^ (word >> _U31)


@njit(cache=True, nogil=True, error_model="numpy")
def key_at(base, count):  # type: ignore[no-untyped-def]
    """The key (int64, below 2^53) of set number `count` of those that belong to `base`; both are int64."""
    return np.int64(mixed(np.uint64(base) + (np.uint64(count) + _ONE) * GOLDEN) >> _U11)


@njit(cache=True, nogil=True, error_model="numpy")
def content_key(vector):  # type: ignore[no-untyped-def]
    """A number (int64, not 0) that tells the bits of vector [N] float32 from others, by 63 bits."""
    words = vector.view(np.uint32)
    total = np.uint64(words.size)
    for i in range(words.size):
        total = mixed((total ^ np.uint64(words[i])) + GOLDEN)
    return np.int64(total >> _ONE) | np.int64(1)


@njit(cache=True, nogil=True, error_model="numpy")
def uniform_box(key, out):  # type: ignore[no-untyped-def]
    """Write out[N, F] float32, uniform in [-1, 1): the set of this key."""
    start, columns = np.uint64(key), out.shape[1]
    for n in range(out.shape[0]):
        for f in range(columns):
            word = mixed(start + np.uint64(n * columns + f + 1) * GOLDEN)
            out[n, f] = np.float32(word >> _U40) * np.float32(2.0**-23) - np.float32(1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_at(key, i):  # type: ignore[no-untyped-def]
    """Standard normal number i (from 0) of a key, float64, by Box and Muller (1958)."""
    start = np.uint64(key)
    first = mixed(start + np.uint64(2 * i + 1) * GOLDEN) >> _U11
    second = mixed(start + np.uint64(2 * i + 2) * GOLDEN) >> _U11
    radius = math.sqrt(-2.0 * math.log((np.float64(first) + 1.0) * 2.0**-53))
    return radius * math.cos(2.0 * math.pi * np.float64(second) * 2.0**-53)


@njit(cache=True, nogil=True, error_model="numpy")
def half_bits(count):  # type: ignore[no-untyped-def]
    """The least h for which 2^(2 h) >= count: what `place_in` is given."""
    half = 1
    while (1 << (2 * half)) < count:
        half += 1
    return half


@njit(cache=True, nogil=True, error_model="numpy")
def place_in(key, m, count, half):  # type: ignore[no-untyped-def]
    """Number m of a random order of 0 .. count - 1: different m give different places, so the first M are a draw without replacement.

    Four rounds of a Feistel network permute 2^(2 half) numbers; those beyond `count` are permuted again (Black and Rogaway 2002).
    """
    mask, bits = np.uint64((1 << half) - 1), np.uint64(half)
    place = np.uint64(m)
    while True:
        left, right = place >> bits, place & mask
        for turn in range(4):
            left, right = right, left ^ (mixed(np.uint64(key) + (right + _ONE) * GOLDEN + (np.uint64(turn) << _U32)) & mask)
        place = (left << bits) | right
        if place < np.uint64(count):
            return np.int64(place)


@njit(cache=True, nogil=True, error_model="numpy")
def part_key(key, count):  # type: ignore[no-untyped-def]
    """The key (int64, not below 2^42) of a part of so many actions, from 1 to LARGEST_PART, by the first SHORT_BITS of this key."""
    return (np.int64(count) << np.int64(SHORT_BITS)) | (np.int64(key) >> np.int64(KEY_BITS - SHORT_BITS))


@njit(cache=True, nogil=True, error_model="numpy")
def part_size(key):  # type: ignore[no-untyped-def]
    """How many actions the part of this key has."""
    return np.int64(key) >> np.int64(SHORT_BITS)


@njit(cache=True, nogil=True, error_model="numpy")
def same(one, other):  # type: ignore[no-untyped-def]
    """Whether one[N] and other[N], both float32, have the same bits: what is not a number equals itself."""
    different, these, those = 0, one.view(np.uint32), other.view(np.uint32)
    for i in range(one.size):
        different += these[i] != those[i]
    return different == 0
