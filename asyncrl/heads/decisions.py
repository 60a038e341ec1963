"""One step of a deterministic policy as one compiled call: observation -> normalised -> network -> action.

What a call costs is its arguments, some 0.1 microseconds for each array, more than a small network: so all that a player has is
in three arrays, and a call is kernel(observation[D], at, orders, numbers, seen).

    orders    int64: where things are in `numbers` (see the positions below), then the plan of `kernels` (the policy tower alone);
              before the plan, for MultiDiscrete actions, sizes[C] and the choices[C] that are written, counted from 0
    numbers   float32: normaliser [3, D] (shift, scale, and in [2, 0] whether it is on), the observation as the network sees
              it [D], then scores [P], bounds [2, C], action [C], scratch of hidden layers, and the vector of the layers [N]
    seen      [R, D], of the observations' declared dtype: row `at` becomes the observation, for the statistics

The kernels return whether they wrote an action (`act_choice`: the choice): not for an observation of another size, or that is
not finite. The `take_` functions are the last part alone, for scores [P] of any network.
"""

from __future__ import annotations

import math

import numpy as np

from asyncrl.heads.networks.kernels import ACTIVATION, HIDDEN, INPUTS, POLICY_OUTPUTS
from asyncrl.heads.networks.layers import FAST, relu, tanh
from asyncrl.shared.compiled import njit

SCORES, BOUNDS, ACTION, SCRATCH, VECTOR, COMPONENTS, KNOB, PLAN, CHOICES = range(9)
"""Positions in `orders`: where scores, bounds, action, scratch and vector begin in `numbers`; components C of an action; what a
kernel should know (squash: 0 or 1, or how many bins); where the plan begins in `orders`, and what comes after these."""


@njit(cache=True, nogil=True, error_model="numpy")
def see(observation, at, inputs, numbers, seen):  # type: ignore[no-untyped-def]
    """Keep observation[D] in seen[at, D] and write what the network sees into numbers[N]; False for another size, or non-finite values."""
    if observation.size != inputs:
        return False
    out, total, on = 3 * inputs, np.float32(0.0), numbers[2 * inputs] != np.float32(0.0)
    for d in range(inputs):
        seen[at, d] = observation[d]
        x = np.float32(seen[at, d])  # float32 before it is shifted and scaled, as in `layers.normalise`
        total += x - x
        if on:
            x = min(max((x - numbers[d]) * numbers[inputs + d], np.float32(-10.0)), np.float32(10.0))
        numbers[out + d] = x
    return total == np.float32(0.0)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _dense(x, vector, outputs, y):  # type: ignore[no-untyped-def]
    """`layers.dense` for one row x[I], with weight and bias behind each other: 2-D views would cost more than a small layer."""
    inputs = x.size
    for j in range(outputs):
        y[j] = vector[inputs * outputs + j]
    i = 0
    while i + 4 <= inputs:
        x0, x1, x2, x3, k = x[i], x[i + 1], x[i + 2], x[i + 3], i * outputs
        for j in range(outputs):
            first, second = x0 * vector[k + j] + x1 * vector[k + outputs + j], x2 * vector[k + 2 * outputs + j]
            y[j] += first + second + x3 * vector[k + 3 * outputs + j]
        i += 4
    while i < inputs:
        for j in range(outputs):
            y[j] += x[i] * vector[i * outputs + j]
        i += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _score(observation, at, orders, numbers, seen):  # type: ignore[no-untyped-def]
    """Write scores[P]; returns False if observation[D] has the wrong size or contains a non-finite value."""
    plan = orders[PLAN]
    inputs = orders[plan + INPUTS]
    if not see(observation, at, inputs, numbers, seen):
        return False
    x, vector, scratch = numbers[3 * inputs : 4 * inputs], orders[VECTOR], orders[SCRATCH]
    for layer in range(plan + HIDDEN, orders.size):
        outputs = orders[layer]
        y = numbers[scratch : scratch + outputs]
        _dense(x, numbers[vector:], outputs, y)
        if orders[plan + ACTIVATION] == 0:
            tanh(y.reshape(1, outputs))
        elif orders[plan + ACTIVATION] == 1:
            relu(y.reshape(1, outputs))
        vector += x.size * outputs + outputs
        scratch += outputs
        x = y
    _dense(x, numbers[vector:], orders[plan + POLICY_OUTPUTS], numbers[orders[SCORES] :])
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def take_choice(scores):  # type: ignore[no-untyped-def]
    """The index of the highest of scores[P], of equal ones the first."""
    best = 0
    for k in range(1, scores.size):
        if scores[k] > scores[best]:
            best = k
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def take_choices(scores, orders, numbers):  # type: ignore[no-untyped-def]
    """Write choices[C] in `orders`: of each component the index of its highest score in scores[P], counted from 0."""
    at, count = 0, orders[COMPONENTS]
    sizes, choices = orders[CHOICES:], orders[CHOICES + count :]
    for c in range(count):
        choices[c] = take_choice(scores[at : at + sizes[c]])
        at += sizes[c]


