"""Kinds of perturbations, and the counter-based random numbers that they are computed from.

Every kind has E[eps eps^T] = I. A kind computes any row of a setting from the stream of (seed, generation, setting); a row
does not depend on the number of rows, so every process can compute it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit

PURPOSE = 0x646972  # distinguishes this key from other uses of the same seed


class Stream:
    """Random numbers keyed by (seed, generation, setting, purpose, number): one generator, whose counter is set before each draw.

    Philox is counter-based: setting its counter takes constant time, and draws from different counters do not overlap (they are
    2^64 draws apart). The bits depend only on the arguments and on numpy's algorithms for the distributions.
    """

    def __init__(self, seed: int) -> None:
        key = np.random.SeedSequence(seed, spawn_key=(PURPOSE,)).generate_state(2, np.uint64)
        self._bits = np.random.Philox(key=key)
        self._generator = np.random.Generator(self._bits)
        self._start = self._bits.state
        self.generation = 0
        self.setting = 0

    def at(self, number: int, purpose: int = 0) -> np.random.Generator:
        """The generator at the start of the draws of `number` and `purpose`; valid until the next call."""
        self._start["state"]["counter"][:] = 0, number, self.generation, 256 * self.setting + purpose
        self._bits.state = self._start
        return self._generator


class Kind(Protocol):
    """How the directions of one setting are drawn."""

    description: str
    normal: bool
    """Whether each entry is marginally standard normal: then density ratios exist (`ratios`)."""
    together: bool
    """Whether computing a direction requires all those before it, so that whole blocks are cached."""

    def fill(self, stream: Stream, first: int, out: NDArray[np.float32]) -> None:
        """Write rows first, first + 1, ... into out [rows, N], whose rows are contiguous. With `together`, first is 0."""


class Gaussian(Kind):
    """Independent standard normal entries."""

    description = "independent normal entries"
    normal = True
    together = False

    def fill(self, stream: Stream, first: int, out: NDArray[np.float32]) -> None:
        for row, eps in enumerate(out, first):
            stream.at(row).standard_normal(dtype=np.float32, out=eps)


class Discrete(Kind):
    """Independent random signs (Rademacher).

    Slides [S001] show "discrete space sensing" as products of sign matrices S D, of which `hadamard` is the case of one
    factor. This kind is the control without that structure: the same entries, but rows are orthogonal only on average.
    """

    description = "independent random signs"
    normal = False
    together = False

    def fill(self, stream: Stream, first: int, out: NDArray[np.float32]) -> None:
        for row, eps in enumerate(out, first):
            eps[:] = signs(stream.at(row), len(eps))


class Orthogonal(Kind):
    """Blocks of up to N mutually orthogonal directions, each of which is standard normal (chi-distributed norm) or has norm sqrt(N).

    Gram-Schmidt of normal rows gives the triangular factor a positive diagonal, which makes the directions uniform (LAPACK's
    Q is not, until its signs are corrected). LAPACK is not used because its last bits depend on the number of threads, which
    differs between processes; Gram-Schmidt is no slower. After N directions a new, independent block begins; the last block
    is cut off. Source: [S000] section 6, [S001].
    """

    together = True

    def __init__(self, description: str, fixed: bool) -> None:
        self.description = description
        self.normal = not fixed
        self._fixed = fixed

    def fill(self, stream: Stream, first: int, out: NDArray[np.float32]) -> None:
        count, size = out.shape
        for block, start in enumerate(range(0, count, size)):
            rows = stream.at(block).standard_normal((min(size, count - start), size))
            orthonormalize(rows)
            norms = size if self._fixed else stream.at(block, purpose=1).chisquare(size, len(rows))
            rows *= np.reshape(np.sqrt(norms), (-1, 1))
            out[start : start + len(rows)] = rows


class Hadamard(Kind):
    """HD: rows of the Hadamard matrix of order n = 2^ceil(log2 N), drawn without replacement, times one random diagonal of signs.

    No matrix is stored: entry (i, k) is the parity of the bits that i and k share. Rows are cut off after N entries, so
    they are orthogonal if N = n, or if all n rows are taken. After n directions a block with new signs and rows begins.
    Norms are exactly sqrt(N). All rows of a block have the same first entry; so without mirror images the values must be
    centred, or their mean is added to the first parameter's gradient. Source: [S001], one factor ("HD, k=1").
    """

    description = "rows of a Hadamard matrix with random signs (nearly orthogonal, entries of +-1)"
    normal = False
    together = False

    def fill(self, stream: Stream, first: int, out: NDArray[np.float32]) -> None:
        size = out.shape[1]
        order = 1 << (size - 1).bit_length()
        columns = np.arange(size, dtype=np.uint32)
        drawn = -1
        for row, eps in enumerate(out, first):
            block, within = divmod(row, order)
            if block != drawn:
                drawn, diagonal = block, signs(stream.at(block), size)
                picked = stream.at(block, purpose=1).permutation(order)
            odd = np.bitwise_count(columns & np.uint32(picked[within])) & 1
            np.multiply(diagonal, 1 - 2 * odd.astype(np.int8), out=eps)


KINDS: dict[str, Kind] = {
    "gaussian": Gaussian(),
    "orthogonal": Orthogonal("orthogonal normal directions (chi norms)", fixed=False),
    "orthogonal-fixed": Orthogonal("orthogonal directions of norm sqrt(N)", fixed=True),
    "hadamard": Hadamard(),
    "discrete": Discrete(),
}


def signs(generator: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Random signs [size], each from one bit of the generator."""
    bits = np.unpackbits(np.frombuffer(generator.bytes(-(-size // 8)), np.uint8), count=size)
    return np.float32(1) - np.float32(2) * bits


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def orthonormalize(rows: NDArray[np.float64]) -> None:
    """Modified Gram-Schmidt of rows [m, N], m <= N, in place. Normal rows are far from linearly dependent: errors stay below float32's."""
    count, size = rows.shape
    for i in range(count):
        row = rows[i]
        for k in range(i):
            other = rows[k]
            product = 0.0
            for c in range(size):
                product += other[c] * row[c]
            for c in range(size):
                row[c] -= product * other[c]
        product = 0.0
        for c in range(size):
            product += row[c] * row[c]
        scale = 1.0 / np.sqrt(product)
        for c in range(size):
            row[c] *= scale
