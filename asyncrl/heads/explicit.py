"""Explicit head: what seed 000 compares its implicit policies with, a bias-free network whose outputs end in tanh.

The text of the source does not say tanh; its authors' code has it. Of discrete actions (CartPole, MountainCar, Acrobot) the source's counts
leave one output a component, and how it becomes a choice is not published. Here there are three ways (`encoding`):

    index, with a preset    the output times a choice's number is its score, of equal ones the first: the last choice where it is positive
    index, without          tanh of the output, from -1 to 1, is cut into as many equal parts as there are choices
    one-hot                 there is an output for each choice, and the largest counts, of equal ones the first

The first is what becomes of itt's score where an action is one number. Under the second no policy of the source's size drives the car of
MountainCar up the hill: behind a ReLU its choices are the middle one and one of the others, and the source reports that it learns.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.decisions import take_choice
from asyncrl.heads.head import Floats, Head
from asyncrl.heads.implicit.options import ExplicitOptions
from asyncrl.heads.implicit.sizes import Sizes
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.networks.kernels import policy_forward
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.options import HeadOptions, NetworkOptions
from asyncrl.heads.roles import Role
from asyncrl.heads.rounds import RoundArrays
from asyncrl.shared.compiled import njit

ONE_HOT, PARTS, SIGN = 0, 1, 2
"""How outputs become a choice."""


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(policy_output, sizes, how, bounds, action, bounded):  # type: ignore[no-untyped-def]
    """Write action[E, C] int64, the choices, or for Box (no sizes[C]) bounded[E, C], of policy_output[E, P]; how: ONE_HOT, PARTS, SIGN."""
    for e in range(action.shape[0]):
        at = 0
        for c in range(action.shape[1]):
            if sizes.size and how == ONE_HOT:
                action[e, c] = take_choice(policy_output[e, at : at + sizes[c]])
                at += sizes[c]
                continue
            if sizes.size and how == SIGN:
                action[e, c] = sizes[c] - 1 if policy_output[e, c] > 0.0 else 0
                continue
            within = math.tanh(np.float64(policy_output[e, c]))
            if sizes.size:
                action[e, c] = min(np.int64(0.5 * (within + 1.0) * sizes[c]), sizes[c] - 1)
            else:
                low, high = bounds[0, c], bounds[1, c]
                bounded[e, c] = min(max(low + 0.5 * (within + 1.0) * (high - low), low), high)


@njit(cache=True, nogil=True, error_model="numpy")
def _act(plan, vector, work, normaliser, raw, observation, policy_output, sizes, how, bounds, action, bounded, t):  # type: ignore[no-untyped-def]
    sound = normalise(raw[t], normaliser, observation[t])
    policy_forward(plan, vector, observation[t], work, policy_output)
    _choose(policy_output, sizes, how, bounds, action[t], bounded[t])
    return sound


class ExplicitHead(Head):
    """tanh of the outputs, from bound to bound, or cut into choices. No parameters of its own."""

    name: ClassVar[str] = "explicit"
    description: ClassVar[str] = "no biases, outputs by tanh: what the implicit heads are compared with"
    options_type: ClassVar[type[HeadOptions]] = ExplicitOptions
    chosen_options: ExplicitOptions
    roles: ClassVar[frozenset[Role]] = frozenset({Role.SEARCH})
    action_kinds: ClassVar[tuple[str, ...]] = ("discrete", "multidiscrete", "box")
    action_dtype: ClassVar[type] = np.int64

    def __init__(self, spec: EnvSpec, options: NetworkOptions):
        super().__init__(spec, options)
        self._options, self._sizes = options, Sizes(self.chosen_options, options.activation)
        if self._box and not np.isfinite(self.bounds).all():
            raise UserError(f"head {self.name!r} needs Box actions with finite bounds; this environment's reach to infinity")
        index = SIGN if self._sizes.preset else PARTS
        self._how = index if self.chosen_options.encoding == "index" else ONE_HOT
        self.policy_outputs = self.components if self._box or self._how != ONE_HOT else int(self.sizes.sum())

    def network(self, given: Shape) -> Shape:
        """No biases; hidden layers of the latent's size, or as the options say."""
        preset = self._sizes.preset
        return self._sizes.shape(given, self._options.hidden, preset.explicit_layers if preset else 0)

    def choose(self, rounds: RoundArrays, vector: Floats, t: int) -> None:
        r = rounds
        _choose(r.policy_output, self.sizes, self._how, self.bounds, r.action[t], r.bounded[t])

    def greedy_action(self, policy_output: Any) -> Any:
        import torch

        if self._how == ONE_HOT and not self._box:
            return torch.stack([scores.argmax(-1) for scores in policy_output.split(self.sizes.tolist(), -1)], -1)
        sizes = torch.tensor(self.sizes.tolist())
        if self._how == SIGN and not self._box:
            return torch.where(policy_output > 0.0, sizes - 1, torch.zeros_like(sizes))
        share = 0.5 * (torch.tanh(policy_output.double()) + 1.0)
        if not self._box:
            return torch.minimum((share * sizes).long(), sizes - 1)
        low, high = torch.tensor(self.bounds.tolist(), dtype=torch.float64)
        return (low + share * (high - low)).clamp(low, high)

    def light_kernel(self, plan: Any, vector: Floats, r: RoundArrays) -> tuple[Any, tuple[Any, ...]]:
        inputs = (plan, vector, r.work, r.normaliser, r.raw, r.observation, r.policy_output)
        return _act, (*inputs, self.sizes, self._how, self.bounds, r.action, r.bounded)
