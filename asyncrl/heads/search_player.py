"""What plays a policy of black-box search: one environment, one compiled call a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.actions import EnvironmentActions
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
from asyncrl.heads.networks.kernels import HIDDEN
from asyncrl.heads.networks.layers import normalise
from asyncrl.heads.networks.virtual_batch import fold
from asyncrl.heads.networks.wide import WideNetwork
from asyncrl.heads.policy import round_arrays
from asyncrl.heads.rounds import TEMPERATURE, BoundKernel, RoundArrays

if TYPE_CHECKING:
    from asyncrl.heads.search_policy import SearchPolicy

SEEN = 256
"""Observations that a player keeps."""


@dataclass(frozen=True)
class Deciding:
    """The one compiled call of a step, for those who make it themselves: kernel(observation [D], at, orders, numbers, seen).

    action   [C] where the kernel writes it; None where it returns a choice
    """

    kernel: Any
    orders: NDArray[np.int64]
    numbers: NDArray[np.float32]
    seen: NDArray[Any]
    action: NDArray[Any] | None


@dataclass(frozen=True)
class HeadDeciding:
    """The same by a head's own kernel, which acts on seen[t] and writes into `rounds`; `bind`: what `Head.greedy_kernel` gives."""

    bind: Callable[[bool], BoundKernel]
    rounds: RoundArrays
    seen: NDArray[Any]


class Act(Protocol):
    """How a `Player` acts."""

    def __call__(self, observation: NDArray[Any], at: int = 0) -> Any:
        """The action at observation[D], which is kept in seen[at]; None as `Player` says."""


class Player:
    """Acts in one environment at a time.

    `act(observation, at=0)`: observation [D] of any dtype as the environment gave it, which is kept in seen[at]. Returns an action
    of the space's own type and shape, the caller's to keep. None for an observation of another size, or that is not finite.

    normaliser   [3, D] float32, the caller's to write: shift, scale, and in [2, 0] whether it is on
    dense        the parameters as the kernels and the head read them
    seen         [SEEN, D] of the observations' declared dtype: what was acted on, for statistics
    deciding     the compiled call behind `act`; None where it is more than that, and for MultiDiscrete actions
    """

    act: Act

    def __init__(self, policy: SearchPolicy):
        self._policy = policy
        spec, size = policy.spec, policy.spec.observation_size
        self.seen = np.zeros((SEEN, size), spec.observation_dtype)
        self._memory = memory = _Memory(policy)
        self.normaliser = memory.numbers[: 3 * size].reshape(3, size)
        self.dense = memory.numbers[memory.orders[VECTOR] :]
        self.deciding: Deciding | HeadDeciding | None = None
        self._reference: NDArray[np.float32] | None = None
        self._wide: WideNetwork | None = None
        if is_wide(policy):
            self._wide = WideNetwork(policy.network, policy.shape.activation)
            self.act = _wide_act(policy, self._wide, memory, self.seen)
        elif not policy.head.decides:
            rounds = _head_rounds(policy, memory, self.seen)
            self.act = _head_act(policy, memory, self.seen, rounds)
            if policy.head.one_greedy_call:
                self.deciding = HeadDeciding(policy.head.greedy_kernel(policy.plan, self.dense, rounds), rounds, self.seen)
        else:
            self.act = _narrow_act(policy, memory, self.seen)
            self.deciding = _deciding(policy, memory, self.seen)

    def set(self, vector: NDArray[np.float32]) -> None:
        """Take on the parameters [N]: once per candidate, compact layers are expanded."""
        policy = self._policy
        if self._wide is not None:
            self._wide.set(vector)
            return
        policy.head.begin(vector)
        policy.expand(vector, self.dense)
        if policy.options.virtual_batch:
            if self._reference is None:
                raise RuntimeError("virtual batch normalisation needs reference observations before parameters: call `reference` first")
            fold(policy.plan, self.dense, self._reference)

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


def is_wide(policy: SearchPolicy) -> bool:
    """Whether its layers are so wide that each is a call."""
    return not policy.options.virtual_batch and WideNetwork.pays(policy.network)


class _Memory:
    """A player's arrays `orders` and `numbers`, in the layout of `asyncrl.heads.decisions`."""

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


def _deciding(policy: SearchPolicy, memory: _Memory, seen: NDArray[Any]) -> Deciding | None:
    if policy.spec.action_kind == "multidiscrete":
        return None
    discrete = policy.spec.action_kind == "discrete"
    kernel, action = (act_choice, None) if discrete else (_kernels(policy)[0], memory.action)
    return Deciding(kernel, memory.orders, memory.numbers, seen, action)


def _head_rounds(policy: SearchPolicy, memory: _Memory, seen: NDArray[Any]) -> RoundArrays:
    """What a head that `decisions` does not know reads and writes at temperature 0; step t acts on seen[t]."""
    rounds, size = round_arrays(policy.spec, policy.head, policy.plan, (SEEN - 1, 1), 1), policy.spec.observation_size
    rounds.knobs[TEMPERATURE], rounds.raw = 0.0, seen.reshape(rounds.raw.shape)
    rounds.normaliser, rounds.policy_output = memory.numbers[: 3 * size].reshape(3, size), memory.scores.reshape(1, -1)
    return rounds


def _head_act(policy: SearchPolicy, memory: _Memory, seen: NDArray[Any], rounds: RoundArrays) -> Act:
    """The head's own compiled step."""
    head, size = policy.head, policy.spec.observation_size
    give = head.environment_action
    kernel, arguments = head.light_kernel(policy.plan, memory.numbers[memory.orders[VECTOR] :], rounds)

    def act(observation: NDArray[Any], at: int = 0) -> Any:
        if observation.size != size:
            return None
        seen[at] = observation.reshape(-1)
        return give(rounds, at, 0) if kernel(*arguments, at) else None

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
