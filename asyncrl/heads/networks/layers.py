"""Layers of a network as compiled functions of arrays: what `kernels` is made of.

Only reassociation and contraction of float operations are allowed to the compiler: NaN and infinity keep their meaning.
"""

from __future__ import annotations

import numpy as np

from asyncrl.shared.compiled import njit

FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy")
def normalise(raw, normaliser, out):  # type: ignore[no-untyped-def]
    """out[E, D] = (raw - normaliser[0]) * normaliser[1] within +-10, or raw where normaliser[2, 0] is 0; False where raw is not finite."""
    total = np.float32(0.0)
    on = normaliser[2, 0] != np.float32(0.0)
    for e in range(raw.shape[0]):
        for d in range(raw.shape[1]):
            x = raw[e, d]
            total += x - x
            if on:
                x = min(max((x - normaliser[0, d]) * normaliser[1, d], np.float32(-10.0)), np.float32(10.0))
            out[e, d] = x
    return total == np.float32(0.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def tanh(y):  # type: ignore[no-untyped-def]
    """tanh of y[N, out] in place, within about 3e-7: the rational approximation that Eigen uses for float32 (degree 13 over 6).

    Vectorises, unlike the C library's, and is some ten times as fast.
    """
    for n in range(y.shape[0]):
        for j in range(y.shape[1]):
            x = min(max(y[n, j], np.float32(-7.9053111)), np.float32(7.9053111))
            s = x * x
            p = np.float32(-2.76076847742355e-16)
            p = p * s + np.float32(2.00018790482477e-13)
            p = p * s + np.float32(-8.60467152213735e-11)
            p = p * s + np.float32(5.12229709037114e-08)
            p = p * s + np.float32(1.48572235717979e-05)
            p = p * s + np.float32(6.37261928875436e-04)
            p = p * s + np.float32(4.89352455891786e-03)
            q = np.float32(1.19825839466702e-06)
            q = q * s + np.float32(1.18534705686654e-04)
            q = q * s + np.float32(2.26843463243900e-03)
            q = q * s + np.float32(4.89352518554385e-03)
            y[n, j] = x * p / q


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def relu(y):  # type: ignore[no-untyped-def]
    """max(y, 0) of y[N, out] in place."""
    for n in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[n, j] = max(y[n, j], np.float32(0.0))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def dense(x, weight, bias, y):  # type: ignore[no-untyped-def]
    """y[N, O] = x[N, I] @ weight[I, O] + bias[O]. Four inputs a pass, so that the vector loop over outputs pays."""
    inputs, outputs = weight.shape
    for n in range(x.shape[0]):
        for j in range(outputs):
            y[n, j] = bias[j]
        i = 0
        while i + 4 <= inputs:
            x0, x1, x2, x3 = x[n, i], x[n, i + 1], x[n, i + 2], x[n, i + 3]
            for j in range(outputs):
                y[n, j] += x0 * weight[i, j] + x1 * weight[i + 1, j] + x2 * weight[i + 2, j] + x3 * weight[i + 3, j]
            i += 4
        while i < inputs:
            x0 = x[n, i]
            for j in range(outputs):
                y[n, j] += x0 * weight[i, j]
            i += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def weight_gradient(x, dy, dweight, dbias):  # type: ignore[no-untyped-def]
    """dweight[I, O] = x[N, I].T @ dy[N, O] and dbias[O] = the sum over rows of dy. Four rows a pass."""
    rows, outputs = dy.shape
    dweight[:] = np.float32(0.0)
    dbias[:] = np.float32(0.0)
    n = 0
    while n < rows:
        for j in range(outputs):
            dbias[j] += dy[n, j]
        n += 1
    n = 0
    while n + 4 <= rows:
        for i in range(x.shape[1]):
            x0, x1, x2, x3 = x[n, i], x[n + 1, i], x[n + 2, i], x[n + 3, i]
            for j in range(outputs):
                dweight[i, j] += x0 * dy[n, j] + x1 * dy[n + 1, j] + x2 * dy[n + 2, j] + x3 * dy[n + 3, j]
        n += 4
    while n < rows:
        for i in range(x.shape[1]):
            x0 = x[n, i]
            for j in range(outputs):
                dweight[i, j] += x0 * dy[n, j]
        n += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def input_gradient(weight, dy, dx):  # type: ignore[no-untyped-def]
    """dx[N, I] = dy[N, O] @ weight[I, O].T. Four inputs a pass."""
    inputs, outputs = weight.shape
    zero = np.float32(0.0)
    for n in range(dy.shape[0]):
        i = 0
        while i + 4 <= inputs:
            s0, s1, s2, s3 = zero, zero, zero, zero
            for j in range(outputs):
                d = dy[n, j]
                s0 += weight[i, j] * d
                s1 += weight[i + 1, j] * d
                s2 += weight[i + 2, j] * d
                s3 += weight[i + 3, j] * d
            dx[n, i], dx[n, i + 1], dx[n, i + 2], dx[n, i + 3] = s0, s1, s2, s3
            i += 4
        while i < inputs:
            s0 = zero
            for j in range(outputs):
                s0 += weight[i, j] * dy[n, j]
            dx[n, i] = s0
            i += 1


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def dense_backward(x, weight, dy, dweight, dbias, dx, need_dx):  # type: ignore[no-untyped-def]
    """Write dweight[in, out] and dbias[out] of a layer with input x[N, in] and dy[N, out]; with `need_dx` also dx[N, in]."""
    weight_gradient(x, dy, dweight, dbias)
    if need_dx:
        input_gradient(weight, dy, dx)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def activation_backward(kind, y, dy):  # type: ignore[no-untyped-def]
    """dy[N, out] *= the derivative of the activation (kind 0 tanh, 1 relu, 2 linear), expressed by its output y[N, out]."""
    for n in range(y.shape[0]):
        for j in range(y.shape[1]):
            if kind == 0:
                dy[n, j] *= np.float32(1.0) - y[n, j] * y[n, j]
            elif kind == 1 and y[n, j] <= np.float32(0.0):
                dy[n, j] = np.float32(0.0)
