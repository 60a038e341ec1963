"""Base class of searches that perturb one mean vector theta: tickets, candidates, and the evaluations that an update may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.estimators import Plan
from asyncrl.blackbox.history import CURRENT, History, skipped_late, too_few
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.ratios import Samples
from asyncrl.blackbox.search import Evaluations, Search, Setting
from asyncrl.blackbox.shaping import flat, less_baseline, shape, with_worst
from asyncrl.blackbox.space import Points, Space, Vector, Whole
from asyncrl.errors import UserError


@dataclass(frozen=True)
class Kept:
    """The evaluations of a batch that an update uses, [n] each."""

    generation: Whole
    ticket: Whole
    cohort: Whole
    """Row of the history, or CURRENT."""
    value: Vector
    """Shaped values."""


class Perturbed(Search):
    """Base class of searches whose tickets evaluate theta + sign sigma eps, in the precision of the space's points.

    state: theta [N], the history, and what the algorithm adds. Evaluations without a return are left out together with
    their mirror image, whose value alone would be biased. Late evaluations are treated as `options.late` says; the mirror
    image of one that is left out for its age, or that is in another batch, is used alone (except in ARS).
    """

    figures: tuple[str, ...] = ("gradient_norm", "update_norm")

    def __init__(self, options: SearchOptions, size: int, seed: int, settings: Sequence[Setting], estimator: str, space: Space) -> None:
        self._options = options
        self._plan = Plan(estimator, options.population)
        settings = tuple(settings) or (Setting(options.sigma, options.directions),)
        if len(settings) > self._plan.directions:
            raise UserError(
                f"{len(settings)} exploration settings cannot be used with population = {options.population}: some would get none of a "
                f"generation's directions (allowed: up to {self._plan.directions}, or a larger population)"
            )
        self._directions = Directions(seed, size, self._plan.directions, settings, space.lazy)
        self._sigma, self._smallest_sigma = settings[0].sigma, min(setting.sigma for setting in settings)
        places = [self._plan.place(ticket) for ticket in range(self._plan.tickets)]
        self._direction = np.array([j for j, _ in places], np.int64)
        self._sign = np.array([sign for _, sign in places], np.float64)
        self.tickets = self._plan.tickets
        self.published_size = size
        self._eps, self._dtype, self._lazy = np.empty(size, np.float32), space.dtype, space.lazy
        self.state: dict[str, NDArray[Any]] = {"theta": np.zeros(size, self._dtype)}
        self._history = History(self.state, size, options.max_lag, self._dtype)

    @property
    def theta(self) -> Points:
        """The mean, [N]; part of `state`."""
        return self.state["theta"]

    def begin(self, start: Points) -> None:
        for array in self.state.values():
            array[...] = 0
        self._history.clear()
        self.theta[:] = start

    def published(self, out: Points) -> None:
        out[:] = self.theta

    def candidate(self, published: Points, generation: int, ticket: int, out: Points) -> None:
        j, sign = self._plan.place(ticket)
        if not sign:
            out[:] = published
            return
        self._directions.direction(generation, j, self._eps)
        np.multiply(self._eps, self._dtype(sign * self._directions.sigma(j)), out=out)
        out += published

    def pair(self, ticket: int) -> int:
        return self._plan.pair(ticket)

    def setting(self, ticket: int) -> int:
        """Index of the exploration setting that the ticket uses; 0 for the centre."""
        return int(self._direction[ticket]) % len(self._directions.settings)

    def _keep(self, version: int, batch: Evaluations, whole_pairs: bool = False) -> tuple[Kept | None, dict[str, float]]:
        """The evaluations to use, with their values, and figures about late ones.

        None instead of evaluations if all returns are equal or too few evaluations may be used.
        """
        possible = self._possible(batch)
        rows = self._history.rows(version, batch.version)
        admitted = self._history.admitted(rows, self.theta, self._smallest_sigma, self._options.late)
        kept = possible & admitted
        figures = {"late_dropped": float(np.sum(possible & ~admitted)), "late_used": 0.0}
        if too_few(kept, possible):
            return None, skipped_late(possible)
        if whole_pairs:
            kept &= self._has_twin(batch, kept)
        value = batch.value[kept]
        if flat(value) or not self._sign[batch.ticket[kept]].any():
            return None, {**figures, "flat": 1.0}
        shaped = shape(less_baseline(with_worst(value), rows[kept]), self._options.shaping)
        figures["late_used"] = float(np.sum(rows[kept] != CURRENT))
        return Kept(batch.generation[kept], batch.ticket[kept], rows[kept], shaped), figures

    def _part(self, kept: Kept) -> slice:
        """The parameters that these evaluations tell something of: all, unless some rested in their generation; then it is one."""
        return slice(None) if self._lazy is None else self._lazy.varied(int(kept.generation[0]))

    def _possible(self, batch: Evaluations) -> NDArray[np.bool_]:
        there = ~np.isnan(batch.value)
        if self._plan.estimator != "antithetic":
            return there
        key = self._key(batch)
        possible: NDArray[np.bool_] = there & ~np.isin(key, key[~there])
        return possible

    def _has_twin(self, batch: Evaluations, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        _, index, counts = np.unique(self._key(batch)[kept], return_inverse=True, return_counts=True)
        twins = np.zeros(len(kept), np.bool_)
        twins[kept] = counts[index] == 2
        return twins

    def _key(self, batch: Evaluations) -> Whole:
        """A number for each evaluation, [n], which is the same for its mirror image."""
        key: Whole = batch.generation * self._plan.directions + self._direction[batch.ticket]
        return key

    def _samples(self, kept: Kept, value: Vector) -> Samples:
        """The evaluations of perturbed parameters as the input of `ratios`, from values [n].

        Values are centred, which changes nothing for complete pairs. Exceptions: the vanilla estimator uses them as they are, unless
        late ones are corrected; the forward estimator subtracts the value of the generation's centre.
        """
        sign = self._sign[kept.ticket]
        normal = self._directions.normal[self._direction[kept.ticket]]
        corrected = self._options.late == "ratio" and bool(np.any(normal & (kept.cohort != CURRENT)))
        if self._plan.estimator == "forward":
            value = _less_centre(value, kept.generation, sign)
        elif self._plan.estimator == "antithetic" or corrected:
            value = value - value.mean()
        around = sign != 0
        direction = self._direction[kept.ticket[around]]
        block, row = self._rows(kept.generation[around], direction)
        cohorts, cohort = np.unique(kept.cohort[around], return_inverse=True)
        stale = np.array([self._history.stale(int(c), self.theta) for c in cohorts] if corrected else []).reshape(-1, self.published_size)
        varied = self._part(kept).stop
        if varied is not None:
            stale[:, varied:] = 0.0  # nothing was drawn there, so there is no ratio, and the gradient is 0
        inverse = 1.0 / self._directions.sigmas[direction]
        return Samples(block, row, sign[around], value[around], cohort.astype(np.int64), stale, inverse, normal[around], self._sigma)

    def _rows(self, generation: Whole, direction: Whole) -> tuple[NDArray[np.float32], Whole]:
        """Directions [M, N], and the row of them that each evaluation used [n]."""
        first = int(generation[0])
        if np.all(generation == first):
            return self._directions.block(first), direction
        pieces, row, count = [], np.zeros(len(direction), np.int64), 0
        for g in np.unique(generation):
            here = generation == g
            used, index = np.unique(direction[here], return_inverse=True)
            pieces.append(self._directions.block(int(g))[used])
            row[here] = count + index
            count += len(used)
        block = np.concatenate(pieces)
        block.flags.writeable = False
        return block, row

    def _replaced(self, version: int, theta: Points) -> dict[str, float]:
        """Make theta [N] the parameters of version + 1, and return the norm of the update. If theta is not finite, nothing changes."""
        if not np.isfinite(theta).all():
            return {"not_finite": 1.0}
        self._history.record(version, self.theta)
        norm = float(np.linalg.norm(theta.astype(np.float64) - self.theta))
        self.theta[:] = theta
        return {"update_norm": norm}


def _less_centre(value: Vector, generation: Whole, sign: Vector) -> Vector:
    """value [n] minus that of the generation's centre, or minus the mean of all if the centre is in another batch."""
    less = value - value.mean()
    for g in np.unique(generation[sign == 0]):
        here = generation == g
        less[here] = value[here] - value[here & (sign == 0)][0]
    return less
