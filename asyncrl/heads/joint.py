"""Joint actors, head `joint`: one network proposes K actions at once, the critic picks one (seed 002, section 5.2, "joint action").

    x_0 .. x_(K-1) = tanh(outputs), K slices of C;  b_i = clip(x_i + noise_i, -1, 1)
    a = the b_j of which the first critic says most; of a Discrete space the items nearest to the b_i

`asyncrl.algos.joint` learns it. All b_i are stored beside the action.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.fields import Range
from asyncrl.heads.head import Floats
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan, policy_forward, vector_size
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.proposing.head import PROPOSALS, ProposingHead
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.heads.proposing.picking import decide, disturbed, nearest
from asyncrl.heads.rounds import ALONE, EPSILON, RoundArrays
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit


@dataclass(frozen=True)
class JointOptions(ProposingOptions):
    """Options of the head joint."""

    n_actors: Annotated[int, Range(1, 100, whole=True)] = 3
    """Actions that the network proposes at once."""


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(plan, vector, start, items, bounds, knobs, observation, policy_output, noise, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[E, stored] and of a Box bounded[E, C]: see the module, and `asyncrl.heads.proposing.picking`."""
    proposals, found = scratch[:2]
    actors, components = proposals.shape
    for e in range(action.shape[0]):
        draws, extra = noise[1, e], extra_noise[e]
        uniform = draws[draws.size - 1] < knobs[EPSILON]
        for i in range(actors):
            for c in range(components):
                proposals[i, c] = math.tanh(policy_output[e, i * components + c])
        stored = action[e, components : components * (1 + actors)]
        disturbed(proposals, extra, draws, uniform, True, stored)
        noisy = stored.reshape(actors, components)
        if items[0].shape[0]:
            nearest(*items, noisy, found)
        draw = draws[draws.size - 1] / max(knobs[EPSILON], 1e-300)
        here, critic = observation[e], vector[start:]
        rest = (knobs[ALONE] > 0, draw, extra, scratch[2:], action[e], bounded[e])
        decide(plan, critic, here, items, found, noisy, bounds, False, uniform, *rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, own, work, normaliser, raw, observation, policy_output, noise, extra, scratch, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, own[1], observation[t], work, policy_output)
    _choose(*own, observation[t], policy_output, noise[:, t], extra[t], scratch, action[t], bounded[t])
    return sound


class JointHead(ProposingHead):
    """The network below it has the outputs of all actors; there are no parameters of its own."""

    name: ClassVar[str] = "joint"
    description: ClassVar[str] = "one network proposes K actions, the critic picks: finite Box, Discrete with features"
    can_play_alone: ClassVar[bool] = True
    kernels: ClassVar[tuple[Any, Any]] = (_choose, _act)
    options_type: ClassVar[type[HeadOptions]] = JointOptions
    chosen_options: JointOptions
    learners: ClassVar[Mapping[str, str]] = {"td3": "joint:Joint"}

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self.policy_outputs = self.noises = self.actors * self.components
        self._start = vector_size(make_plan(spec.observation_size, self.hidden, self.policy_outputs, "relu", POLICY_ALONE))

    @classmethod
    def proposed(cls, chosen: JointOptions) -> int:
        return chosen.n_actors

    @classmethod
    def stored_beside(cls, spec: EnvSpec, chosen: JointOptions) -> Layout:
        return {PROPOSALS: ((chosen.n_actors, cls.learnt_size(spec, chosen)), np.float32)}

    def workspace(self, envs: int) -> Layout:
        return {
            "proposals": ((self.actors, self.components), np.float32),
            "found": ((self.actors,), np.int64),
            **self.deciding_scratch(),
        }

    def own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        return self.critic_plan, vector, self._start, self.choices, self.bounds, r.knobs
