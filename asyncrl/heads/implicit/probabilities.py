"""Probabilities and values of actions, and their gradients, exact over what each transition chose from; compiled.

Arguments: form[FORM] and own[D] (`form`), features[N, F] and latents[N, d] of the set, and scratch as in `choosing.choose_all`.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.implicit.backward import embed_backward, score_backward, state_backward
from asyncrl.heads.implicit.choosing import among, place_of, redraw, scores_among
from asyncrl.heads.implicit.form import ITERATION, NORMALISED, RESAMPLE, STORED
from asyncrl.heads.implicit.towers import apply_kernel, normalised
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def _logits(form, own, output, key, features, latents, temperature, scratch):  # type: ignore[no-untyped-def]
    """Leave in scratch the state latent[d] and, in `scores`, those of the M actions of this key's set at output[d].

    Returns log sum exp(scores / temperature).
    """
    state, work, all_scores, part, drawn_key = scratch
    scores = all_scores[: among(form, key)]
    if form[RESAMPLE] >= ITERATION:
        redraw(form, own, key, drawn_key, features, work, latents)
    for j in range(state.size):
        state[j] = output[j]
    if form[NORMALISED]:
        normalised(state, state)
    scores_among(form, own, state, latents, key, work, part, scores)
    highest = np.float64(apply_kernel(form, scores))
    total = 0.0
    for m in range(scores.size):
        total += math.exp((scores[m] - highest) / temperature)
    return highest / temperature + math.log(total)


@njit(cache=True, nogil=True, error_model="numpy")
def log_probs(form, own, policy_output, action, features, latents, temperature, epsilon, scratch, out):  # type: ignore[no-untyped-def]
    """Write out[N], the log-probability of action[N, S] at policy_output[N, d], each over what it was chosen from.

    form[FORM], own[D], features[n, F], latents[n, d], and scratch as in `choose_all`; temperature is the whole one.
    """
    _, _, scores, _, drawn_key = scratch
    drawn_key[0] = -1
    for n in range(out.size):
        key = action[n, 1] if form[STORED] > 1 else np.int64(0)
        normal = _logits(form, own, policy_output[n], key, features, latents, temperature, scratch)
        m = 0
        while place_of(form, key, m) != action[n, 0]:
            m += 1
        total = scores[m] / temperature - normal
        if epsilon > 0.0:
            total = math.log((1.0 - epsilon) * math.exp(total) + epsilon / among(form, key))
        out[n] = total


@njit(cache=True, nogil=True, error_model="numpy")
def output_gradient(form, own, rows, entropy_weight, temperature, features, latents, d_latents, d_own, scratch):  # type: ignore[no-untyped-def]
    """Write rows' d_policy[N, d] and d_own[D] (float64) of sum over n of weight[n] log pi(a_n) + entropy_weight H_n.

    form[FORM], own[D]; rows (policy_output[N, d], d_policy[N, d], action[N, S], weight[N]); features[n, F], latents[n, d] and
    d_latents[n, d] (scratch) of the whole set. Returns (that sum's first part, the sum of the entropies).
    """
    policy_output, d_policy, action, weight = rows
    state, work, all_scores, _, drawn_key = scratch
    redrawn = form[RESAMPLE] >= ITERATION
    weighted, entropies = 0.0, 0.0
    d_own[:] = 0.0
    d_latents[:] = np.float32(0.0)
    drawn_key[0] = -1
    for n in range(weight.size):
        key = action[n, 1] if form[STORED] > 1 else np.int64(0)
        normal = _logits(form, own, policy_output[n], key, features, latents, temperature, scratch)
        scores = all_scores[: among(form, key)]
        entropy = 0.0
        for m in range(scores.size):
            log_p = scores[m] / temperature - normal
            entropy -= math.exp(log_p) * log_p
        d_policy[n] = np.float32(0.0)
        if redrawn:
            d_latents[:] = np.float32(0.0)
        for m in range(scores.size):
            place, log_p = place_of(form, key, m), scores[m] / temperature - normal
            p = math.exp(log_p)
            slope = -weight[n] * p - entropy_weight * p * (log_p + entropy)
            if place == action[n, 0]:
                slope += weight[n]
                weighted += weight[n] * log_p
            slope = np.float32(slope / temperature)
            score_backward(form, own, state, latents[place], slope, work, d_policy[n], d_latents[place], d_own)
        state_backward(form, policy_output[n], d_policy[n])
        if redrawn:
            embed_backward(form, own, features, d_latents, work, d_own)
        entropies += entropy
    if not redrawn:
        embed_backward(form, own, features, d_latents, work, d_own)
    return weighted, entropies


@njit(cache=True, nogil=True, error_model="numpy")
def all_values(form, own, policy_output, latents, scratch, out):  # type: ignore[no-untyped-def]
    """Write the scores out[n, N] of all actions at policy_output[n, d]; form[FORM], own[D], latents[N, d], scratch as in `choose_all`."""
    for n in range(policy_output.shape[0]):
        _logits(form, own, policy_output[n], np.int64(0), latents, latents, 1.0, scratch)
        out[n] = scratch[2]


@njit(cache=True, nogil=True, error_model="numpy")
def value_gradient(form, own, rows, features, latents, d_latent, d_own, scratch):  # type: ignore[no-untyped-def]
    """Write rows' d_policy[n, d] and d_own[D] (float64) of the sum of weight[n] * score of action[n, 0]; returns the sum.

    form[FORM], own[D]; rows as in `output_gradient`; features[N, F], latents[N, d] of the set; d_latent[1, d] is scratch.
    """
    policy_output, d_policy, action, weight = rows
    state, work, _, _, _ = scratch
    total = 0.0
    d_own[:] = 0.0
    for n in range(weight.size):
        place = action[n, 0]
        _logits(form, own, policy_output[n], np.int64(0), features, latents, 1.0, scratch)
        total += weight[n] * scratch[2][place]
        d_policy[n], d_latent[:] = np.float32(0.0), np.float32(0.0)
        score_backward(form, own, state, latents[place], weight[n], work, d_policy[n], d_latent[0], d_own)
        state_backward(form, policy_output[n], d_policy[n])
        embed_backward(form, own, features[place : place + 1], d_latent, work, d_own)
    return total
