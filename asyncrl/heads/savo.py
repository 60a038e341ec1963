"""The acting side of SAVO, head `savo` (seed 002, arXiv 2410.11833): K actors in turn propose actions, the critic picks one.

    a_i  = nu_i(s; a_0 .. a_(i-1))            each told those before it, as they are without noise
    b_i  = clip(a_i + noise_i, -1, 1)         every proposal has noise of its own, the first too
    a    = the b_j of which the first critic says most, Q1(s, b_j); in an evaluation, of the a_i

`asyncrl.algos.savo` learns them. Stored with a transition are a and all b_i. Where the paper (v1) and its authors' program disagree:
    noise on the action that was picked     none, as in the program; the paper has it besides: explore_on=both (or chosen)
    what actors are told while exploring    proposals without noise, as in the program
    pooling of the summary                  the mean, as in the paper; the program takes the largest: pooling=max
    how actors are told                     each hidden layer is modulated, and the network's input is the observation alone, as in the
                                            program; 1 is added to the factor, which the program lacks
    who summarises                          each actor and each surrogate has a network of its own for that, as in the program
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.fields import COUNT, Range
from asyncrl.heads.head import Floats
from asyncrl.heads.networks.following import CellSizes, critic_values, follow
from asyncrl.heads.networks.kernels import POLICY_ALONE, make_plan, policy_forward, vector_size
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, RoundArrays
from asyncrl.heads.squashed import ReplayHead
from asyncrl.shared.arrays import Layout
from asyncrl.shared.compiled import njit

PROPOSALS = "proposals"
"""What is stored beside the action: b [K, C]."""


@dataclass(frozen=True)
class SavoOptions(HeadOptions):
    """Options of the head savo; its modules tell where paper and program disagree."""

    n_actors: Annotated[int, Range(1, 100, whole=True)] = 3
    """Actors in all, of which each is told what those before it propose; 1 is td3 without target smoothing."""
    explore_on: Literal["proposals", "chosen", "both"] = "proposals"
    """What action noise is added to: every proposal before the critic picks one, the one that it picked, or both."""
    surrogate_points: Literal["stored", "fresh"] = "stored"
    """Where surrogates are fitted: at the proposals and the action of the transition, or at those of the present actors."""
    surrogate_values: Literal["target", "online"] = "target"
    """Whose values they are fitted to: the smaller of the critics' targets', or of the critics themselves."""
    target_choice: Literal["target", "online"] = "target"
    """Which first critic picks among the target actors' proposals: the one that follows, or the one that learns."""
    pooling: Literal["mean", "max"] = "mean"
    """How a list of proposals of any length is summarised: by the mean over its elements, or the largest of each number."""
    summary: Annotated[int, COUNT] = 16
    """Numbers of a summary."""
    summary_units: Annotated[int, COUNT] = 64
    """Units of the hidden layers of the networks that summarise."""

    def cell(self, sizes: tuple[int, int], inputs: int, hidden: tuple[int, ...], outputs: int) -> CellSizes:
        """Of a network that is told proposals, for sizes (observation, action)."""
        return CellSizes(*sizes, inputs, hidden, outputs, self.summary_units, self.summary, self.pooling)


@njit(cache=True, nogil=True, error_model="numpy")
def _proposed(cell, vector, start, observation, first, proposals, work):  # type: ignore[no-untyped-def]
    """Write proposals[K, C] at observation[1, D] of the first actor's outputs first[C] and the cells at vector[start:]."""
    components = proposals.shape[1]
    for c in range(components):
        proposals[0, c] = math.tanh(first[c])
    for i in range(1, proposals.shape[0]):
        start = follow(cell, vector, start, observation, proposals, i, work)
        for c in range(components):
            proposals[i, c] = math.tanh(proposals[i, c])


