"""NES, natural evolution strategies: SNES (separable, the default) and xNES (full covariance, for small problems).

Wierstra, Schaul, Glasmachers, Sun, Peters and Schmidhuber 2014, with s the standard normal draws and u the utilities:

    SNES  x = m + sigma s     m += eta_m sigma sum(u s)     sigma *= exp(eta_s / 2 sum(u (s^2 - 1)))
    xNES  x = m + sigma B s   m += eta_m sigma B sum(u s)   G = sum(u (s s^T - I)), g = tr(G) / N
                              sigma *= exp(eta_s / 2 g)     B <- B exp(eta_B / 2 (G - g I))

The paper writes B^T where the points are made and B where the mean moves; both are B here, as the gradient wants it
(B is not symmetric after the first step). Equal returns share the mean of their utilities, so that a plateau moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.gaussians import KINDS, in_time, one_setting, point, population_of
from asyncrl.blackbox.history import CURRENT, LOST, History
from asyncrl.blackbox.lazy import refuse_lazy
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import Evaluations, Search, Setting
from asyncrl.blackbox.space import POLICIES, Points, Space, Whole
from asyncrl.errors import UserError, unknown
from asyncrl.fields import NOT_NEGATIVE, POSITIVE, TICKETS

LARGEST_FULL = 300
"""Parameters of xNES: its update takes the exponential of an N x N matrix."""
FAR = 9.0
"""Late points whose mean square distance is above this many variances are left out: their s^2 would swamp all others."""

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class NesOptions(SearchOptions):
    """Options of NES."""

    kind: Literal["snes", "xnes"] = "snes"
    """A deviation for each parameter, or a full covariance matrix (small problems, mode sync only)."""
    population: Annotated[int, TICKETS] = 0
    """Evaluations of a generation; 0 for 4 + 3 ln N."""
    sigma: Annotated[float, POSITIVE] = 0.1
    """Deviation of each parameter at the start."""
    learning_rate: Annotated[float, POSITIVE] = 1.0
    """Step size of the mean."""
    sigma_learning_rate: Annotated[float, NOT_NEGATIVE] = 0.0
    """Step size of the deviations; 0 for the paper's: (3 + ln N) / (5 sqrt N), xnes (9 + 3 ln N) / (5 N sqrt N)."""
    shape_learning_rate: Annotated[float, NOT_NEGATIVE] = 0.0
    """xnes: step size of the matrix; 0 for the paper's, which is that of the deviation."""
    directions: Literal["gaussian", "orthogonal", "orthogonal-fixed"] = "gaussian"
    """Kind of perturbations."""
    late: Literal["as-is", "drop"] = "as-is"
    """Modes pipelined, bounded and async: points drawn from older distributions are used as if drawn from the present one, or left out."""
    shaping: ClassVar[Literal["none"]] = "none"  # type: ignore[misc]  # utilities depend on the order of returns only

    @property
    def variant(self) -> str:
        """The kind of NES: xnes does not work in every mode."""
        return self.kind

    @property
    def modes(self) -> tuple[str, ...] | None:
        """Only sync for xnes: of a full covariance's older versions nothing can be used."""
        return ("sync",) if self.kind == "xnes" else None


def utilities(returns: Vector) -> Vector:
    """Utilities [n] of returns [n]: max(0, ln(n/2 + 1) - ln k) for the k-th best, scaled to sum 1, minus 1/n; ties averaged."""
    count = len(returns)
    by_place = np.maximum(0.0, math.log(count / 2 + 1) - np.log(np.arange(count, 0, -1.0)))  # from the worst to the best
    by_place = by_place / by_place.sum() - 1 / count
    _, group, members = np.unique(returns, return_inverse=True, return_counts=True)
    last = np.cumsum(members)
    means = np.array([by_place[end - n : end].mean() for n, end in zip(members, last)])
    shaped: Vector = means[group]
    return shaped


