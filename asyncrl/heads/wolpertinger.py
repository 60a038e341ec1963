"""Wolpertinger's acting side, head `wolpertinger` (Dulac-Arnold and others 2015, arXiv 1512.07679): one actor, the critic picks nearby.

    x    = clip(pi(s) + noise, -1, 1)
    Box        candidates are x and clip(x + spread * n_i, -1, 1), n_i standard normal: what seed 002 (section 5.1) compares SAVO with
    Discrete   candidates are the K items nearest to x (the paper: up to 10 % of all)
    a    = the candidate of which the first critic says most

`asyncrl.algos.wolpertinger` learns it. Of items x and the candidates are stored beside the action. In an evaluation the same n_i serve at
every step, so that what is evaluated is a function of the observation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.fields import POSITIVE, Range
from asyncrl.heads.head import Floats
from asyncrl.heads.keyed_numbers import KEYS, normal_at
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan, policy_forward, vector_size
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.proposing.head import FOUND, PROPOSALS, ProposingHead
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.heads.proposing.picking import decide, disturbed, several_nearest
from asyncrl.heads.rounds import ALONE, EPSILON, TEMPERATURE, RoundArrays
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit


@dataclass(frozen=True)
class WolpertingerOptions(ProposingOptions):
    """Options of the head wolpertinger."""

    candidates: Annotated[int, Range(1, 10_000, whole=True)] = 3
    """Actions among which the critic picks: of a Box the actor's and others near it, of Discrete ones the items nearest to it."""
    spread: Annotated[float, POSITIVE] = 0.01
    """Box: deviation of the others from the actor's, in half ranges (that of the research code of SAVO)."""


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(actor, spread, key, candidates):  # type: ignore[no-untyped-def]
    """Write candidates[K, C]: actor[C], and others near it."""
    components = actor.size
    candidates[0] = actor
    for i in range(1, candidates.shape[0]):
        for c in range(components):
            candidates[i, c] = min(max(actor[c] + spread * normal_at(key, (i - 1) * components + c), -1.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(plan, vector, start, spread, items, bounds, knobs, observation, policy_output, noise, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[E, stored] and of a Box bounded[E, C]: see the module, and `asyncrl.heads.proposing.picking`."""
    actor, near, scores, found = scratch[:4]
    components = near.shape[1]
    for e in range(action.shape[0]):
        uniform = noise[1, e, components] < knobs[EPSILON]
        for c in range(components):
            actor[0, c] = math.tanh(policy_output[e, c])
        disturbed(actor, extra_noise[e], noise[1, e], uniform, True, actor[0])
        if items[0].shape[0]:
            several_nearest(*items, actor[0], scores, found)
            action[e, components : 2 * components] = actor[0]
            action[e, 2 * components : 2 * components + found.size] = found
        else:
            key = np.int64(noise[0, e, 0] * KEYS) if knobs[TEMPERATURE] > 0 else np.int64(0)
            _spread(actor[0], spread, key, near)
        draw, critic = noise[1, e, components] / max(knobs[EPSILON], 1e-300), vector[start:]
        rest = (knobs[ALONE] > 0, draw, extra_noise[e], scratch[4:], action[e], bounded[e])
        decide(plan, critic, observation[e], items, found, near, bounds, False, uniform, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, own, work, normaliser, raw, observation, policy_output, noise, extra, scratch, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, own[1], observation[t], work, policy_output)
    _choose(*own, observation[t], policy_output, noise[:, t], extra[t], scratch, action[t], bounded[t])
    return sound


class WolpertingerHead(ProposingHead):
    """The network below it is the actor; there are no parameters of its own."""

    name: ClassVar[str] = "wolpertinger"
    description: ClassVar[str] = "one actor, the critic picks among what is near: finite Box, Discrete with features"
    can_play_alone: ClassVar[bool] = True
    kernels: ClassVar[tuple[Any, Any]] = (_choose, _act)
    options_type: ClassVar[type[HeadOptions]] = WolpertingerOptions
    chosen_options: WolpertingerOptions
    learners: ClassVar[Mapping[str, str]] = {"td3": "wolpertinger:Wolpertinger"}
    noise: ClassVar[str] = "uniform"

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self._start = vector_size(make_plan(spec.observation_size, self.hidden, self.components, "relu", POLICY_ALONE))

    @classmethod
    def proposed(cls, chosen: WolpertingerOptions) -> int:
        return chosen.candidates

    @classmethod
    def stored_beside(cls, spec: EnvSpec, chosen: WolpertingerOptions) -> Layout:
        if spec.action_kind == "box":
            return {}
        return {PROPOSALS: ((1, cls.learnt_size(spec, chosen)), np.float32), FOUND: ((chosen.candidates,), np.float32)}

    def workspace(self, envs: int) -> Layout:
        return {
            "actor": ((1, self.components), np.float32),
            "near": ((self.actors, self.components), np.float32),
            "scores": ((self.actors,), np.float64),
            "found": ((self.actors,), np.int64),
            **self.deciding_scratch(),
        }

    def own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        return self.critic_plan, vector, self._start, self.chosen_options.spread, self.choices, self.bounds, r.knobs
