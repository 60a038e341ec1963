"""The interface of black-box search algorithms. Every algorithm maximises.

A *generation* has a number of *tickets*, one evaluation each. A worker computes a ticket's candidate from what the learner
has published and from random numbers keyed by (seed, generation, direction), so candidates are not sent; the learner gets
the evaluations in the order of their tickets. N: number of parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.space import Points

COUNTS = ("late_dropped", "late_used", "flat", "skipped_late", "not_finite")
"""Figures that every `Search.update` may return beside its own: the number of evaluations that were left out because of their age, and
of late ones that were used; and 1.0 under one of the others if nothing was changed, since all returns are equal, too few
evaluations are recent enough, or the step is not finite."""

ENDINGS = ("", "tolx", "tolfacupx", "tolconditioncov", "noeffectaxis", "noeffectcoord", "not finite")
"""Why a search of a function has ended itself, by number; 0: it continues. All but the last are criteria of the library `cma`."""


@dataclass(frozen=True)
class Setting:
    """How a direction is drawn: an exploration setting of black-box search."""

    sigma: float
    """Standard deviation of each component."""
    kind: str = "gaussian"
    """gaussian | orthogonal | orthogonal-fixed | hadamard | discrete"""


@dataclass(frozen=True)
class Evaluations:
    """A batch of n evaluations, in the order of (generation, ticket). Several generations occur in asynchronous modes only."""

    generation: NDArray[np.int64]
    """[n]"""
    ticket: NDArray[np.int64]
    """[n]"""
    version: NDArray[np.int64]
    """The number of updates of the parameters that were perturbed, [n]. In `sync`, generation g perturbs version g."""
    value: NDArray[np.float64]
    """What is maximised, [n]: the mean return of an evaluation's episodes minus the survival bonus, or the negated value of a function.

    NaN if there is none: then it is left out, with its mirror image. -inf if a function has no value: worse than all others.
    """
    length: NDArray[np.int64]
    """Steps of each evaluation, [n]."""

    def __len__(self) -> int:
        return len(self.ticket)


class Search(Protocol):
    """A search algorithm. Its constructor takes (options, size, seed, settings, space) and raises UserError for options it cannot use.

    Points and the published vector have the space's dtype.
    """

    tickets: int
    """Evaluations of a generation."""
    published_size: int
    """Length of the vector that is published to the workers."""
    figures: tuple[str, ...]
    """Names of the figures that `update` returns beside COUNTS if it changes something, for the log."""
    state: dict[str, NDArray[Any]]
    """The whole state between updates: arrays of fixed shape and dtype, which are edited in place and never rebound. Copying them
    out and back restores the algorithm bit for bit."""

    def begin(self, start: Points) -> None:
        """Initialise the state from start [N]."""

    def published(self, out: Points) -> None:
        """Write the vector for the workers into out [published_size]. Its first N numbers are the point that is evaluated and played."""

    def candidate(self, published: Points, generation: int, ticket: int, out: Points) -> None:
        """Write the point of a ticket into out [N], from published [published_size].

        It depends only on the arguments and the seed, and never reads `state`.
        """

    def pair(self, ticket: int) -> int:
        """A number for the ticket; tickets of a generation with the same number use the same environment seeds (common random numbers)."""

    def setting(self, ticket: int) -> int:
        """Index of the exploration setting that the ticket uses."""

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Compute version + 1 from a batch, in `state`; returns figures for the log, all finite.

        If nothing could be learned, one of `flat`, `skipped_late` and `not_finite` is 1.0 and the parameters of version + 1 are those
        of version. The figure `ended` occurs only for functions: the search has ended itself, for the reason ENDINGS[ended].
        """
