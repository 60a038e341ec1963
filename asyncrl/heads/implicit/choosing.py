"""Choosing an action of a set by looking at all of it, or as an index has found it, compiled.

A transition chooses among M of the N actions. Which, and where their latents come from, depends on how often the set is drawn:

    NEVER        all of them; latents are those of the table
    SUBSET       M drawn without replacement by the transition's key, which also says M, since workers may have theirs; latents are
                 those of the table. Where parts stand for a rollout, all transitions of an environment there have one key, but for
                 greedy ones
    ITERATION, TRANSITION   N = M features drawn by a key, embedded there and then

An action is stored as its place in the set and, where a key drew what it was chosen from, that key: so whoever learns from it can draw
the same again. Of equal scores the first place counts, as in numpy.argmax.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.implicit.form import CHOSEN, HALF, HELD, ITERATION, NEVER, NORMALISED, PLACES, RESAMPLE, STORED, SUBSET, TRANSITION
from asyncrl.heads.implicit.towers import apply_kernel, embed, normalised, raw_scores
from asyncrl.heads.keyed_numbers import KEYS, key_at, part_key, part_size, place_in, uniform_box
from asyncrl.heads.rounds import EPSILON, PART, TEMPERATURE
from asyncrl.shared.compiled import njit

BASE, COUNT, TURNS = 0, 1, 2
"""Positions in `turns`: what greedy sets are drawn from, and how many have been; how many numbers there are."""


@njit(cache=True, nogil=True, error_model="numpy")
def place_of(form, key, m):  # type: ignore[no-untyped-def]
    """Where the m-th action that the transition of this key chooses among stands in the set of form[FORM]."""
    return place_in(key, m, form[PLACES], form[HALF]) if form[RESAMPLE] == SUBSET else m


@njit(cache=True, nogil=True, error_model="numpy")
def among(form, key):  # type: ignore[no-untyped-def]
    """M, among how many actions of form[FORM] the transition of this key chooses."""
    return part_size(key) if form[RESAMPLE] == SUBSET else form[CHOSEN]


@njit(cache=True, nogil=True, error_model="numpy")
def scores_among(form, own, state, latents, key, work, part, scores):  # type: ignore[no-untyped-def]
    """Write the raw scores[M] of the actions that the transition of this key chooses among; part[M, d] holds their latents if not all.

    form[FORM], own[D], state[d], latents[N, d], work[W].
    """
    if form[RESAMPLE] != SUBSET:
        raw_scores(form, own, state, latents, work, scores)
        return
    for m in range(scores.size):
        place = place_of(form, key, m)
        for j in range(state.size):
            part[m, j] = latents[place, j]
    raw_scores(form, own, state, part, work, scores)


@njit(cache=True, nogil=True, error_model="numpy")
def _greedy(form, key, scores):  # type: ignore[no-untyped-def]
    """The place of the best of scores[M]: the selection `brute`."""
    best, highest = 0, scores[0]
    for m in range(1, scores.size):
        if scores[m] > highest:
            best, highest = m, scores[m]
    if form[RESAMPLE] != SUBSET:
        return best
    place = place_of(form, key, best)
    for m in range(best + 1, scores.size):  # a part is in no order
        if scores[m] == highest:
            place = min(place, place_of(form, key, m))
    return place


@njit(cache=True, nogil=True, error_model="numpy")
def _invert(scores, highest, temperature, point):  # type: ignore[no-untyped-def]
    """m, drawn from the softmax of scores[M] / temperature by inverting it at the point in [0, 1); scores become its numerators."""
    total = 0.0
    for m in range(scores.size):
        scores[m] = math.exp((np.float64(scores[m]) - highest) / temperature)
        total += scores[m]
    rest = point * total
    for m in range(scores.size):
        rest -= scores[m]
        if rest < 0.0:
            return m
    return scores.size - 1


@njit(cache=True, nogil=True, error_model="numpy")
def _drawn_key(form, knobs, turns, noise, e, drawn):  # type: ignore[no-untyped-def]
    """Of a greedy step the next of `turns`, otherwise of the last of environment e's random numbers.

    A worker that says how large its parts are explores by them, also where it takes the best of each.
    """
    if knobs[TEMPERATURE] == 0.0 and knobs[PART] == 0.0:
        if form[RESAMPLE] == ITERATION:
            return key_at(turns[BASE], 0)
        turns[COUNT] += 1
        return key_at(turns[BASE], turns[COUNT])
    if form[RESAMPLE] == ITERATION:
        return np.int64(drawn[0] * KEYS)
    return np.int64((drawn[e] if form[HELD] else noise[0, e, noise.shape[2] - 1]) * KEYS)


@njit(cache=True, nogil=True, error_model="numpy")
def _key(form, knobs, turns, noise, e, drawn):  # type: ignore[no-untyped-def]
    """The key of environment e's set; of a part, with how many actions it has."""
    if form[RESAMPLE] == NEVER:
        return np.int64(0)
    key = _drawn_key(form, knobs, turns, noise, e, drawn)
    if form[RESAMPLE] != SUBSET:
        return key
    return part_key(key, knobs[PART] if knobs[PART] > 0.0 else form[CHOSEN])