@njit(cache=True, nogil=True, error_model="numpy")
def _disturbed(proposals, extra_noise, noise, uniform, on_proposals, stored):  # type: ignore[no-untyped-def]
    """stored[K * C] = proposals[K, C] with their noise, or uniform."""
    components = proposals.shape[1]
    for i in range(proposals.shape[0]):
        for c in range(components):
            at = i * components + c
            b = np.float64(proposals[i, c])
            if on_proposals:
                b += extra_noise[at]
            stored[at] = 2.0 * noise[at] - 1.0 if uniform else min(max(b, -1.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _picked(critic, vector, observation, stored, actors, scratch):  # type: ignore[no-untyped-def]
    """The number of the proposal in stored[K * C] of which the critic says most at observation[1, D]; the first of equal ones."""
    pairs, work, used, values = scratch
    size, components = observation.shape[1], pairs.shape[1] - observation.shape[1]
    for i in range(actors):
        pairs[i, :size] = observation[0]
        for c in range(components):
            pairs[i, size + c] = stored[i * components + c]
    critic_values(critic, vector, pairs, work, used, values)
    best = 0
    for i in range(1, actors):
        if values[i, 0] > values[best, 0]:
            best = i
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(plans, vector, starts, explores, bounds, knobs, observation, policy_output, noise, extra_noise, scratch, action, bounded):  # type: ignore[no-untyped-def]
    """action[E, C + K * C] = what was picked, and the proposals; bounded[E, C] = the first within bounds. See the module.

    With probability epsilon (noise[1, e, last] below it) all proposals are uniform and the first of them is taken: so are actions.
    """
    proposals, pairs, cell_work, critic_work, used, values = scratch
    cell, critic = plans
    on_proposals, on_chosen = explores
    actors, components = proposals.shape
    for e in range(action.shape[0]):
        uniform = noise[1, e, noise.shape[2] - 1] < knobs[EPSILON]
        here = observation[e : e + 1]
        stored = action[e, components:]
        _proposed(cell, vector, starts[0], here, policy_output[e], proposals, cell_work)
        _disturbed(proposals, extra_noise[e], noise[1, e], uniform, on_proposals, stored)
        best = 0
        if actors > 1 and not uniform:
            best = _picked(critic, vector[starts[1] :], here, stored, actors, (pairs, critic_work, used, values))
        for c in range(components):
            a = np.float64(stored[best * components + c])
            if on_chosen and not uniform:
                a = min(max(a + extra_noise[e, actors * components + c], -1.0), 1.0)
            action[e, c] = a
            low, high = bounds[0, c], bounds[1, c]
            bounded[e, c] = min(max(low + 0.5 * (action[e, c] + 1.0) * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, own, work, normaliser, raw, observation, policy_output, noise, extra, scratch, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, own[1], observation[t], work, policy_output)
    _choose(*own, observation[t], policy_output, noise[:, t], extra[t], scratch, action[t], bounded[t])
    return sound


class SavoHead(ReplayHead):
    """The network below it is the first actor; its own parameters are the cells of the others, each as `CellSizes` says."""

    name: ClassVar[str] = "savo"
    description: ClassVar[str] = "successive actors propose, the critic picks (SAVO): Box actions with finite bounds"
    options_type: ClassVar[type[HeadOptions]] = SavoOptions
    chosen_options: SavoOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.REPLAY})
    learners: ClassVar[Mapping[str, str]] = {"td3": "savo:Savo"}
    acts_with_critic: ClassVar[bool] = True

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        chosen, hidden, actors = self.chosen_options, options.hidden or (256, 256), self.chosen_options.n_actors
        inputs = spec.observation_size
        self.actors = actors
        self.cell = chosen.cell((inputs, self.components), inputs, hidden, self.components)
        self.extra_size = (actors - 1) * self.cell.size
        self.stored = self.components * (1 + actors)
        self.noises = self.components * (actors + 1)
        critic = make_plan(inputs + self.components, hidden, 1, "relu", POLICY_ALONE)
        first = vector_size(make_plan(inputs, hidden, self.components, "relu", POLICY_ALONE))
        self._plans, self._starts = (self.cell.plan, critic), (first, first + self.extra_size)
        self._explores = (chosen.explore_on != "chosen", chosen.explore_on != "proposals")
        self._widest = max(*hidden, inputs + self.components)

    @classmethod
    def stored_beside(cls, spec: EnvSpec, chosen: Any) -> Layout:
        return {PROPOSALS: ((chosen.n_actors, spec.action_size), np.float32)}

    def workspace(self, envs: int) -> Layout:
        actors, pair = self.actors, self.cell.observation + self.components
        rows = -(-actors // 3) * 3  # the critic is asked about three at a time
        return {
            "proposals": ((actors, self.components), np.float32),
            "pairs": ((rows, pair), np.float32),
            "cell_work": ((4, 1, self.cell.widest), np.float32),
            "critic_work": ((2, 3, self._widest), np.float32),
            "used": ((self._widest,), np.int64),
            "values": ((rows, 1), np.float32),
        }

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        r, scratch = rounds, tuple(rounds.scratch.values())
        own = self._own(vector, r)
        _choose(*own, r.observation[t], r.policy_output, r.noise[:, t], r.extra_noise[t], scratch, r.action[t], r.bounded[t])

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        inputs = (r.work, r.normaliser, r.raw, r.observation, r.policy_output, r.noise, r.extra_noise)
        return _act, (plan, self._own(vector, r), *inputs, tuple(r.scratch.values()), r.action, r.bounded)

    def _own(self, vector: Floats, r: RoundArrays) -> tuple[Any, ...]:
        """What `_choose` takes that is the same at every step."""
        return self._plans, vector, self._starts, self._explores, self.bounds, r.knobs
