"""Heads of policies that learn from a replay: actions in [-1, 1] by tanh, scaled to finite bounds outside of learning.

    deterministic  tanh(output): DDPG, TD3
    squashed       tanh(u), u normal with mean and log deviation both given by the network: SAC

and the base of others that are learned from a replay (`savo` and its rivals).
What is stored and learnt from is the action within [-1, 1] that was taken, noise and clipping included.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.head import Floats, Head
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import SQUASHED_LOG_STD, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import EPSILON, TEMPERATURE, RoundArrays
from asyncrl.shared.compiled import njit

MEAN_ALONE, BEFORE_TANH, AFTER_TANH = range(3)
"""What becomes of normal numbers: nothing, or times the deviation they are added to the output before tanh, or to the action."""


@njit(cache=True, nogil=True, error_model="numpy")
def choose_within(policy_output, spread, log_std, bounds, knobs, noise, extra_noise, action, bounded):  # type: ignore[no-untyped-def]
    """action[E, C] = clip(tanh(policy_output[E, P]) + extra_noise[E, M], -1, 1), bounded[E, C] = the same within bounds[2, C].

    By `spread`, temperature (of knobs[KNOBS]) * deviation * noise[0] is added too, within the tanh or outside; log_std[2] is the range
    of the deviation's logarithm. With probability epsilon (noise[1, e, C] below it) an action is uniform instead.
    """
    temperature, epsilon = knobs[TEMPERATURE], knobs[EPSILON]
    components = action.shape[1]
    for e in range(action.shape[0]):
        uniform = noise[1, e, components] < epsilon
        for c in range(components):
            u, drawn = np.float64(policy_output[e, c]), 0.0
            if spread != MEAN_ALONE:
                logarithm = np.float64(policy_output[e, components + c])
                drawn = temperature * math.exp(min(max(logarithm, log_std[0]), log_std[1])) * noise[0, e, c]
            within = math.tanh(u + drawn) if spread == BEFORE_TANH else math.tanh(u) + drawn
            within = min(max(within + extra_noise[e, c], -1.0), 1.0)
            if uniform:
                within = 2.0 * noise[1, e, c] - 1.0
            action[e, c] = within
            low, high = bounds[0, c], bounds[1, c]
            bounded[e, c] = min(max(low + 0.5 * (action[e, c] + 1.0) * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, vector, work, normaliser, raw, observation, policy_output, spread, log_std, bounds, knobs, noise, extra, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, vector, observation[t], work, policy_output)
    choose_within(policy_output, spread, log_std, bounds, knobs, noise[:, t], extra[t], action[t], bounded[t])
    return sound


class ReplayHead(Head):
    """Base of the heads for a replay: actions are stored within [-1, 1] and scaled to finite bounds for the environment."""

    spread: int = MEAN_ALONE
    """What becomes of normal numbers (above). MEAN_ALONE needs means alone as outputs, [C]; others log deviations besides, [2 C]."""
    log_std: ClassVar[tuple[float, float]] = SQUASHED_LOG_STD
    """Within these lies the logarithm of the deviation."""
    action_kinds: ClassVar[tuple[str, ...]] = ("box",)
    action_dtype: ClassVar[type] = np.float32

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        if not all(map(math.isfinite, (*spec.action_low, *spec.action_high))):
            raise UserError(f"head {self.name!r} needs Box actions with finite bounds; this environment's reach to infinity")
        super().__init__(spec, options)
        self.policy_outputs = self.outputs_each * self.components

    @property
    def outputs_each(self) -> int:
        """Numbers of the network for a component, by `spread`: its mean, or besides its log deviation."""
        return 1 if self.spread == MEAN_ALONE else 2

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        r = rounds
        own = (self.spread, self.log_std, self.bounds, r.knobs)
        choose_within(r.policy_output, *own, r.noise[:, t], r.extra_noise[t], r.action[t], r.bounded[t])

    def greedy_action(self, policy_output: Any) -> Any:
        import torch

        low, high = torch.tensor(self.bounds.tolist(), dtype=torch.float64)
        action = torch.tanh(policy_output[:, : self.components].double()).float()  # what is stored is float32
        return (low + 0.5 * (action.double() + 1.0) * (high - low)).clamp(low, high)

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        inputs = (plan, vector, r.work, r.normaliser, r.raw, r.observation, r.policy_output)
        own = (self.spread, self.log_std, self.bounds, r.knobs)
        return _act, (*inputs, *own, r.noise, r.extra_noise, r.action, r.bounded)


class DeterministicHead(ReplayHead):
    """The action is tanh of the outputs [C], and noise of the exploration setting is added to it."""

    name: ClassVar[str] = "deterministic"
    description: ClassVar[str] = "one action, within its bounds by tanh: Box actions with finite bounds"
    roles: ClassVar[frozenset[Role]] = frozenset({Role.REPLAY})


class SquashedHead(ReplayHead):
    """The action is tanh of a normal variable, whose mean [C] and log deviation [C] the network gives for each observation."""

    name: ClassVar[str] = "squashed"
    description: ClassVar[str] = "normal, squashed by tanh, deviation by the network: Box actions with finite bounds"
    roles: ClassVar[frozenset[Role]] = frozenset({Role.SOFT_REPLAY})
    noise: ClassVar[str] = "normal"
    spread = BEFORE_TANH
