"""Per-dimension density ratios, which correct an evaluation for parameters other than those that it perturbed.

An evaluation perturbed theta_v by sigma eps. For other parameters theta' and d = (theta' - theta_v) / sigma, the density of
its i-th coordinate changes by

    r_i = p_theta'(x_i) / p_theta_v(x_i) = exp(eps_i d_i - d_i^2 / 2)

and the surrogate of trust region evolution strategies ([S003] equation 25) is, for values V and clip factor lambda,

    L(theta') = mean over n of  sum over i of  min(r_ni V_n, clip(r_ni, 1 - lambda, 1 + lambda) V_n).

It is a sum of functions of one coordinate each. E[V r_i (eps_i - d_i)] / sigma is dJ/dtheta_i at the point theta_v with
only coordinate i moved to theta'_i, so late evaluations are corrected along each axis separately. The product over all
coordinates would be exact, but its effective sample size decreases as exp(-|d|^2), here as exp(-d_i^2).

The ratios are those of normal densities, so they apply to directions whose entries are marginally normal: independent ones, and
orthogonal ones with chi-distributed norms. Random signs (hadamard, discrete) have no density, and for directions of fixed length
the mean of V r (eps - d) is not the slope of a linear function. For those r = 1 and d = 0: an evaluation of theta_v is used as one
of theta', which is exact for a linear function.

Convention, as in `estimators`: gradients are in units of sigma_0, that of the first setting: g = sigma_0 dL/dtheta'. At
theta' = theta_v that is the uncorrected estimate. Values must be centred: a constant in V adds noise and a bias towards theta_v.
With the paper's lambda of 14 ratios are rarely clipped (it takes |eps| > 2.3 and a d near 1): the trust region is enforced by
the size and number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.space import Vector, Whole
from asyncrl.shared.compiled import njit

Inputs = tuple[Any, Any, Any, Any, Any, Any, Any, Any, Any]
CHUNK = 256  # coordinates processed at a time, so that their sums stay in the L1 cache


@dataclass(frozen=True)
class Samples:
    """n evaluations of parameters theta_v + sign sigma eps, N parameters, C versions."""

    block: NDArray[np.float32]
    """eps [M, N], read-only, since the compiled functions are compiled for read-only arrays."""
    row: Whole
    """Each evaluation's row of the block, [n]."""
    sign: Vector
    """1, or -1 for a mirror image, [n]."""
    value: Vector
    """V [n]."""
    cohort: Whole
    """Each evaluation's row of `stale`, [n]."""
    stale: Vector
    """theta - theta_v of each version, [C, N]; no rows if no evaluation is to be corrected."""
    inverse_sigma: Vector
    """1 / sigma [n]."""
    normal: NDArray[np.bool_]
    """Whether the entries of eps are marginally normal, [n]; for other directions the ratios are taken as 1."""
    sigma: float
    """sigma_0, the unit of gradients."""

    def __len__(self) -> int:
        return len(self.value)


def gradient(samples: Samples, move: Vector | None = None, clip: float = np.inf) -> Vector:
    """g [N] = sigma_0 dL/dtheta' at theta' = theta + move [N] (None: at theta). clip: lambda of the surrogate."""
    out = np.zeros(samples.block.shape[1])
    if move is None and not len(samples.stale):
        weights = samples.value * samples.sign * samples.inverse_sigma * (samples.sigma / len(samples))
        _combine(np.bincount(samples.row, weights, len(samples.block)), samples.block, out)
        return out
    _gradient(*_arguments(samples, move), samples.sigma, clip, out)
    return out


def measure(samples: Samples, move: Vector | None = None, clip: float = np.inf) -> tuple[float, float, float]:
    """At theta' = theta + move [N]: the surrogate L, the share of clipped ratios, and the effective sample size.

    The last is (sum of r)^2 / (sum of r^2), a number of evaluations, averaged over coordinates.
    """
    surrogate, clipped, effective = _measure(*_arguments(samples, move), clip)
    return float(surrogate), float(clipped), float(effective)


def divergence(move: Vector, sigma: float) -> tuple[float, float, float]:
    """Kullback-Leibler divergence between the search distributions before and after a move [N].

    Returns the largest of the coordinates, their mean and their sum. A coordinate's is (move / sigma)^2 / 2.
    """
    each = 0.5 * (move / sigma) ** 2
    return float(each.max()), float(each.mean()), float(each.sum())


def _arguments(samples: Samples, move: Vector | None) -> Inputs:
    size = samples.block.shape[1]
    move = np.zeros(size) if move is None else move
    stale, cohort = (samples.stale, samples.cohort) if len(samples.stale) else (np.zeros((1, size)), np.zeros(len(samples), np.int64))
    return samples.block, samples.row, samples.sign, samples.value, cohort, stale, samples.inverse_sigma, samples.normal, move


@njit(cache=True, nogil=True, error_model="numpy")
def _combine(weights, block, out):  # type: ignore[no-untyped-def]
    """out[N] += weights[M] @ block[M, N], summed in float64 and in the same order whatever the number of threads."""
    for low in range(0, out.size, CHUNK):
        high = min(low + CHUNK, out.size)
        for j in range(weights.size):
            if weights[j] != 0.0:
                for i in range(low, high):
                    out[i] += weights[j] * block[j, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _gradient(block, row, sign, value, cohort, stale, inverse_sigma, normal, move, sigma, clip, out):  # type: ignore[no-untyped-def]
    top, bottom = 1.0 + clip, 1.0 - clip
    for low in range(0, out.size, CHUNK):
        high = min(low + CHUNK, out.size)
        for n in range(value.size):
            j, c, v = row[n], cohort[n], value[n]
            weight = v * sigma * inverse_sigma[n] / value.size
            inverse = inverse_sigma[n] if normal[n] else 0.0
            for i in range(low, high):
                e = sign[n] * block[j, i]
                d = (stale[c, i] + move[i]) * inverse
                r = np.exp(e * d - 0.5 * d * d)
                if not ((v > 0.0 and r > top) or (v < 0.0 and r < bottom)):
                    out[i] += weight * r * (e - d)


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(block, row, sign, value, cohort, stale, inverse_sigma, normal, move, clip):  # type: ignore[no-untyped-def]
    top, bottom = 1.0 + clip, 1.0 - clip
    surrogate, clipped, effective = 0.0, 0, 0.0
    once, twice = np.empty(CHUNK), np.empty(CHUNK)
    for low in range(0, move.size, CHUNK):
        high = min(low + CHUNK, move.size)
        once[:], twice[:] = 0.0, 0.0
        for n in range(value.size):
            j, c, v = row[n], cohort[n], value[n]
            inverse = inverse_sigma[n] if normal[n] else 0.0
            for i in range(low, high):
                d = (stale[c, i] + move[i]) * inverse
                r = np.exp(sign[n] * block[j, i] * d - 0.5 * d * d)
                once[i - low] += r
                twice[i - low] += r * r
                if (v > 0.0 and r > top) or (v < 0.0 and r < bottom):
                    clipped += 1
                surrogate += min(r * v, min(max(r, bottom), top) * v)
        for i in range(high - low):
            effective += once[i] * once[i] / twice[i]
    return surrogate / value.size, clipped / (value.size * move.size), effective / move.size
