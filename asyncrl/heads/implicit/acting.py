"""A whole step as one compiled call: observation -> network -> an action of the set, by looking at all of it or by an index.

Latents and indices of a table are overwritten when others need their slot, and parameters change between steps. So a kernel is bound to
what it reads, and looks itself whether that is what it should be (`standing`). Where it is not, nothing is acted on, and what is returned
says why; `whole_step` then binds what is, and calls again. What a step needs comes as one `asyncrl.shared.bundles.Bundle`, but for the
observations, whose type is the environment's:

    KINDS    in their order: the network's plan[K], vector[S], work[W], normaliser[3, D], observation[T+1, E, D], policy_output[E, d];
             kept[D], at[STANDING] and words[SLOTS] of the latents, and bound[2]: their number, and whether greedy steps go by an index;
             form[FORM], values[N, C], bounds[2, C], knobs[KNOBS], noise[2, T, E, C+1], extra_noise[T, E, C], action[T, E, S],
             bounded[T, E, C]
    beyond   what is chosen from, and scratch: of `act_among` latents[N, d], features[N, F], turns[TURNS], the head's temperature[1], and
             the scratch of `choose_all`; of others the selection's `arguments`

The kernels take words of the bundle, raw[T+1, E, D] and the step t. They return whether all observations are finite, or one of GIVEN_AWAY,
UNKNOWN and OTHERWISE.
"""

from __future__ import annotations

import numpy as np

from asyncrl.heads.implicit.choosing import COUNT, choose_all, write_picked
from asyncrl.heads.implicit.selection.cells import best_by_cells
from asyncrl.heads.implicit.selection.coded import best_by_codes
from asyncrl.heads.implicit.selection.probing import best_by_projections
from asyncrl.heads.implicit.standing import is_of, stands
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.rounds import EPSILON, TEMPERATURE
from asyncrl.shared.bundles import Kind, array1, array2, array3, array4
from asyncrl.shared.compiled import njit

GIVEN_AWAY, UNKNOWN, OTHERWISE = -1, -2, -3
"""What was read was overwritten meanwhile; it was not of these parameters; greedy steps go by an index, and others do not."""

F4, F8, I1, I2, I4, I8 = np.float32, np.float64, np.int8, np.int16, np.int32, np.int64
NETWORK: tuple[Kind, ...] = ((I8, 1), (F4, 1), (F4, 1), (F4, 2), (F4, 3), (F4, 2))
STANDS: tuple[Kind, ...] = ((F4, 1), (I8, 1), (I8, 1), (I8, 1))
WRITTEN: tuple[Kind, ...] = ((I8, 1), (F4, 2), (F8, 2), (F8, 1), (F8, 4), (F8, 3), (I8, 3), (F4, 3))
KINDS = (*NETWORK, *STANDS, *WRITTEN)
PLAN, VECTOR, WORK, NORMALISER, OBSERVATION, POLICY_OUTPUT, KEPT, AT, WORDS, BOUND = range(10)
FORM, VALUES, BOUNDS, KNOBS, NOISE, EXTRA_NOISE, ACTION, BOUNDED, BEYOND = range(10, 19)
"""Places in a bundle, and of the first array beyond KINDS."""

AMONG: tuple[Kind, ...] = ((F4, 2), (F4, 2), (I8, 1), (F8, 1), (F4, 1), (F4, 1), (F4, 1), (F4, 2), (I8, 1))
CELLS: tuple[Kind, ...] = ((F4, 3), (I4, 2), (F4, 3), (F4, 3), (F4, 1), (F8, 2), (F8, 2))
PROJECTIONS: tuple[Kind, ...] = ((F4, 3), (I4, 2), (I8, 1), (I4, 1), (F8, 2), (F8, 1), (I8, 1), (F4, 1), (F8, 1), (F8, 2))
CODES: tuple[Kind, ...] = ((F4, 2), (I1, 3), (F8, 2), (F8, 1), (I2, 1), (I2, 1), (I2, 1))
"""Beyond KINDS, of `act_among`, `act_by_cells`, `act_by_projections` and `act_by_codes`."""


@njit(cache=True, nogil=True, error_model="numpy")
def _readable(words):  # type: ignore[no-untyped-def]
    """Whether what the bundle is bound to is of the head's parameters, which end the vector, and may be read."""
    vector, kept, bound = array1(words, VECTOR, F4), array1(words, KEPT, F4), array1(words, BOUND, I8)
    return is_of(vector[vector.size - kept.size :], kept, bound[0], array1(words, AT, I8), array1(words, WORDS, I8))


@njit(cache=True, nogil=True, error_model="numpy")
def observe(words, raw, t):  # type: ignore[no-untyped-def]
    """Write the normalised observation and the network's outputs of step t; returns whether all observations are finite.

    Of words[n, m] it reads the arrays of NETWORK; raw[T+1, E, D].
    """
    observation = array3(words, OBSERVATION, F4)[t]
    sound = normalise(raw[t], array2(words, NORMALISER, F4), observation)
    output = array2(words, POLICY_OUTPUT, F4)
    policy_forward(array1(words, PLAN, I8), array1(words, VECTOR, F4), observation, array1(words, WORK, F4), output)
    return sound


@njit(cache=True, nogil=True, error_model="numpy")
def _is_greedy(words):  # type: ignore[no-untyped-def]
    return array1(words, KNOBS, F8)[TEMPERATURE] == 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _told(words, sound):  # type: ignore[no-untyped-def]
    """What a kernel returns that has acted."""
    return int(sound) if stands(array1(words, AT, I8), array1(words, WORDS, I8)) else GIVEN_AWAY


