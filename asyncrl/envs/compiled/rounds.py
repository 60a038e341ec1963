"""Many steps in one compiled call: act, step, book, until an episode ends."""

from __future__ import annotations

import numpy as np
from numba import types

from asyncrl.shared.calling import says_number, says_whether, steps
from asyncrl.shared.compiled import njit
from asyncrl.trajectory import GOES_ON, TERMINATED, TRUNCATED

LIMIT, LENGTH = range(2)
"""Columns of `counts`: an environment's time limit in steps (0: none), and the steps of the episode under way."""
SECONDS, REST, NANOSECONDS, ADDRESS, STEPPED, ENDS, CLOCK = range(7)
"""Positions in `clock`: what the C library writes, what simulation has taken, where the array lies, steps so far, episodes in `ends`."""
SAMPLED = 16
"""Of so many steps one is timed: a clock costs as much as a step of a small environment."""
_MONOTONIC = 1

_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def _now(clock):  # type: ignore[no-untyped-def]
    """Nanoseconds of the monotonic clock; clock[CLOCK]: see the positions."""
    _clock_gettime(_MONOTONIC, clock[ADDRESS])  # type: ignore[call-overload]
    return clock[SECONDS] * 1_000_000_000 + clock[REST]


@njit(cache=True, nogil=True, error_model="numpy")
def _begun(begin, ended, words, numbers, counts, returns, clock, draws, ends, observation):  # type: ignore[no-untyped-def]
    """Begin the next episodes of one step's environments: ended [E], observation [E, D], all else as in `play`.

    False, and nothing is done, where an episode was truncated or its last observation is not finite: these are Python's.
    """
    for e in range(ended.size):
        if ended[e] == TRUNCATED:
            return False
        if ended[e] == TERMINATED:
            for i in range(observation.shape[1]):
                if not np.isfinite(observation[e, i]):
                    return False
    for e in range(ended.size):
        if ended[e] == TERMINATED:
            ends[clock[ENDS], 0], ends[clock[ENDS], 1] = returns[e], counts[e, LENGTH]
            clock[ENDS] += 1
            returns[e], counts[e, LENGTH] = 0.0, 0
            says_whether(begin, (words[e], numbers[e], draws[e], observation[e]))
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def play(  # type: ignore[no-untyped-def]
    act, simulate, begin, first, last, acted, discrete, words, numbers, counts, returns, clock, draws, ends,
    raw, reward, ended, action, bounded, chosen, newest, outputs, *rest,
):
    """Steps first, ..., last - 1 of a round in E environments, but none after one at which an episode ends whose next is Python's.

    act, simulate    addresses of a head's kernel and of `simulate`; rest: the kernel's arguments, but for the step
    begin            address of the simulator's `begin`, or 0: an episode that ends is begun by Python
    acted            whether the actions of the first step have been chosen already
    discrete         whether environments take action[t, E, 0], and not bounded[t, E, C]
    words [E, W], numbers [E, F]     of the simulators
    counts [E, 2], returns [E]       the episodes under way
    clock [CLOCK] int64               see the positions
    draws [E, DRAWS]                  of the environments' generators, see `asyncrl.envs.compiled.draws`
    ends [T * E, 2]                   return and length of episodes whose next was begun here, clock[ENDS] of them
    raw [T+1, E, D], reward [T, E], ended [T, E]     see `asyncrl.envs.stepping.StepArrays`
    chosen [C]       float32 scratch
    newest [E, P]    what the kernel writes of the policy's outputs; kept in outputs[t] of [T, E, P], but for one of [0, E, P]

    Returns 2 (t + 1), where t is the last step, and 1 more where an episode ended at it whose next is Python's; -1 - t where an
    observation of step t is not finite.
    """
    for t in range(first, last):
        if not acted and not says_whether(act, (*rest, t)):
            return -1 - t
        acted = False
        if outputs.shape[0] > 0:
            outputs[t] = newest
        timed = clock[STEPPED] % SAMPLED == 0
        clock[STEPPED] += 1
        began = _now(clock) if timed else 0
        over = False
        for e in range(reward.shape[1]):
            if discrete:
                chosen[0] = action[t, e, 0]
            else:
                chosen[:] = bounded[t, e]
            gained, terminated = steps(simulate, (words[e], numbers[e], chosen, raw[t + 1, e]))
            reward[t, e] = gained
            returns[e] += gained
            counts[e, LENGTH] += 1
            how = GOES_ON
            if terminated:
                how = TERMINATED
            elif counts[e, LIMIT] and counts[e, LENGTH] >= counts[e, LIMIT]:
                how = TRUNCATED
            ended[t, e] = how
            over = over or how != GOES_ON
        if timed:
            clock[NANOSECONDS] += SAMPLED * (_now(clock) - began)
        if over and not (begin and _begun(begin, ended[t], words, numbers, counts, returns, clock, draws, ends, raw[t + 1])):
            return 2 * (t + 1) + 1
    return 2 * last