@njit(cache=True, nogil=True, error_model="numpy")
def take_values(scores, orders, numbers):  # type: ignore[no-untyped-def]
    """Write action[C] in numbers[N], scores[C] within their bounds: where both are finite, [-1, 1] is scaled to them.

    orders[K]: the layout.
    """
    count = orders[COMPONENTS]
    lows, highs, action = numbers[orders[BOUNDS] :], numbers[orders[BOUNDS] + count :], numbers[orders[ACTION] :]
    for c in range(count):
        u = np.float64(scores[c])
        low, high = np.float64(lows[c]), np.float64(highs[c])
        if low > -np.inf and high < np.inf:
            within = math.tanh(u) if orders[KNOB] else min(max(u, -1.0), 1.0)
            u = low + 0.5 * (within + 1.0) * (high - low)
        action[c] = min(max(u, low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def take_bins(scores, orders, numbers):  # type: ignore[no-untyped-def]
    """Write action[C] in numbers[N]: of b evenly spaced values within bounds, the one with the highest of scores[C * b].

    orders[K]: the layout.
    """
    count, bins = orders[COMPONENTS], orders[KNOB]
    lows, highs, action = numbers[orders[BOUNDS] :], numbers[orders[BOUNDS] + count :], numbers[orders[ACTION] :]
    for c in range(count):
        share = take_choice(scores[c * bins : (c + 1) * bins]) / (bins - 1)
        low, high = np.float64(lows[c]), np.float64(highs[c])
        action[c] = min(max(low + share * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def act_choice(observation, at, orders, numbers, seen):  # type: ignore[no-untyped-def]
    """The best choice at observation[D], or -1 for a wrong size or a non-finite value.

    orders[K], numbers[N], seen[S, D]: see the module.
    """
    if not _score(observation, at, orders, numbers, seen):
        return -1
    return take_choice(numbers[orders[SCORES] : orders[BOUNDS]])


@njit(cache=True, nogil=True, error_model="numpy")
def act_choices(observation, at, orders, numbers, seen):  # type: ignore[no-untyped-def]
    """Write choices[C] into numbers[N] at observation[D]; False for a wrong size or a non-finite value.

    orders[K], seen[S, D]: see the module.
    """
    if not _score(observation, at, orders, numbers, seen):
        return False
    take_choices(numbers[orders[SCORES] :], orders, numbers)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def act_values(observation, at, orders, numbers, seen):  # type: ignore[no-untyped-def]
    """Write action[C] into numbers[N] at observation[D]; False for a wrong size or a non-finite value.

    orders[K], seen[S, D]: see the module.
    """
    if not _score(observation, at, orders, numbers, seen):
        return False
    take_values(numbers[orders[SCORES] :], orders, numbers)
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def act_bins(observation, at, orders, numbers, seen):  # type: ignore[no-untyped-def]
    """Write action[C] into numbers[N] at observation[D]; False for a wrong size or a non-finite value.

    orders[K], seen[S, D]: see the module.
    """
    if not _score(observation, at, orders, numbers, seen):
        return False
    take_bins(numbers[orders[SCORES] :], orders, numbers)
    return True
