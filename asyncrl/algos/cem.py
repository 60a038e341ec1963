"""CEM, the cross-entropy method with a diagonal Gaussian, and its noisy form.

The CMU slides (seed 004): draw candidates, keep the best share, fit mean and deviation to them. The deviation of a fit only
shrinks, often too early. Noisy CEM (Szita and Lorincz 2006) adds variance to every fit; the slides' best figure (Tetris,
348,895) has it decrease: Z_t = max(Z (1 - t / T), 0) for the t-th update. The slides give no figures; Szita and Lorincz have
an elite of 10 %, an initial variance of 100, Z = 5 and T = 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.gaussians import KINDS, in_time, one_setting, point, population_of
from asyncrl.blackbox.history import CURRENT, History
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import Evaluations, Search, Setting
from asyncrl.blackbox.space import POLICIES, Points, Space
from asyncrl.errors import UserError
from asyncrl.fields import COUNT_OR_ZERO, DECAY, NOT_NEGATIVE, POSITIVE, SHARE


@dataclass(frozen=True)
class CemOptions(SearchOptions):
    """Options of CEM."""

    sigma: Annotated[float, POSITIVE] = 0.5
    """Deviation of each parameter at the start."""
    elite: Annotated[float, SHARE] = 0.2
    """Share of a generation to which mean and deviation are fitted."""
    extra_std: Annotated[float, NOT_NEGATIVE] = 0.1
    """Deviation whose square is added to the fitted variance (noisy CEM); 0 for plain CEM."""
    extra_decay: Annotated[int, COUNT_OR_ZERO] = 50
    """Updates in which the extra variance falls linearly to 0; 0 for never."""
    smoothing: Annotated[float, DECAY] = 0.0
    """Share of the former mean and fitted deviation that is kept in an update."""
    directions: Literal["gaussian", "orthogonal", "orthogonal-fixed"] = "gaussian"
    """Kind of perturbations."""
    late: Literal["as-is", "drop"] = "as-is"
    """Modes pipelined, bounded and async: points drawn from older distributions are used as they are, or left out."""
    shaping: ClassVar[Literal["none"]] = "none"  # type: ignore[misc]  # only the order of returns counts

    @classmethod
    def for_functions(cls, sigma: float) -> dict[str, Any]:
        """The deviation that is added to the fit grows with sigma."""
        return {"extra_std": cls.extra_std / cls.sigma * sigma}


class Cem(Search):
    """The cross-entropy method. Published: mean and deviation, [2 N]."""

    figures = ("elites", "update_norm", "sigma", "sigma_min", "sigma_max", "extra_variance")

    def __init__(self, options: CemOptions, size: int, seed: int, settings: Sequence[Setting] = (), space: Space = POLICIES) -> None:
        setting = one_setting("cem", options.sigma, options.directions, settings, KINDS)
        self.tickets = population_of("cem", options.population, size, 2)
        if not 0 < options.elite <= 1 or _elites(options.elite, self.tickets) < 2:
            raise UserError(
                f"elite = {options.elite:g} of population = {self.tickets} cannot be used"
                " (allowed: a share above 0 and up to 1 that makes at least 2 candidates)"
            )
        self.published_size = 2 * size
        self.state: dict[str, NDArray[Any]] = {
            "mean": np.zeros(size),
            "deviation": np.full(size, float(setting.sigma)),
            "updates": np.zeros(1, np.int64),
        }
        self._history = History(self.state, 2 * size, 0 if options.late == "drop" else options.max_lag, space.dtype)
        self._options, self._sigma, self._dtype = options, setting.sigma, space.dtype
        self._lazy, self._directions = space.lazy, Directions(seed, size, self.tickets, (setting,), space.lazy)
        self._eps = np.empty(size, np.float32)

    def begin(self, start: Points) -> None:
        self.state["mean"][:] = start
        self.state["deviation"].fill(self._sigma)
        self.state["updates"].fill(0)
        self._history.clear()

    def published(self, out: Points) -> None:
        size = self.published_size // 2
        out[:size], out[size:] = self.state["mean"], self._drawn_with()

    def candidate(self, published: Points, generation: int, ticket: int, out: Points) -> None:
        size = self.published_size // 2
        self._directions.direction(generation, ticket, self._eps)
        point(published[:size], published[size:], self._eps, out)

    def pair(self, ticket: int) -> int:
        """Every ticket is its own pair: there are no mirror images."""
        return ticket

    def setting(self, ticket: int) -> int:
        """There is one setting."""
        return 0

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1. Points of older versions take part as they are: a fit asks where good points lie, not who drew them."""
        used, figures = in_time(self._history.rows(version, batch.version), batch)
        if used is None:
            return figures
        value = batch.value[used]
        order = np.argsort(-value, kind="stable")  # equal values: the order of tickets, which is random anyway
        valued = int(np.isfinite(value).sum())  # points without a value are no elite, if there are two others
        best = np.flatnonzero(used)[order[: max(2, min(valued, _elites(self._options.elite, len(order))))]]
        points, present = self._points(version, batch, best), self._present()
        part = slice(None) if self._lazy is None else self._lazy.varied(int(batch.generation[0]))
        figures.update(self._fit(points[:, part], part))
        self._history.record(version, present)
        return {"elites": float(len(best)), **figures}

    def _points(self, version: int, batch: Evaluations, which: NDArray[np.intp]) -> NDArray[np.float64]:
        """The points [n, N] that were evaluated."""
        size, present = len(self._eps), self._present()
        points = np.empty((len(which), size), self._dtype)
        for out, i, row in zip(points, which, self._history.rows(version, batch.version[which])):
            acted = present if row == CURRENT else self.state["history"][row]
            self._directions.direction(int(batch.generation[i]), int(batch.ticket[i]), self._eps)
            point(acted[:size], acted[size:], self._eps, out)
        return points.astype(np.float64)

    def _fit(self, elites: NDArray[np.float64], part: slice) -> dict[str, float]:
        """Fit mean and deviation to elites [n, M] of the M parameters that do not rest."""
        mean, deviation, kept = self.state["mean"][part], self.state["deviation"][part], self._options.smoothing
        step = (1 - kept) * (elites.mean(axis=0) - mean)
        mean += step
        deviation += (1 - kept) * (elites.std(axis=0) - deviation)
        self.state["updates"] += 1
        drawn_with = self._drawn_with()
        return {
            "update_norm": float(np.linalg.norm(step)),
            "sigma": float(drawn_with.mean()),
            "sigma_min": float(drawn_with.min()),
            "sigma_max": float(drawn_with.max()),
            "extra_variance": extra_variance(self._options, int(self.state["updates"][0])),
        }

    def _present(self) -> Points:
        """Mean and deviation [2 N] as they are published."""
        present = np.empty(self.published_size, self._dtype)
        self.published(present)
        return present

    def _drawn_with(self) -> NDArray[np.float64]:
        """The deviation [N] of candidates: the fitted one and the extra variance."""
        drawn: NDArray[np.float64] = np.sqrt(self.state["deviation"] ** 2 + extra_variance(self._options, int(self.state["updates"][0])))
        return drawn


def extra_variance(options: CemOptions, updates: int) -> float:
    """Z_t, which is added to the variance that the t-th update has fitted; none before the first."""
    if updates == 0:
        return 0.0
    left = 1.0 if options.extra_decay == 0 else max(0.0, 1 - updates / options.extra_decay)
    return options.extra_std**2 * left


def _elites(share: float, count: int) -> int:
    """Size of the elite among so many evaluations."""
    return min(count, round(share * count))