RETURN, STEPS = range(2)
"""Positions in `told`: what an episode has earned, and its steps so far."""
PLAYING, OVER, NOT_FINITE, MOVED = range(4)
"""What `play_greedily` and `play_by_head` return."""


@njit(cache=True, nogil=True, error_model="numpy")
def play_greedily(act, simulate, discrete, most, limit, words, numbers, told, observation, chosen, action, orders, memory, seen):  # type: ignore[no-untyped-def]
    """At most `most` more steps of an episode in one environment; returns PLAYING, OVER, or NOT_FINITE for an observation that is not.

    act              address of a kernel of `asyncrl.heads.decisions`, which is called with (observation, row, orders, memory, seen)
    simulate         address of the environment's `simulate`, whose state words[W] and numbers[F] are
    discrete         whether the kernel returns a choice, and does not write action[C]
    limit            steps of the environment's time limit; 0: none
    told [2]         float64, see the positions; observation [D]: the newest; chosen [C]: float32 scratch
    """
    for at in range(most):
        if discrete:
            choice = says_number(act, (observation, at, orders, memory, seen))
            if choice < 0:
                return NOT_FINITE
            chosen[0] = choice
        else:
            if not says_whether(act, (observation, at, orders, memory, seen)):
                return NOT_FINITE
            chosen[:] = action
        gained, terminated = steps(simulate, (words, numbers, chosen, observation))
        told[RETURN] += gained
        told[STEPS] += 1
        if terminated or (limit and told[STEPS] >= limit):
            return OVER
    return PLAYING


@njit(cache=True, nogil=True, error_model="numpy")
def play_by_head(  # type: ignore[no-untyped-def]
    act, numbered, simulate, discrete, first, last, limit, words, numbers, told, observation, chosen, seen, action, bounded, *rest
):
    """As `play_greedily` with a head's own kernel, for the steps first, ..., last - 1 of its rows.

    act              address of the kernel, which is called with (*rest, t), acts on seen[t] and writes action[t, 0] or bounded[t, 0]
    numbered         whether it returns a number: 1 as True, 0 as False, below 0 where it has not acted, and has to be bound anew
    discrete         whether the environment takes action[t, 0, 0], and not bounded[t, 0, C]
    words [W], numbers [F], told [2], observation [D], chosen [C]: as there
    seen [R, D], action [R, 1, S], bounded [R, 1, C]: the head's

    Returns PLAYING, OVER, NOT_FINITE, or MOVED where the kernel has to be bound anew: nothing has been done at that step.
    """
    for t in range(first, last):
        seen[t] = observation
        found = says_number(act, (*rest, t)) if numbered else np.int64(says_whether(act, (*rest, t)))
        if found <= 0:
            return MOVED if found < 0 else NOT_FINITE
        if discrete:
            chosen[0] = action[t, 0, 0]
        else:
            chosen[:] = bounded[t, 0]
        gained, terminated = steps(simulate, (words, numbers, chosen, observation))
        told[RETURN] += gained
        told[STEPS] += 1
        if terminated or (limit and told[STEPS] >= limit):
            return OVER
    return PLAYING
