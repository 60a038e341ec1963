"""Arrays to arrays: returns and advantages."""

from __future__ import annotations

import numpy as np

from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def generalised_advantages(reward, value, next_value, ended, gamma, lam, advantage):  # type: ignore[no-untyped-def]
    """Write advantage[T, E] of generalised advantage estimation (Schulman and others 2016, equation 16). All arrays are [T, E]:
    reward[T, E], value[T, E], next_value[T, E], ended[T, E].

        delta_t = r_t + gamma * v'_t - v_t
        A_t     = delta_t + gamma * lam * A_{t+1}      (A_{t+1} = 0 past the end of an episode or of the rollout)

    with v'_t = next_value[t], the value of the true successor, taken as 0 where ended[t] is 1 (terminated).
    Where ended[t] is 2 (truncated) next_value[t] must be that of the final observation.
    With lam = 1 the advantage is R_t - v_t for the n-step returns of the CMU slides' Algorithm S3:
    R_t = r_t + gamma * R_{t+1}, begun with 0 at a terminal state and with the bootstrap value elsewhere.
    """
    g, gl = np.float32(gamma), np.float32(gamma * lam)
    for e in range(reward.shape[1]):
        following = np.float32(0.0)
        for t in range(reward.shape[0] - 1, -1, -1):
            ahead = np.float32(0.0) if ended[t, e] == 1 else next_value[t, e]
            if ended[t, e] != 0:
                following = np.float32(0.0)
            following = reward[t, e] + g * ahead - value[t, e] + gl * following
            advantage[t, e] = following


@njit(cache=True, nogil=True, error_model="numpy")
def standardised(advantage):  # type: ignore[no-untyped-def]
    """Shift and scale advantage[T, E] to mean 0 and deviation 1 over all elements, in place."""
    # Sums in float64: rounding the mean of equal advantages would be blown up to a deviation of its own.
    mean, square = 0.0, 0.0
    for element in advantage.flat:
        mean += element
    mean /= advantage.size
    for element in advantage.flat:
        square += (element - mean) ** 2
    scale = 1.0 / (np.sqrt(square / advantage.size) + 1e-8)
    for t in range(advantage.shape[0]):
        for e in range(advantage.shape[1]):
            advantage[t, e] = (advantage[t, e] - mean) * scale


@njit(cache=True, nogil=True, error_model="numpy")
def best_values(judged, picked_by, out):  # type: ignore[no-untyped-def]
    """Write out[M] = judged[m, a] for the first a at which picked_by[m, .] is largest; both [M, A]."""
    for m in range(out.size):
        best = 0
        for a in range(1, judged.shape[1]):
            if picked_by[m, a] > picked_by[m, best]:
                best = a
        out[m] = judged[m, best]


@njit(cache=True, nogil=True, error_model="numpy")
def taken_values(judged, action, out):  # type: ignore[no-untyped-def]
    """Write out[M] = judged[m, action[m]]; judged[M, A]."""
    for m in range(out.size):
        out[m] = judged[m, action[m]]


@njit(cache=True, nogil=True, error_model="numpy")
def one_step_targets(reward, ended, next_value, gamma, target):  # type: ignore[no-untyped-def]
    """Write target[T, E] = reward[T, E] + gamma * next_value[T, E], without the second term where ended[T, E] is 1 (terminated)."""
    g = np.float32(gamma)
    for t in range(reward.shape[0]):
        for e in range(reward.shape[1]):
            target[t, e] = reward[t, e] if ended[t, e] == 1 else reward[t, e] + g * next_value[t, e]


@njit(cache=True, nogil=True, error_model="numpy")
def n_step_targets(reward, ended, next_value, gamma, target):  # type: ignore[no-untyped-def]
    """Write target[T, E] = R_t = r_t + gamma * R_{t+1}, each return begun where its rollout or episode ends.

    r is reward[T, E]. A return begins with 0 where ended[T, E] is 1 (terminated), with next_value[T, E] where ended is 2 (truncated) and
    at the last step.
    """
    g = np.float32(gamma)
    last = reward.shape[0] - 1
    for e in range(reward.shape[1]):
        ahead = np.float32(0.0)
        for t in range(last, -1, -1):
            if ended[t, e] == 1:
                ahead = np.float32(0.0)
            elif ended[t, e] == 2 or t == last:
                ahead = next_value[t, e]
            ahead = reward[t, e] + g * ahead
            target[t, e] = ahead


@njit(cache=True, nogil=True, error_model="numpy")
def moments(value, error, out):  # type: ignore[no-untyped-def]
    """Write `asyncrl.progress.MOMENTS` to out[4]: means over N of y = v + e, y^2, e and e^2; value[N, 1] = v, error[N] = e."""
    out[:4] = 0.0
    for n in range(error.size):
        e = np.float64(error[n])
        y = value[n, 0] + e
        out[0] += y
        out[1] += y * y
        out[2] += e
        out[3] += e * e
    for i in range(4):
        out[i] /= error.size
