"""Deterministic policies for black-box search: a vector of parameters in, actions out, one compiled call a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads import HEADS
from asyncrl.heads.compact import DESCRIPTIONS, LINEAR, MLP, CompactNetwork, Layer, check_network, hidden_of, structure_of
from asyncrl.heads.decisions import (
    act_bins,
    act_choice,
    act_choices,
    act_values,
    see,
    take_bins,
    take_choice,
    take_choices,
    take_values,
)
from asyncrl.heads.kernels import HIDDEN, make_plan
from asyncrl.heads.layers import normalise
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.virtual_batch import fold
from asyncrl.heads.wide import WideNetwork

SEARCH_HEADS: dict[str, str] = DESCRIPTIONS
"""Heads of black-box search, with a line for each."""

HIDDEN_GAIN, OUTPUT_GAIN = 1.0, 0.01
"""Norms of an output's weights at the start, in hidden layers and in the last: those of Salimans et al. (2017)."""

Act = Callable[[NDArray[Any], NDArray[np.float32]], Any]


class SearchPolicy:
    """What every process knows of a deterministic policy: sizes and layout. The numbers are in a vector that is passed in.

    head           linear: no hidden layers and no biases, as in ARS and TRES; mlp: biases everywhere; compact layers:
                   biases in hidden layers only
    action_bins    b > 0: each component of a Box action has b scores and takes the value of the best one, among b evenly
                   spaced from bound to bound

    Actions are the modes of the stochastic heads: a bounded component is the output clipped to [-1, 1] (or its tanh under
    `squash`), scaled to the bounds; a choice is the best score's, of equal ones the first.

    Raises UserError: an unknown head, images, options that the head has no use for, bins without finite bounds.
    """

    def __init__(self, spec: EnvSpec, head: str, options: NetworkOptions, action_bins: int = 0):
        structure = structure_of(head, options)
        _check(spec, head, options, action_bins)
        self.spec, self.options, self.head_name, self.action_bins = spec, options, head, action_bins
        self.head = HEADS["gaussian" if spec.action_kind == "box" else "categorical"](spec, options)
        self.outputs = self.head.policy_outputs * max(action_bins, 1)
        hidden = hidden_of(head, options)
        self.plan = make_plan(spec.observation_size, hidden, self.outputs, options.activation, shared=False)
        sizes = (spec.observation_size, *hidden, self.outputs)
        last = len(hidden)
        self.network = CompactNetwork(
            [
                Layer(structure, sizes[k], sizes[k + 1], head == MLP or k < last, HIDDEN_GAIN if k < last else OUTPUT_GAIN)
                for k in range(last + 1)
            ]
        )
        self.size = self.network.size

    def initial(self, seed: int) -> NDArray[np.float32]:
        """A fresh vector [size]: zeros for `linear`; otherwise random hidden layers, small outputs, zero biases."""
        if self.head_name == LINEAR:
            return np.zeros(self.size, np.float32)
        return self.network.initial(np.random.default_rng(seed))

    def player(self) -> Player:
        """What acts, with arrays of its own."""
        return Player(self)


