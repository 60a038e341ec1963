"""One step of head `savo` under sac, compiled: K Gaussian actors in turn, of which one draws the action (seed 002, SAC+SAVO).

    mu_i, log sigma_i = actor i(s; m_0 .. m_(i-1)),  m_i = tanh(mu_i)       each told the means of those before it
    j  = the argmax over i of Q1(s, m_i)                                   the critic picks among the means
    a  = clip(tanh(mu_j + sigma_j * normal) + noise of --explore, -1, 1)    in an evaluation m_j

Stored with a transition are a and all m_i. While actions are uniform, so are these, and the first of them is what is done. With one actor
all of this is what the head `squashed` does, to the bit, of the same random numbers. `asyncrl.algos.soft_savo` learns it.
"""

from __future__ import annotations

from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.proposing.cascade import proposed
from asyncrl.heads.proposing.picking import picked
from asyncrl.heads.rounds import ALONE, EPSILON
from asyncrl.heads.squashed import choose_within
from asyncrl.shared.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
def choose(plans, vector, starts, spread, bounds, knobs, observation, first, noise, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[E, C + K * C] and bounded[E, C] of observation[E, D] and the first actor's outputs first[E, 2 C]: see the module.

    plans[2]: of a cell, and of the critic; starts[2]: where cells and critic begin in vector[size]; scratch[7]: see `workspace`.
    `choose_within` takes spread (two of its arguments), bounds[2, C], knobs[KNOBS], noise[2, E, M + 1] and extra_noise[E, M].
    noise[1, e, C] decides whether actions are uniform; the numbers before it are the first proposal then, those after it the others.
    """
    outputs, proposals, cell_work = scratch[0], scratch[1], scratch[2]
    actors, components = proposals.shape
    for e in range(action.shape[0]):
        row, uniform = slice(e, e + 1), noise[1, e, components] < knobs[EPSILON]
        proposed(plans[0], vector, starts[0], observation[row], first[e], False, extra_noise[e], outputs, proposals, cell_work)
        best = 0
        if actors > 1 and not uniform and not knobs[ALONE] > 0:
            best = picked(plans[1], vector[starts[1] :], observation[e], proposals, scratch[3:])
        if uniform:
            for i in range(actors):
                for c in range(components):
                    proposals[i, c] = 2.0 * noise[1, e, i * components + c + int(i > 0)] - 1.0
        action[e, components:] = proposals.reshape(actors * components)
        how = (*spread, bounds, knobs)
        choose_within(outputs[best : best + 1], *how, noise[:, row], extra_noise[row], action[row, :components], bounded[row])


@njit(cache=True, nogil=True, error_model="numpy")
def act(plan, own, work, normaliser, raw, observation, policy_output, noise, extra, scratch, action, bounded, t):  # type: ignore[no-untyped-def]
    """`choose`, whose first arguments are own[6], after the first actor's network, at step t of raw[T+1, E, D].

    What it takes of observation[T+1, E, D], noise[2, T, E, M + 1], extra[T, E, M], action[T, E, C + K * C] and bounded[T, E, C] is that of
    step t. Returns whether all observations are finite.
    """
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, own[1], observation[t], work, policy_output)
    choose(*own, observation[t], policy_output, noise[:, t], extra[t], scratch, action[t], bounded[t])
    return sound
