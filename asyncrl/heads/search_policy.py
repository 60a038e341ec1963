"""Deterministic policies for black-box search: a vector of parameters in, actions out, one compiled call a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.actions import EnvironmentActions
from asyncrl.heads.choice import made, searched_head
from asyncrl.heads.decisions import (
    CHOICES,
    VECTOR,
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
from asyncrl.heads.networks.compact import LAYERS, LINEAR, MLP, CompactNetwork, Layer, check_network, hidden_of, structure_of
from asyncrl.heads.networks.kernels import HIDDEN, POLICY_ALONE, make_plan
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.networks.virtual_batch import fold
from asyncrl.heads.networks.wide import WideNetwork
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import OWN_PARAMETERS, round_arrays
from asyncrl.heads.rounds import TEMPERATURE

HIDDEN_GAIN, OUTPUT_GAIN = 1.0, 0.01
"""Norms of an output's weights at the start, in hidden layers and in the last: those of Salimans et al. (2017)."""

SEEN = 256
"""Observations that a player keeps."""


class Act(Protocol):
    """How a `Player` acts."""

    def __call__(self, observation: NDArray[Any], at: int = 0) -> Any:
        """An action, or None; see `Player`."""


class SearchPolicy:
    """What every process knows of a deterministic policy: sizes and layout. The numbers are in a vector that is passed in.

    head           a name of layers: linear: no hidden layers and no biases, as in ARS and TRES; mlp: biases everywhere; compact
                   layers: biases in hidden layers only; or a head of the role SEARCH, over the layers of mlp
    action_bins    b > 0: each component of a Box action has b scores and takes the value of the best one, among b evenly
                   spaced from bound to bound

    Actions are the modes of the stochastic heads: a bounded component is the output clipped to [-1, 1] (or its tanh under
    `squash`), scaled to the bounds; a choice is the best score's, of equal ones the first. The vector [size] holds the layers, and
    then the parameters of a head whose greedy action depends on them (of those by `asyncrl.heads.decisions` it does not).

    Raises UserError: an unknown head, images, options that the head has no use for, bins without finite bounds.
    """

    def __init__(self, spec: EnvSpec, head: str, options: NetworkOptions, action_bins: int = 0):
        own = searched_head(head, spec)
        layers = head if head in LAYERS else MLP
        _check(spec, head, options, action_bins)
        self.spec, self.options, self.head_name, self.action_bins = spec, options, head, action_bins
        self.head = made(own, spec, options)
        if action_bins and not self.head.decides:
            raise UserError(f"action_bins = {action_bins} cannot be used with head {head!r} (allowed: 0)")
        self.outputs = self.head.policy_outputs * max(action_bins, 1)
        hidden = hidden_of(head, options)
        self.plan = make_plan(spec.observation_size, hidden, self.outputs, options.hidden_activation, POLICY_ALONE)
        sizes = (spec.observation_size, *hidden, self.outputs)
        last, structure = len(hidden), structure_of(layers, options)
        self.network = CompactNetwork(
            [
                Layer(structure, sizes[k], sizes[k + 1], layers == MLP or k < last, HIDDEN_GAIN if k < last else OUTPUT_GAIN)
                for k in range(last + 1)
            ]
        )
        self.extra_size = 0 if self.head.decides else self.head.extra_size
        self.size = self.network.size + self.extra_size

    def initial(self, seed: int) -> NDArray[np.float32]:
        """A fresh vector [size]: zeros for `linear`; otherwise random hidden layers, small outputs, zero biases; the head's own start."""
        network = np.zeros(self.network.size, np.float32)
        if self.head_name != LINEAR:
            network = self.network.initial(np.random.default_rng(seed))
        if not self.extra_size:
            return network
        return np.concatenate([network, self.head.initial(np.random.default_rng((seed, OWN_PARAMETERS)))])

    def fill_tables(self, seed: int) -> None:
        """Write the first contents of the head's tables; see `Head.fill`."""
        self.head.fill(np.random.default_rng((seed, OWN_PARAMETERS, 1)))

    def expand(self, vector: NDArray[Any], dense: NDArray[np.float32]) -> None:
        """Write dense[network.dense_size + extra_size], what the kernels work on, of vector[size]."""
        self.network.expand(vector[: self.network.size], dense[: self.network.dense_size])
        dense[self.network.dense_size :] = vector[self.network.size :]

    def player(self) -> Player:
        """What acts, with arrays of its own."""
        return Player(self)


