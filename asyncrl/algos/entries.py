"""What the registry knows of an algorithm. Imports nothing heavy: an algorithm's own file is imported when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

from asyncrl.scheduler.modes import MODES

ALL_MODES = tuple(MODES)
ALL_ACTIONS = ("discrete", "multidiscrete", "box")


@dataclass(frozen=True)
class AlgorithmEntry:
    """An algorithm as the rest of the package sees it: what can be said of it without importing it, and where it is.

    Each kind of algorithm, by what carries it out, is a subclass; see there what `implementation` gives.
    """

    name: str
    description: str
    place: str
    """``file:class`` in this folder. The algorithm's options are ``<class>Options`` in that file, unless `options` names others."""
    default_mode: str = "async"
    options: str = field(default="", kw_only=True)
    """The class of its options, where it is not called after the algorithm's class."""
    modes: tuple[str, ...] = field(default=ALL_MODES, kw_only=True)
    """Names of the update modes (`asyncrl.scheduler.modes.MODES`) in which it works."""
    action_kinds: tuple[str, ...] = field(default=ALL_ACTIONS, kw_only=True)
    """Kinds of actions (see `asyncrl.envs.spec.EnvSpec`) that it is made for."""
    explorations: tuple[str, ...] | None = field(default=None, kw_only=True)
    """Kinds of exploration settings that it can do with; None for all that fit the environment."""
    default_explore: str = field(default="", kw_only=True)
    """Exploration setting where the user names none."""
    head: str = field(default="auto", kw_only=True)
    """The head that `--head auto` stands for; "auto" where that depends on the actions."""

    topology: ClassVar[str]
    """Name of the topology that carries it out: see `asyncrl.topologies.TOPOLOGIES`."""
    learns_values: ClassVar[bool] = False
    """Whether the policy's network gives action values, of which the best is taken, but for what exploration draws."""
    searches: ClassVar[bool] = False
    """Whether it is a black-box search: of a function too (`asyncrl.minimize`), and exploring by perturbed parameters."""

    @property
    def options_type(self) -> type[Any]:
        """The frozen dataclass of its options, an `asyncrl.fields.AlgorithmOptions`; made without arguments, it holds the defaults."""
        kind: type[Any] = self._find(self.options or f"{self._class}Options")
        return kind

    @property
    def implementation(self) -> Any:
        """The class at `place`, which the algorithm's topology works with."""
        return self._find(self._class)

    @property
    def _class(self) -> str:
        return self.place.partition(":")[2]

    @staticmethod
    def found(place: str) -> Any:
        """What ``file:name`` in this folder is."""
        file, _, name = place.partition(":")
        return getattr(import_module(f"{__package__}.{file}"), name)

    def _find(self, name: str) -> Any:
        return self.found(f"{self.place.partition(':')[0]}:{name}")


@dataclass(frozen=True)
class ActorCritic(AlgorithmEntry):
    """Every worker acts, and updates the shared parameters with the gradient of its own rollout.

    `implementation`: an `asyncrl.learners.gradients.ActorCriticLoss`.
    """

    topology = "actor_learner"


@dataclass(frozen=True)
class ValueBased(AlgorithmEntry):
    """The same where the shared parameters are action values, with a target network beside them.

    `implementation`: an `asyncrl.learners.value_targets.ActionValueTargets`.
    """

    topology = "actor_learner"
    learns_values = True
    action_kinds: tuple[str, ...] = field(default=("discrete",), kw_only=True)
    explorations: tuple[str, ...] | None = field(default=("epsilon", "subset"), kw_only=True)
    default_explore: str = field(default="epsilon:paper@20000", kw_only=True)
    """Mnih and others 2016, section 5.1: each worker draws its final epsilon, and comes down to it from 1."""


@dataclass(frozen=True)
class Streamed(AlgorithmEntry):
    """Actors hand experience to one learner through rings.

    `implementation`: an `asyncrl.learners.updater.Updater`, constructed with (task, policy, arrays). It is ``<class>Updater`` in the
    algorithm's file.
    """

    topology = "streams"

    @property
    def implementation(self) -> Any:
        return self._find(f"{self._class}Updater")


@dataclass(frozen=True)
class Replayed(Streamed):
    """The same with a replay and a network of the policy alone, whose head is the algorithm's own; for continuous actions."""

    action_kinds: tuple[str, ...] = field(default=("box",), kw_only=True)
    explorations: tuple[str, ...] | None = field(default=("gaussian", "ou", "epsilon"), kw_only=True)


@dataclass(frozen=True)
class BlackBox(AlgorithmEntry):
    """Black-box search: workers evaluate candidates, one learner updates.

    `implementation`: an `asyncrl.blackbox.search.Search`, constructed with (options, size, seed, settings, space).
    """

    topology = "search"
    searches = True
    default_mode: str = "sync"
