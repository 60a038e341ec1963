"""The seam between a search and whatever reaches other machines: what an engine has to do, and what goes over.

One machine needs nothing of this. `asyncrl.cluster.on_ray` is the one engine that there is; tests have one without a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import AsyncrlError, UserError
from asyncrl.topologies.search.plan import SearchTask

NUMBERS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    key: str
    """By which the engine knows it. One that returns after it was lost has another."""
    name: str
    """What the user calls it: its host's name or address."""
    cores: int


@dataclass(frozen=True)
class SiteTask:
    """What a site is told when it begins."""

    search: bytes
    """A `SearchTask`, pickled by whoever pickles the user's functions."""
    workers: int
    """Processes of the site."""
    tables: dict[str, NDArray[Any]]
    """Contents of the tables of the policy's head."""
    max_failures: int | None
    """As in `RunOptions`."""


@dataclass(frozen=True)
class Begun:
    """What a site says when its workers are there."""

    digest: str
    """Of what it makes of the probe ticket."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Offer:
    """Tickets for a site."""

    tickets: NDArray[np.int64]
    """[n, 2]: number, attempt."""
    vectors: tuple[tuple[int, NDArray[Any]], ...] = ()
    """(version, what is published [published size]) of versions that the site does not have yet."""
    forget: NDArray[np.int64] = field(default_factory=lambda: NUMBERS)
    """Numbers [m] of tickets that others have done meanwhile: they need not be begun."""


@dataclass(frozen=True)
class Problem:
    """What has ended a site's work: an error of its workers."""

    text: str
    traceback: str
    of_the_user: bool
    hopeless: bool


@dataclass(frozen=True)
class Answer:
    """What has come of tickets since the last answer."""

    numbers: NDArray[np.int64]
    """[n] of evaluations that are done."""
    records: dict[str, NDArray[Any]]
    """[n, ...]: fields of `record_fields`, by name."""
    episodes: dict[str, NDArray[Any]]
    """[e]: order, episode_return, length of the episodes of these evaluations."""
    dropped: NDArray[np.int64]
    """[m] of tickets that the site does not do: it was asked to leave them, or has no room."""
    seconds: tuple[float, float]
    """Of the environment and of acting, by all its workers since it began."""
    idle: float
    """Seconds since the last sign of life of the busy worker that is silent for longest; 0 where none is busy."""
    best: tuple[float, NDArray[np.float64]] | None = None
    """Of a function: what is maximised at the best point [N] so far, and the point, where it is a new one."""
    notes: tuple[str, ...] = ()
    problem: Problem | None = None


class SiteLost(AsyncrlError):
    """The site is gone, or cannot be reached; its tickets are to be done by another."""


class Site(Protocol):
    """A site as the process that holds its place sees it. Every call returns at once.

    What comes of a call is given to `told(kind, outcome)`, where kind is the method's name, and outcome an `Answer` or an exception:
    `SiteLost`, or whatever was raised there. It is called from any thread, once for each call.
    """

    node: Node
    begun: Begun

    def begin(self, mode: str) -> None:
        """Let its workers work in this mode. Whatever was offered before is done or withdrawn."""

    def offer(self, offer: Offer) -> None:
        """Hand tickets over."""

    def records(self, seconds: float, gather: float) -> None:
        """Ask for what is done, which is waited for at most so many seconds.

        What comes within `gather` seconds of the first comes with it, since an answer costs more than an evaluation may; where nothing is
        left to come the answer is given at once.
        """

    def withdraw(self) -> None:
        """Take back every ticket that was not begun."""

    def close(self) -> None:
        """End the site."""


class Engine(Protocol):
    """Reaches other machines from a process that holds a place. May block, and may raise `SiteLost` and UserError."""

    def nodes(self) -> list[Node]:
        """The machines that could have a site now."""

    def start(self, node: Node, task: SiteTask, told: Callable[[str, Any], None]) -> Site:
        """Begin a site there."""


@dataclass(frozen=True)
class SitePlan:
    """What the process of a site's place is handed, beside its `SearchPlan`."""

    engine: Callable[[], Engine]
    """Makes the engine in that process."""
    site: int
    """From 0 on."""
    workers: int | None
    """Processes of the site; None: one for each of the node's cores."""
    exact: bool
    """Whether other bits than this machine's are refused: in modes that give the same bits again."""
    max_failures: int | None


def pickled(task: SearchTask) -> bytes:
    """A search's task as bytes. Raises UserError where something in it cannot leave this machine."""
    try:
        return cloudpickle.dumps(task)
    except Exception as error:
        what = "a tensor in shared memory" if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
        raise UserError(f"engine = ray cannot be used: {what} cannot be sent to other machines (allowed: local; or without it)") from error
