"""What the registry knows of an algorithm; each kind has a topology of its own. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

ALL_MODES = ("sync", "pipelined", "bounded", "async")
ALL_ACTIONS = ("discrete", "multidiscrete", "box")


@dataclass(frozen=True)
class AlgorithmEntry:
    """An algorithm as the command line and the registry's contract tests see it."""

    name: str
    description: str
    default_mode: str

    @property
    def options_type(self) -> type:
        """The frozen dataclass of its options; made without arguments, it holds the defaults."""
        raise NotImplementedError

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the update modes in which it works."""
        return ALL_MODES

    @property
    def action_kinds(self) -> tuple[str, ...]:
        """Kinds of actions (see `asyncrl.envs.spec.EnvSpec`) that it is made for."""
        return ALL_ACTIONS


@dataclass(frozen=True)
class ActorCritic(AlgorithmEntry):
    """Actor-learners: every worker acts, and updates the shared parameters with the gradient of its own rollout."""

    options: type
    loss: Callable[..., Any]
    """As `asyncrl.algos.a3c.loss`: torch tensors to the loss and its parts."""
    output_weights: Callable[..., Any]
    """As `asyncrl.algos.a3c.output_weights`: the derivative of `loss` by what a head computes, written out."""

    @property
    def options_type(self) -> type:
        """See `AlgorithmEntry.options_type`."""
        return self.options


@dataclass(frozen=True)
class ValueBased(AlgorithmEntry):
    """Actor-learners whose shared parameters are action values, with a target network beside them."""

    options: type
    next_value: Callable[..., None]
    """As `asyncrl.algos.q1.next_value`: what the target network says of the true successors."""
    targets: Callable[..., None]
    """As `asyncrl.algos.q1.targets`: from rewards and next values, what Q is drawn to."""
    at_cuts_only: bool = False
    """Whether `targets` reads next values only at the rollout's last step and where episodes were truncated."""
    commits: bool = False
    """Whether `next_value` needs the action that follows the rollout, so that the actor commits itself to it."""
    explorations: tuple[str, ...] = ("epsilon",)
    """Kinds of exploration settings that it can do with."""
    default_explore: str = "epsilon:paper@20000"
    """Mnih and others 2016, section 5.1: each worker draws its final epsilon, and comes down to it from 1."""

    @property
    def options_type(self) -> type:
        """See `AlgorithmEntry.options_type`."""
        return self.options

    @property
    def action_kinds(self) -> tuple[str, ...]:
        """See `AlgorithmEntry.action_kinds`."""
        return ("discrete",)


@dataclass(frozen=True)
class Streamed(AlgorithmEntry):
    """Actors hand experience to one learner through rings."""

    module: str
    """Imported when the algorithm is used."""
    options: str
    """The class in it that holds its options."""
    updater: str
    """``module:class`` of the `asyncrl.learners.updater.Updater` that its learner runs: called with (task, policy)."""
    head: str
    """The head that `--head auto` stands for; "auto" where that depends on the actions."""
    explorations: tuple[str, ...]
    """Kinds of exploration settings that it can do with."""
    default_explore: str = ""
    allowed_modes: tuple[str, ...] = ALL_MODES

    @property
    def modes(self) -> tuple[str, ...]:
        """See `AlgorithmEntry.modes`."""
        return self.allowed_modes

    @property
    def options_type(self) -> type:
        """See `AlgorithmEntry.options_type`."""
        kind: type = getattr(import_module(self.module), self.options)
        return kind

    @property
    def action_kinds(self) -> tuple[str, ...]:
        """See `AlgorithmEntry.action_kinds`."""
        return ALL_ACTIONS if self.head == "auto" else ("box",)

    def updater_type(self) -> Any:
        """The class that `updater` names."""
        module, _, name = self.updater.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class BlackBox(AlgorithmEntry):
    """Black-box search: workers evaluate candidates, one learner updates."""

    module: str
    """Imported when the algorithm is used."""
    search: str
    """The class in it that is a `asyncrl.blackbox.search.Search`."""
    options: str
    """The class in it that holds its options."""
    allowed_modes: tuple[str, ...] = ALL_MODES

    @property
    def modes(self) -> tuple[str, ...]:
        """See `AlgorithmEntry.modes`."""
        return self.allowed_modes

    @property
    def options_type(self) -> type:
        """See `AlgorithmEntry.options_type`."""
        kind: type = getattr(import_module(self.module), self.options)
        return kind

    def search_type(self) -> Callable[..., Any]:
        """The class: called with (options, size, seed, settings)."""
        kind: Callable[..., Any] = getattr(import_module(self.module), self.search)
        return kind
