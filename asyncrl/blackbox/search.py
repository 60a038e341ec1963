"""The contract of black-box search: what an algorithm offers, and what it is given. Everything maximises.

A *generation* has so many *tickets*, one evaluation each. A worker builds a ticket's candidate from what the learner has
published and from random numbers keyed by (seed, generation, direction), so no vectors travel; the learner is given
evaluations in the order of their tickets. N: number of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.space import Points

COUNTS = ("late_dropped", "late_used", "flat", "skipped_late", "not_finite")
"""What every `Search.update` may tell beside its own figures: evaluations that were left out because of their age, and late ones
that were used; and 1.0 where nothing was changed: all returns are equal, too few evaluations are young enough, or the step is
not finite."""

ENDINGS = ("", "tolx", "tolfacupx", "tolconditioncov", "noeffectaxis", "noeffectcoord", "not finite")
"""Why a search of a function may end itself, by number; 0: it goes on. All but the last are criteria of the library `cma`."""


@dataclass(frozen=True)
class Setting:
    """How a direction is drawn: the exploration setting of black-box search."""

    sigma: float
    """Deviation of each component."""
    kind: str = "gaussian"
    """gaussian | orthogonal | orthogonal-fixed | hadamard | discrete"""


@dataclass(frozen=True)
class Evaluations:
    """A batch of n evaluations, in the order of (generation, ticket). Several generations occur in asynchronous modes only."""

    generation: NDArray[np.int64]
    ticket: NDArray[np.int64]
    version: NDArray[np.int64]
    """Updates that the parameters which acted had seen. In `sync`, generation g acts on version g."""
    value: NDArray[np.float64]
    """What is maximised: the mean return of an evaluation's episodes less the survival bonus, or the negated value of a function.

    NaN where there is none: to be left out, with its mirror image. -inf where a function has no value: worse than all others.
    """
    length: NDArray[np.int64]
    """Steps."""

    def __len__(self) -> int:
        return len(self.ticket)


class Search(Protocol):
    """One algorithm. Its constructor takes (options, size, seed, settings, space) and raises UserError for what can't work.

    Points, and what is published, are of the space's dtype.
    """

    tickets: int
    """Evaluations of a generation."""
    published_size: int
    """Numbers that workers need."""
    figures: tuple[str, ...]
    """Names of what `update` returns beside COUNTS where it changes something, for the log."""
    state: dict[str, NDArray[Any]]
    """Everything that it remembers between updates: arrays of fixed shape and dtype, edited in place, never rebound. Whoever
    copies them out and back in gets the same algorithm again, bit for bit."""

    def begin(self, start: Points) -> None:
        """Make the first state, from start [N]."""

    def published(self, out: Points) -> None:
        """Write what workers need into out [published_size]. Its first N numbers are the point that is evaluated and played."""

    def candidate(self, published: Points, generation: int, ticket: int, out: Points) -> None:
        """The point of a ticket, into out [N]. A pure function of its arguments (and the seed): it never reads `state`."""

    def pair(self, ticket: int) -> int:
        """Tickets of a generation with the same number play on the same environment seeds (common random numbers)."""

    def setting(self, ticket: int) -> int:
        """Index of the exploration setting that the ticket uses."""

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1 from a batch, in `state`; returns figures for the log, all finite.

        Where nothing could be learned, one of `flat`, `skipped_late` and `not_finite` is 1.0 and nothing was changed; the
        parameters of version + 1 are then those of version. `ended`, only where a function is searched: the search has come to its
        end, for the reason of that number in `ENDINGS`.
        """