@njit(cache=True, nogil=True, error_model="numpy")
def redraw(form, own, key, drawn_key, features, work, latents):  # type: ignore[no-untyped-def]
    """Draw and embed the set of a key: write features[N, F] and latents[N, d] by form[FORM] and own[D], with work[W].

    Unless drawn_key[1] says that it is there: only an iteration asks for one twice.
    """
    if form[RESAMPLE] == TRANSITION or drawn_key[0] != key:
        uniform_box(key, features)
        embed(form, own, features, work, latents)
        drawn_key[0] = key


@njit(cache=True, nogil=True, error_model="numpy")
def _write(form, place, key, features, values, bounds, noise, action, bounded):  # type: ignore[no-untyped-def]
    action[0] = place
    if form[STORED] > 1:
        action[1] = key
    for c in range(bounded.size):
        if form[RESAMPLE] < ITERATION:
            bounded[c] = values[place, c]
        else:
            low, high = bounds[0, c], bounds[1, c]
            bounded[c] = min(max(low + 0.5 * (np.float64(features[place, c]) + 1.0) * (high - low), low), high)
        if noise[c] != 0.0:
            low, high = bounds[0, c], bounds[1, c]
            bounded[c] = min(max(bounded[c] + 0.5 * noise[c] * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def choose_all(form, own, policy_output, tables, latents, turns, temperature, drawn, knobs, noise, extra_noise, action, bounded, scratch):  # type: ignore[no-untyped-def]
    """Write action[E, S] and bounded[E, C] of policy_output[E, d]. With probability epsilon (noise[1, e, C] below it) any of the M.

    form[FORM], own[D], tables (values[N, C], bounds[2, C], features[N, F]), latents[N, d], turns[TURNS], knobs[KNOBS],
    noise[2, E, C+1], extra_noise[E, C], scratch as `form.scratch_of` makes it.
    drawn[E]: random numbers of the round, `temperature`: the head's own.
    """
    values, bounds, features = tables
    state, work, all_scores, part, drawn_key = scratch
    last = noise.shape[2] - 1
    for e in range(action.shape[0]):
        key = _key(form, knobs, turns, noise, e, drawn)
        count = among(form, key)
        scores = all_scores[:count]
        if form[RESAMPLE] >= ITERATION:
            redraw(form, own, key, drawn_key, features, work, latents)
        for j in range(state.size):
            state[j] = policy_output[e, j]
        if form[NORMALISED]:
            normalised(state, state)
        if noise[1, e, last] < knobs[EPSILON]:
            place = place_of(form, key, min(np.int64(noise[1, e, 0] * count), count - 1))
        elif knobs[TEMPERATURE] == 0.0:
            scores_among(form, own, state, latents, key, work, part, scores)
            place = _greedy(form, key, scores)
        else:
            scores_among(form, own, state, latents, key, work, part, scores)
            highest = apply_kernel(form, scores)
            place = place_of(form, key, _invert(scores, highest, temperature * knobs[TEMPERATURE], noise[0, e, 0]))
        _write(form, place, key, features, values, bounds, extra_noise[e], action[e], bounded[e])


@njit(cache=True, nogil=True, error_model="numpy")
def write_picked(form, values, bounds, epsilon, noise, extra_noise, action, bounded):  # type: ignore[no-untyped-def]
    """Write bounded[E, C] of the places in action[E, 1], which an index has found in the fixed set of values[N, C].

    With probability epsilon (noise[1, e, C] below it) it is any of the N, as in `choose_all`. form[FORM], bounds[2, C], noise[2, E, C+1],
    extra_noise[E, C].
    """
    last = noise.shape[2] - 1
    for e in range(action.shape[0]):
        place = action[e, 0]
        if noise[1, e, last] < epsilon:
            place = min(np.int64(noise[1, e, 0] * form[CHOSEN]), form[CHOSEN] - 1)
        _write(form, place, np.int64(0), values, values, bounds, extra_noise[e], action[e], bounded[e])
