"""Products with Toeplitz, Hankel and circulant matrices in O(n log n), by FFT, compiled.

A Toeplitz product is a convolution: a part of a circular one of length m, a power of two with m >= in + out - 1, whose
spectrum is known in advance. Real vectors of length m are transformed as complex ones of length m / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import unknown
from asyncrl.heads.networks.layers import FAST
from asyncrl.shared.compiled import njit

FAST_STRUCTURES = ("toeplitz", "hankel", "circulant")

CROSSOVER = 230
"""A product by FFT is faster than the compiled dense one where in * out is more than so many times the transform's length.

Measured on an AMD EPYC, microseconds per product of one row, dense and FFT: 41 x 41: 0.4, 1.6; 256 x 256: 2.3, 4.5;
512 x 512: 10.6, 8.5; 1024 x 1024: 43, 18; 2048 x 2048: 210, 37. `asyncrl.bench.structures` measures it again.
"""


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _transform(values, spare, turns, sign):  # type: ignore[no-untyped-def]
    """FFT (sign -1) or its unscaled inverse (+1) of values[2, h] = real and imaginary parts, h a power of two: in one of the two.

    Stockham's: every pass reads one array and writes the other in order, so nothing is bit-reversed. Returns whether the result
    is in `spare`. turns[2, h] holds cos and sin of 2 pi k / (2 h).
    """
    h = values.shape[1]
    count, stride = h // 2, 1
    moved = False
    x, y = values, spare
    while count >= 1:
        step = h // count  # 2 h / (2 count)
        for p in range(count):
            c, s = turns[0, p * step], sign * turns[1, p * step]
            a, b, low, high = stride * p, stride * (p + count), 2 * stride * p, stride * (2 * p + 1)
            for q in range(stride):
                ar, ai, br, bi = x[0, a + q], x[1, a + q], x[0, b + q], x[1, b + q]
                y[0, low + q], y[1, low + q] = ar + br, ai + bi
                dr, di = ar - br, ai - bi
                y[0, high + q], y[1, high + q] = dr * c - di * s, dr * s + di * c
        x, y = y, x
        moved = not moved
        count //= 2
        stride *= 2
    return moved


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _product(x, reverse, spectrum, turns, first, second, y):  # type: ignore[no-untyped-def]
    """y[N, out] of x[N, in]; spectrum[2, h + 1] of the real circular kernel of length 2 h; first, second [2, h] scratch."""
    h = turns.shape[1]
    inputs, outputs = x.shape[1], y.shape[1]
    half, scale = np.float32(0.5), np.float32(1.0) / np.float32(h)
    for n in range(x.shape[0]):
        first[:] = np.float32(0.0)
        for i in range(inputs):
            first[i & 1, i >> 1] = x[n, inputs - 1 - i if reverse else i]
        moved = _transform(first, second, turns, np.float32(-1.0))
        z = second if moved else first
        w = first if moved else second
        # Split into the spectra of even and odd places, join to that of the real vector, multiply, and pack again.
        for k in range(h // 2 + 1):
            j = (h - k) & (h - 1)
            c, s = turns[0, k], -turns[1, k]
            er, ei = half * (z[0, k] + z[0, j]), half * (z[1, k] - z[1, j])
            dr, di = half * (z[1, k] + z[1, j]), half * (z[0, j] - z[0, k])
            tr, ti = dr * c - di * s, dr * s + di * c
            # at frequency k, and at h - k, where the vector's is the conjugate of (even - turned odd)
            ur, ui = er + tr, ei + ti
            vr, vi = er - tr, ti - ei
            pr, pi = ur * spectrum[0, k] - ui * spectrum[1, k], ur * spectrum[1, k] + ui * spectrum[0, k]
            qr, qi = vr * spectrum[0, h - k] - vi * spectrum[1, h - k], vr * spectrum[1, h - k] + vi * spectrum[0, h - k]
            er, ei = half * (pr + qr), half * (pi - qi)
            tr, ti = half * (pr - qr), half * (pi + qi)
            dr, di = tr * c + ti * s, ti * c - tr * s
            w[0, k], w[1, k] = er - di, ei + dr
            w[0, j], w[1, j] = er + di, dr - ei
        moved = _transform(w, z, turns, np.float32(1.0))
        z = z if moved else w
        for j in range(outputs):
            y[n, j] = scale * z[j & 1, j >> 1]


def transform_length(inputs: int, outputs: int) -> int:
    """Length of the circular convolution: the smallest power of two, 2 or more, that holds in + out - 1."""
    return max(2, 1 << (inputs + outputs - 2).bit_length())


def pays(structure: str, inputs: int, outputs: int) -> bool:
    """Whether the fast product is the faster one."""
    return structure in FAST_STRUCTURES and inputs * outputs > CROSSOVER * transform_length(inputs, outputs)


class FastProduct:
    """x[N, in] -> x @ dense[in, out] without the dense matrix. `set` costs one FFT, a product two."""

    def __init__(self, structure: str, inputs: int, outputs: int):
        if structure not in FAST_STRUCTURES:
            raise unknown("structure with a fast product", structure, FAST_STRUCTURES)
        self.structure, self.inputs, self.outputs = structure, inputs, outputs
        half = self._half = transform_length(inputs, outputs) // 2
        angle = np.pi * np.arange(half) / half
        self._turns = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        self._spectrum = np.zeros((2, half + 1), np.float32)
        self._scratch = np.zeros((2, 2, half), np.float32)

    def set(self, parameters: NDArray[np.float32]) -> None:
        """Take on the layer's parameters [count]."""
        inputs, outputs = self.inputs, self.outputs
        diagonals = parameters  # of j - i from 1 - in to out - 1
        if self.structure == "circulant":
            diagonals = parameters[np.arange(1 - inputs, outputs) % len(parameters)]
        circular = np.zeros(2 * self._half)
        circular[:outputs] = diagonals[inputs - 1 :]
        if inputs > 1:
            circular[1 - inputs :] = diagonals[: inputs - 1]
        spectrum = np.fft.rfft(circular)
        self._spectrum[0], self._spectrum[1] = spectrum.real, spectrum.imag

    def __call__(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """Write y[N, out] of x[N, in]."""
        _product(x, self.structure == "hankel", self._spectrum, self._turns, self._scratch[0], self._scratch[1], y)


def fast_product(structure: str, parameters: NDArray[np.float32], x: NDArray[np.float32], outputs: int) -> NDArray[np.float32]:
    """x[N, in] @ the dense matrix [in, out] of parameters, by FFT. Raises UserError for a structure that has no fast product."""
    product = FastProduct(structure, x.shape[1], outputs)
    product.set(parameters)
    y = np.empty((x.shape[0], outputs), np.float32)
    product(np.ascontiguousarray(x, np.float32), y)
    return y