class Player:
    """Acts in one environment at a time.

    `act(observation, at=0)`: observation [D] of any dtype as the environment gave it, which is kept in seen[at]. Returns an action
    of the space's own type and shape, the caller's to keep. None for an observation of another size, or that is not finite.

    normaliser   [3, D] float32, the caller's to write: shift, scale, and in [2, 0] whether it is on
    seen         [SEEN, D] of the observations' declared dtype: what was acted on, for statistics
    """

    act: Act

    def __init__(self, policy: SearchPolicy):
        self._policy = policy
        spec, size = policy.spec, policy.spec.observation_size
        self.seen = np.zeros((SEEN, size), spec.observation_dtype)
        self._memory = memory = _Memory(policy)
        self.normaliser = memory.numbers[: 3 * size].reshape(3, size)
        self._dense = memory.numbers[memory.orders[VECTOR] :]
        self._reference: NDArray[np.float32] | None = None
        self._wide: WideNetwork | None = None
        if not policy.options.virtual_batch and WideNetwork.pays(policy.network):
            self._wide = WideNetwork(policy.network, policy.options.hidden_activation)
            self.act = _wide_act(policy, self._wide, memory, self.seen)
        elif not policy.head.decides:
            self.act = _head_act(policy, memory, self.seen)
        else:
            self.act = _narrow_act(policy, memory, self.seen)

    def set(self, vector: NDArray[np.float32]) -> None:
        """Take on the parameters [N]: once per candidate, compact layers are expanded."""
        policy = self._policy
        if self._wide is not None:
            self._wide.set(vector)
            return
        policy.expand(vector, self._dense)
        if policy.options.virtual_batch:
            if self._reference is None:
                raise RuntimeError("virtual batch normalisation needs reference observations before parameters: call `reference` first")
            fold(policy.plan, self._dense, self._reference)

    def reference(self, observations: NDArray[Any]) -> None:
        """Keep the reference batch, observations [n, D] as the environment gave them. In effect from the next `set`.

        When the normaliser changes, so does what the policy sees: then give them again.
        """
        batch = np.ascontiguousarray(observations, np.float32).reshape(-1, self._policy.spec.observation_size)
        seen = np.empty_like(batch)
        if not batch.size or not normalise(batch, self.normaliser, seen):
            raise UserError("the reference observations of virtual batch normalisation must be finite numbers, and at least one")
        self._reference = seen

    @property
    def scores(self) -> NDArray[np.float32]:
        """The network's outputs [P] at the newest step."""
        return self._memory.scores


class _Memory:
    """A player's arrays `orders` and `numbers`: see `asyncrl.heads.decisions`."""

    def __init__(self, policy: SearchPolicy):
        spec, plan, head = policy.spec, policy.plan, policy.head
        components = 0 if spec.action_kind == "discrete" else head.components
        box = components if spec.action_kind == "box" else 0
        starts = np.cumsum([4 * spec.observation_size, policy.outputs, 2 * box, box, int(plan[HIDDEN:].sum()) + 1])
        knob = policy.action_bins or int(head.squash)
        choices = np.zeros(0, np.int64)
        if spec.action_kind == "multidiscrete":
            choices = np.concatenate([head.sizes, np.zeros(components, np.int64)])
        self.orders = np.array([*starts, components, knob, CHOICES + choices.size, *choices, *plan], np.int64)
        self.numbers = np.zeros(starts[-1] + policy.network.dense_size + policy.extra_size, np.float32)
        self.seen = self.numbers[3 * spec.observation_size : 4 * spec.observation_size].reshape(1, -1)
        self.scores = self.numbers[starts[0] : starts[1]]
        self.action: NDArray[Any] = self.orders[CHOICES + components :][:components]
        if box:
            self.numbers[starts[1] : starts[2]] = head.bounds.reshape(-1)
            self.action = self.numbers[starts[2] : starts[3]]


def _kernels(policy: SearchPolicy) -> tuple[Any, Any]:
    """What makes an action that is an array: of an observation, and of scores."""
    if policy.spec.action_kind == "multidiscrete":
        return act_choices, take_choices
    return (act_bins, take_bins) if policy.action_bins else (act_values, take_values)


def _given(policy: SearchPolicy) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What makes the environment's action of what a kernel has written, its own: it may keep it to compare the next one with it."""
    actions = EnvironmentActions(policy.spec)
    return actions.numbers if policy.spec.action_kind == "multidiscrete" else actions.values


def _narrow_act(policy: SearchPolicy, memory: _Memory, seen: NDArray[Any]) -> Act:
    """One compiled call."""
    orders, numbers, action = memory.orders, memory.numbers, memory.action
    if policy.spec.action_kind == "discrete":
        number = EnvironmentActions(policy.spec).number

        def choose(observation: NDArray[Any], at: int = 0) -> Any:
            choice: int = act_choice(observation, at, orders, numbers, seen)
            return number(choice) if choice >= 0 else None

        return choose

    kernel, _ = _kernels(policy)
    given = _given(policy)

    def act(observation: NDArray[Any], at: int = 0) -> NDArray[Any] | None:
        return given(action) if kernel(observation, at, orders, numbers, seen) else None

    return act


def _head_act(policy: SearchPolicy, memory: _Memory, seen: NDArray[Any]) -> Act:
    """The head's own compiled step, at temperature 0: for heads that `decisions` does not know."""
    head, size = policy.head, policy.spec.observation_size
    rounds = round_arrays(policy.spec, head, policy.plan, (1, 1))
    rounds.knobs[TEMPERATURE] = 0.0
    rounds.normaliser, rounds.policy_output = memory.numbers[: 3 * size].reshape(3, size), memory.scores.reshape(1, -1)
    kernel, arguments = head.light_kernel(policy.plan, memory.numbers[memory.orders[VECTOR] :], rounds)

    def act(observation: NDArray[Any], at: int = 0) -> Any:
        if observation.size != size:
            return None
        rounds.raw[0, 0] = seen[at] = observation.reshape(-1)
        return head.environment_action(rounds, 0, 0) if kernel(*arguments, 0) else None

    return act


def _wide_act(policy: SearchPolicy, network: WideNetwork, memory: _Memory, seen: NDArray[Any]) -> Act:
    """One call per layer, which is little beside such layers."""
    inputs, orders, numbers, action = policy.spec.observation_size, memory.orders, memory.numbers, memory.action
    discrete = policy.spec.action_kind == "discrete"
    number, given = EnvironmentActions(policy.spec).number, _given(policy)
    _, take = _kernels(policy)

    def act(observation: NDArray[Any], at: int = 0) -> Any:
        if not see(observation, at, inputs, numbers, seen):
            return None
        network.forward(memory.seen, memory.scores)
        if discrete:
            return number(take_choice(memory.scores))
        take(memory.scores, orders, numbers)
        return given(action)

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