class Nes(Search):
    """SNES and xNES. Published: mean [N], and deviations [N] or sigma B [N * N]."""

    figures = ("update_norm", "sigma", "sigma_min", "sigma_max")

    def __init__(self, options: NesOptions, size: int, seed: int, settings: Sequence[Setting] = (), space: Space = POLICIES) -> None:
        if options.kind not in ("snes", "xnes"):
            raise unknown("kind of nes", options.kind, ("snes", "xnes"))
        self._full = options.kind == "xnes"
        if self._full and size > LARGEST_FULL:
            raise UserError(f"xnes with {size} parameters cannot be used (allowed: at most {LARGEST_FULL}; snes and es have no limit)")
        if self._full:
            refuse_lazy(space.lazy, "xnes", "its matrix varies all parameters together, so that none of them rest")
        setting = one_setting(options.kind, options.sigma, options.directions, settings, KINDS)
        self.tickets = population_of(options.kind, options.population, size, 2)
        self.published_size = size + (size * size if self._full else size)
        self.state: dict[str, NDArray[Any]] = {"mean": np.zeros(size), "sigma": np.full(1 if self._full else size, float(setting.sigma))}
        if self._full:
            self.state["shape"] = np.eye(size)
        else:
            self._history = History(self.state, 2 * size, 0 if options.late == "drop" else options.max_lag, space.dtype)
        self._size, self._options, self._first_sigma = size, options, setting.sigma
        usual = (9 + 3 * math.log(size)) / (5 * size * math.sqrt(size)) if self._full else (3 + math.log(size)) / (5 * math.sqrt(size))
        self._sigma_rate = options.sigma_learning_rate or usual
        self._shape_rate = options.shape_learning_rate or usual
        self._lazy, self._directions = space.lazy, Directions(seed, size, self.tickets, (setting,), space.lazy)
        self._eps, self._point = np.empty(size, np.float32), np.empty(size, space.dtype)

    def begin(self, start: Points) -> None:
        self.state["mean"][:] = start
        self.state["sigma"].fill(self._first_sigma)
        if self._full:
            self.state["shape"][:] = np.eye(self._size)
        else:
            self._history.clear()

    def published(self, out: Points) -> None:
        out[: self._size] = self.state["mean"]
        out[self._size :] = (self.state["sigma"] * self.state["shape"]).ravel() if self._full else self.state["sigma"]

    def candidate(self, published: Points, generation: int, ticket: int, out: Points) -> None:
        mean, spread = published[: self._size], published[self._size :]
        self._directions.direction(generation, ticket, self._eps)
        if self._full:
            # Not a BLAS product, whose bits depend on its number of threads.
            np.sum(spread.reshape(self._size, self._size) * self._eps, axis=1, out=out)
            out += mean
        else:
            point(mean, spread, self._eps, out)

    def pair(self, ticket: int) -> int:
        """Every ticket is its own pair: there are no mirror images."""
        return ticket

    def setting(self, ticket: int) -> int:
        """There is one setting."""
        return 0

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1. SNES takes late points as if the present distribution had drawn them; xNES leaves them out."""
        acted = np.where(batch.version == version, CURRENT, LOST) if self._full else self._history.rows(version, batch.version)
        used, figures = in_time(acted, batch)
        if used is None:
            return figures
        rows = np.flatnonzero(used)
        if self._full:
            return {**self._full_step(self._draws(batch, rows), utilities(batch.value[rows])), **figures}
        draws = self._standardised_draws(batch, rows, acted[rows])
        near = (acted[rows] == CURRENT) | (np.mean(draws**2, axis=1) <= FAR)
        acted[rows[~near]] = LOST
        used, figures = in_time(acted, batch)
        if used is None:
            return figures
        self._history.record(version, np.concatenate([self.state["mean"], self.state["sigma"]]))
        # In a generation they are alike: nothing is known of parameters that rested, though late points may lie apart from them.
        part = slice(None) if self._lazy is None else self._lazy.varied(int(batch.generation[0]))
        return {**self._separable_step(draws[near, part], utilities(batch.value[rows[near]]), part), **figures}

    def _draws(self, batch: Evaluations, rows: NDArray[np.intp]) -> Vector:
        """The standard normal draws [n, N] of the evaluations."""
        draws = np.empty((len(rows), self._size), np.float32)
        for draw, i in zip(draws, rows):
            self._directions.direction(int(batch.generation[i]), int(batch.ticket[i]), draw)
        return draws.astype(np.float64)

    def _standardised_draws(self, batch: Evaluations, rows: NDArray[np.intp], acted: Whole) -> Vector:
        """Draws [n, N]; those of late points, which acted with `acted` [n], as the present distribution sees them, s = (x - m) / sigma."""
        draws = self._draws(batch, rows)
        for draw, row in zip(draws, acted):
            if row != CURRENT:
                mean, sigma = self.state["history"][row].reshape(2, -1)
                point(mean, sigma, draw.astype(np.float32), self._point)
                draw[:] = (self._point - self.state["mean"]) / self.state["sigma"]
        return draws

    def _separable_step(self, draws: Vector, weights: Vector, part: slice) -> dict[str, float]:
        """SNES with utilities [n] and draws [n, M] of the M parameters that do not rest.

        Sums are not BLAS products, whose bits depend on its number of threads.
        """
        every = self.state["sigma"]
        mean, sigma = self.state["mean"][part], every[part]
        step = self._options.learning_rate * sigma * np.sum(weights[:, None] * draws, axis=0)
        mean += step
        sigma *= np.exp(self._sigma_rate / 2 * np.sum(weights[:, None] * (draws**2 - 1), axis=0))
        return {
            "update_norm": float(np.linalg.norm(step)),
            "sigma": float(every.mean()),
            "sigma_min": float(every.min()),
            "sigma_max": float(every.max()),
        }

    def _full_step(self, draws: Vector, weights: Vector) -> dict[str, float]:
        """xNES with draws [n, N] and utilities [n]."""
        mean, sigma, shape = self.state["mean"], self.state["sigma"], self.state["shape"]
        step = self._options.learning_rate * sigma * (shape @ np.sum(weights[:, None] * draws, axis=0))
        mean += step
        gradient = (draws.T * weights) @ draws - weights.sum() * np.eye(self._size)
        overall = np.trace(gradient) / self._size
        sigma *= np.exp(self._sigma_rate / 2 * overall)
        shape[:] = shape @ exponential(self._shape_rate / 2 * (gradient - overall * np.eye(self._size)))
        return {"update_norm": float(np.linalg.norm(step)), "sigma": float(sigma[0])}


def exponential(matrix: Vector) -> Vector:
    """The exponential of a symmetric matrix [N, N]."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    exponentiated: Vector = (vectors * np.exp(values)) @ vectors.T
    return exponentiated