class Player:
    """Acts in one environment at a time.

    `act(observation, normaliser)`: observation [D] of any dtype as the environment gave it, normaliser [3, D] float32 (shift,
    scale, and in [2, 0] whether it is on). Returns an int (Discrete), or the same array every time: int64 [C] (MultiDiscrete)
    or float32 of the action's shape (Box). None for an observation of another size, or that is not finite. Nothing is
    allocated.
    """

    act: Act

    def __init__(self, policy: SearchPolicy):
        self._policy = policy
        self._dense = np.zeros(policy.network.dense_size, np.float32)
        widths = int(policy.plan[HIDDEN:].sum())
        # the observation as the policy sees it, the scores, and the hidden layers
        self._work = np.zeros(policy.spec.observation_size + policy.outputs + widths + 1, np.float32)
        self._reference: NDArray[np.float32] | None = None
        self._wide: WideNetwork | None = None
        if not policy.options.virtual_batch and WideNetwork.pays(policy.network):
            self._wide = WideNetwork(policy.network, policy.options.activation)
            seen = self._work[: policy.spec.observation_size].reshape(1, -1)
            self.act = _wide_act(policy, self._wide, seen, self.scores)
        else:
            self.act = _narrow_act(policy, self._dense, self._work)

    def set(self, vector: NDArray[np.float32]) -> None:
        """Take on the parameters [N]: once per candidate, compact layers are expanded."""
        policy = self._policy
        if self._wide is not None:
            self._wide.set(vector)
            return
        policy.network.expand(vector, self._dense)
        if policy.options.virtual_batch:
            if self._reference is None:
                raise RuntimeError("virtual batch normalisation needs reference observations before parameters: call `reference` first")
            fold(policy.plan, self._dense, self._reference)

    def reference(self, observations: NDArray[Any], normaliser: NDArray[np.float32] | None = None) -> None:
        """Keep the reference batch, observations [n, D] as the environment gave them. In effect from the next `set`.

        When the normaliser [3, D] changes, so does what the policy sees: then give them again.
        """
        batch = np.ascontiguousarray(observations, np.float32).reshape(-1, self._policy.spec.observation_size)
        seen = np.empty_like(batch)
        off = np.zeros((3, batch.shape[1]), np.float32)
        if not batch.size or not normalise(batch, off if normaliser is None else normaliser, seen):
            raise UserError("the reference observations of virtual batch normalisation must be finite numbers, and at least one")
        self._reference = seen

    @property
    def scores(self) -> NDArray[np.float32]:
        """The network's outputs [P] at the newest step."""
        start = self._policy.spec.observation_size
        return self._work[start : start + self._policy.outputs]


def _decision(policy: SearchPolicy) -> tuple[Any, Any, tuple[Any, ...], NDArray[Any]]:
    """What makes an action of scores: as one call with the network, alone, both one's last arguments, and the array written."""
    spec, head = policy.spec, policy.head
    if spec.action_kind == "multidiscrete":
        choices = np.zeros(head.components, np.int64)
        return act_choices, take_choices, (head.sizes, np.array(spec.action_start, np.int64), choices), choices
    flat = np.zeros(head.components, np.float32)
    action = flat.reshape(spec.action_shape)
    if policy.action_bins:
        return act_bins, take_bins, (head.bounds, policy.action_bins, flat), action
    return act_values, take_values, (head.bounds, head.squash, flat), action


def _narrow_act(policy: SearchPolicy, dense: NDArray[np.float32], work: NDArray[np.float32]) -> Act:
    """One compiled call."""
    plan = policy.plan
    if policy.spec.action_kind == "discrete":
        first = policy.spec.action_start[0]

        def choose(observation: NDArray[Any], normaliser: NDArray[np.float32]) -> int | None:
            choice: int = act_choice(observation, normaliser, plan, dense, work)
            return choice + first if choice >= 0 else None

        return choose

    kernel, _, rest, action = _decision(policy)
    arguments = (plan, dense, work, *rest)

    def act(observation: NDArray[Any], normaliser: NDArray[np.float32]) -> NDArray[Any] | None:
        return action if kernel(observation, normaliser, *arguments) else None

    return act


def _wide_act(policy: SearchPolicy, network: WideNetwork, seen: NDArray[np.float32], scores: NDArray[np.float32]) -> Act:
    """One call per layer, which is little beside such layers."""
    first = policy.spec.action_start[0] if policy.spec.action_kind == "discrete" else None
    decision = None if first is not None else _decision(policy)

    def act(observation: NDArray[Any], normaliser: NDArray[np.float32]) -> Any:
        if not see(observation, normaliser, seen):
            return None
        network.forward(seen, scores)
        if decision is None:
            return first + take_choice(scores)
        _, take, rest, action = decision
        take(scores, *rest)
        return action

    return act


def _check(spec: EnvSpec, head: str, options: NetworkOptions, bins: int) -> None:
    check_network(spec, head, options)
    if options.virtual_batch and not hidden_of(head, options):
        raise UserError(f"virtual_batch = {options.virtual_batch} cannot be used: head {head!r} has no hidden layers to normalise")
    if not bins:
        return
    if spec.action_kind != "box":
        raise UserError(
            f"action_bins = {bins} cannot be used: it is for Box actions, this environment's are {spec.action_kind} (allowed: 0)"
        )
    if bins < 2:
        raise UserError(f"action_bins = {bins} cannot be used (allowed: 0 for none, whole numbers from 2)")
    if not np.isfinite([spec.action_low, spec.action_high]).all():
        raise UserError(f"action_bins = {bins} cannot be used: this environment's actions have no finite bounds (allowed: 0)")