@njit(cache=True, nogil=True, error_model="numpy")
def _written(words, sound, t):  # type: ignore[no-untyped-def]
    """Write what the environments are given for the places in action[t]; returns what a kernel returns."""
    noise, extra_noise = array4(words, NOISE, F8)[:, t], array3(words, EXTRA_NOISE, F8)[t]
    action, bounded = array3(words, ACTION, I8)[t], array3(words, BOUNDED, F4)[t]
    epsilon, values, bounds = array1(words, KNOBS, F8)[EPSILON], array2(words, VALUES, F4), array2(words, BOUNDS, F8)
    write_picked(array1(words, FORM, I8), values, bounds, epsilon, noise, extra_noise, action, bounded)
    return _told(words, sound)


@njit(cache=True, nogil=True, error_model="numpy")
def act_among(words, raw, t):  # type: ignore[no-untyped-def]
    """By looking at all latents, or at those of a set that is drawn now; where an index is for greedy steps only what is not greedy."""
    if array1(words, BOUND, I8)[1] and _is_greedy(words):
        return OTHERWISE
    if not _readable(words):
        return UNKNOWN
    sound = observe(words, raw, t)
    latents, turns, temperature = array2(words, BEYOND, F4), array1(words, BEYOND + 2, I8), array1(words, BEYOND + 3, F8)[0]
    tables = (array2(words, VALUES, F4), array2(words, BOUNDS, F8), array2(words, BEYOND + 1, F4))
    scratch = (*_towers_scratch(words), array2(words, BEYOND + 7, F4), array1(words, BEYOND + 8, I8))
    form, own, knobs, noise = array1(words, FORM, I8), array1(words, KEPT, F4), array1(words, KNOBS, F8), array4(words, NOISE, F8)
    action, bounded = array3(words, ACTION, I8)[t], array3(words, BOUNDED, F4)[t]
    drawn, count = noise[0, 0, :, noise.shape[3] - 1], turns[COUNT]
    here = (noise[:, t], array3(words, EXTRA_NOISE, F8)[t], action, bounded)
    choose_all(form, own, array2(words, POLICY_OUTPUT, F4), tables, latents, turns, temperature, drawn, knobs, *here, scratch)
    found = _told(words, sound)
    if found == GIVEN_AWAY:
        turns[COUNT] = count
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _towers_scratch(words):  # type: ignore[no-untyped-def]
    """state[d], work[W], scores[M] of `choose_all`."""
    return array1(words, BEYOND + 4, F4), array1(words, BEYOND + 5, F4), array1(words, BEYOND + 6, F4)


@njit(cache=True, nogil=True, error_model="numpy")
def act_by_cells(words, raw, t):  # type: ignore[no-untyped-def]
    """Greedily, by the index of `best_by_cells`."""
    if not _is_greedy(words):
        return OTHERWISE
    if not _readable(words):
        return UNKNOWN
    sound, output, action = observe(words, raw, t), array2(words, POLICY_OUTPUT, F4), array3(words, ACTION, I8)[t]
    index = (array3(words, BEYOND, F4), array2(words, BEYOND + 1, I4), array3(words, BEYOND + 2, F4), array3(words, BEYOND + 3, F4))
    scratch = (array1(words, BEYOND + 4, F4), array2(words, BEYOND + 5, F8), array2(words, BEYOND + 6, F8))
    for e in range(action.shape[0]):
        action[e, 0] = best_by_cells(*index, output[e], *scratch)
    return _written(words, sound, t)


@njit(cache=True, nogil=True, error_model="numpy")
def act_by_projections(words, raw, t):  # type: ignore[no-untyped-def]
    """Greedily, by the index of `best_by_projections`."""
    if not _is_greedy(words):
        return OTHERWISE
    if not _readable(words):
        return UNKNOWN
    sound, output, action = observe(words, raw, t), array2(words, POLICY_OUTPUT, F4), array3(words, ACTION, I8)[t]
    buckets = (array3(words, BEYOND, F4), array2(words, BEYOND + 1, I4), array1(words, BEYOND + 2, I8), array1(words, BEYOND + 3, I4))
    index = (*buckets, array2(words, BEYOND + 4, F8), array1(words, BEYOND + 5, F8))
    scratch = (array1(words, BEYOND + 7, F4), array1(words, BEYOND + 8, F8), array2(words, BEYOND + 9, F8))
    for e in range(action.shape[0]):
        action[e, 0] = best_by_projections(*index, output[e], array1(words, BEYOND + 6, I8), *scratch)[0]
    return _written(words, sound, t)


@njit(cache=True, nogil=True, error_model="numpy")
def act_by_codes(words, raw, t):  # type: ignore[no-untyped-def]
    """Greedily and exactly, by the index of `best_by_codes`."""
    if not _is_greedy(words):
        return OTHERWISE
    if not _readable(words):
        return UNKNOWN
    sound, output, action = observe(words, raw, t), array2(words, POLICY_OUTPUT, F4), array3(words, ACTION, I8)[t]
    index = (array2(words, BEYOND, F4), array3(words, BEYOND + 1, I1), array2(words, BEYOND + 2, F8), array1(words, BEYOND + 3, F8))
    scratch = (array1(words, BEYOND + 4, I2), array1(words, BEYOND + 5, I2), array1(words, BEYOND + 6, I2))
    for e in range(action.shape[0]):
        action[e, 0] = best_by_codes(*index, output[e], *scratch)
    return _written(words, sound, t)
