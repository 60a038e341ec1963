"""V-trace: values and advantages from traces that an older policy acted (Espeholt and others 2018), and how far off it was.

Everywhere log_ratio = log pi(a | s) - log mu(a | s): pi is the policy that learns, mu the one that acted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def vtrace(reward, value, next_value, ended, log_ratio, gamma, lam, rho_bar, c_bar, target, advantage):  # type: ignore[no-untyped-def]
    """Write target[T, E] = v_t (equation 1) and advantage[T, E], the weight of each log pi(a_t | s_t) (section 4.2), of reward[T, E],
    value[T, E], next_value[T, E], ended[T, E] and log_ratio[T, E], log pi(a_t | s_t) - log mu(a_t | s_t).

        rho_t = min(rho_bar, exp(log_ratio_t)),    c_t = lam * min(c_bar, exp(log_ratio_t))
        delta_t = rho_t * (r_t + gamma * v'_t - V_t)
        v_t = V_t + delta_t + gamma * c_t * (v_{t+1} - V_{t+1})
        A_t = rho_t * (r_t + gamma * (v'_t + lam * (v_{t+1} - V_{t+1})) - V_t)

    v_{t+1} - V_{t+1} is 0 past the end of an episode or of the trace. v'_t = next_value[t], the value of the true successor,
    is taken as 0 where ended[t] is 1 (terminated); where ended[t] is 2 (truncated) it must be that of the final
    observation. log_ratio = 0 everywhere leaves out the correction.

    The paper has lam in c_t alone (its remark 2), and its advantage is the one above with lam = 1. With lam in both, acting
    on policy gives generalised advantage estimation, and lam = 1 gives n-step returns.
    """
    g, f = np.float32(gamma), np.float32(lam)
    rho_most, c_most = np.float32(rho_bar), np.float32(c_bar)
    zero = np.float32(0.0)
    for e in range(reward.shape[1]):
        excess = zero
        for t in range(reward.shape[0] - 1, -1, -1):
            ahead = zero if ended[t, e] == 1 else next_value[t, e]
            if ended[t, e] != 0:
                excess = zero
            ratio = np.exp(log_ratio[t, e])
            rho, c = min(rho_most, ratio), f * min(c_most, ratio)
            error = reward[t, e] + g * ahead - value[t, e]
            advantage[t, e] = rho * (error + g * f * excess)
            excess = rho * error + g * c * excess
            target[t, e] = value[t, e] + excess


def importance_figures(log_ratio: NDArray[np.floating]) -> dict[str, float]:
    """What to log of log_ratio[...], samples of mu: how far the learning policy pi is from the one that acted.

    effective_samples  (sum w)^2 / sum w^2 for the ratios w = pi / mu, as a share of the samples: 1 on policy (Kong 1992)
    ratio_mean         its expectation is 1: another number shows that the samples miss where pi goes
    ratio_max          the largest
    kl_acting          KL(mu || pi) in nats, by the mean of w - 1 - log w, no term of which is negative
    kl_learning        KL(pi || mu) in nats, by the mean of w log w - (w - 1), likewise
    """
    logarithm = np.asarray(log_ratio, np.float64).reshape(-1)
    if logarithm.size == 0:
        return {}
    largest = float(logarithm.max())
    scaled = np.exp(logarithm - largest)  # the share does not depend on the scale, and this one cannot overflow
    effective = scaled.sum() ** 2 / (scaled.size * np.square(scaled).sum())
    ratio = np.exp(np.minimum(logarithm, 700.0))
    return {
        "effective_samples": float(effective),
        "ratio_mean": float(ratio.mean()),
        "ratio_max": float(ratio.max()),
        "kl_acting": float((ratio - 1.0 - logarithm).mean()),
        "kl_learning": float((ratio * logarithm - (ratio - 1.0)).mean()),
    }
