"""Shared by searches that adapt a Gaussian distribution: checks, the default population, points and late evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.history import CURRENT, LOST, skipped_late, too_few
from asyncrl.blackbox.search import Evaluations, Setting
from asyncrl.blackbox.shaping import flat
from asyncrl.blackbox.space import Points, Whole
from asyncrl.errors import UserError, unknown

KINDS = ("gaussian", "orthogonal", "orthogonal-fixed")
"""Kinds of directions from which variances can be learned: those whose entries vary in size, which excludes random signs."""


def one_setting(name: str, sigma: float, kind: str, settings: Sequence[Setting], kinds: Sequence[str] = KINDS) -> Setting:
    """The exploration setting of a search that adapts its own sigma. UserError for several, for sigma <= 0 and for other kinds."""
    if len(settings) > 1:
        raise UserError(f"{name} adapts its own sigma, {len(settings)} exploration settings cannot be used (allowed: one)")
    setting = settings[0] if settings else Setting(sigma, kind)
    if not (math.isfinite(setting.sigma) and setting.sigma > 0):
        raise UserError(f"{name} with sigma = {setting.sigma:g} cannot be used (allowed: a number above 0)")
    if setting.kind not in kinds:
        raise unknown(f"kind of directions for {name}", setting.kind, kinds)
    return setting


def population_of(name: str, population: int, size: int, least: int) -> int:
    """The population, where 0 means 4 + floor(3 ln N) (Hansen; Wierstra and others), N = `size`. UserError below `least`."""
    if population == 0:
        return max(least, 4 + math.floor(3 * math.log(size)))
    if population < least:
        raise UserError(f"{name} with population = {population} cannot be used (allowed: 0 for 4 + 3 ln N, or at least {least})")
    return population


def in_time(rows: Whole, batch: Evaluations) -> tuple[NDArray[np.bool_] | None, dict[str, float]]:
    """Which evaluations [n] are used, and figures about late ones.

    rows [n]: from `History.rows`. Those with a value are used that are not LOST. None instead if all used values are
    equal or too few evaluations are recent enough.
    """
    there, young = ~np.isnan(batch.value), rows != LOST
    used = there & young
    if too_few(used, there):
        return None, skipped_late(there)
    figures = {"late_dropped": float(np.sum(there & ~young)), "late_used": float(np.sum(used & (rows != CURRENT)))}
    return (None, {**figures, "flat": 1.0}) if flat(batch.value[used]) else (used, figures)


def point(mean: Points, deviation: Points, eps: NDArray[np.float32], out: Points) -> None:
    """Write mean [N] + deviation [N] * eps [N] into out [N], in the precision of points, with the same bits in workers and learner."""
    np.multiply(deviation, eps, out=out)
    out += mean
