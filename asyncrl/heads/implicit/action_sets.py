"""The set of actions of which an implicit head chooses: what the action tower is given of each, and what the environment is given.

    uniform     drawn uniformly in the box
    grid        a regular grid from bound to bound, as many points a component as fit into the size, of one component its middle
    all         every choice of a discrete space, in order; of several components every combination, the last one fastest
    catalogue   of Box actions the set itself; of discrete ones features of each choice of `all`

A component of a box is given to the tower in [-1, 1] from bound to bound, and as it is where it has no bounds. The authors of seed 000
draw from [-1, 1] whatever the environment's bounds are; on their environments that is the same.
"""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.catalogues import check_finite, read
from asyncrl.heads.implicit.options import ImplicitOptions
from asyncrl.heads.keyed_numbers import uniform_box

Numbers = NDArray[np.float32]

DEFAULT_SIZE = 1000
KINDS = {"box": ("uniform", "grid", "catalogue"), "discrete": ("all", "catalogue"), "multidiscrete": ("all", "catalogue")}
_NAMES = {"box": "Box", "discrete": "Discrete", "multidiscrete": "MultiDiscrete"}


class ActionSet:
    """N actions of a space: their features [N, F] and values [N, C], which `fill` writes.

    count, features   N and F
    random            whether `fill` draws it, so that it can be drawn anew
    """

    def __init__(self, name: str, spec: EnvSpec, options: ImplicitOptions, size: int):
        """`name`: of the head; `size`: of a set that is uniform or a grid. Raises UserError for a set that the space cannot have."""
        self._spec, self._options, self._size = spec, options, size
        self.kind = _kind(name, spec, options)
        self._catalogue = _catalogue(options) if self.kind == "catalogue" else None
        self.random = self.kind == "uniform"
        self._bounds = np.array([spec.action_low, spec.action_high], np.float64).reshape(2, -1)
        if self.kind in ("uniform", "grid") and not np.isfinite(self._bounds).all():
            raise UserError(f"head {name!r} needs Box actions with finite bounds, or a catalogue; this environment's reach to infinity")
        self.count, self.features = self._sizes()

    def _sizes(self) -> tuple[int, int]:
        spec = self._spec
        rows = self._catalogue
        if spec.action_kind == "box":
            if rows is not None and rows.shape[1] != spec.action_size:
                raise UserError(f"catalogue of {rows.shape[1]} numbers a row cannot be used (allowed: {spec.action_size}, the components)")
            if rows is None and self.kind == "grid":
                return self._points() ** spec.action_size, spec.action_size
            return (self._size if rows is None else len(rows)), spec.action_size
        count = math.prod(spec.action_sizes)
        if rows is not None:
            if len(rows) != count:
                raise UserError(f"catalogue of {len(rows):,} rows cannot be used (allowed: {count:,}, the features of each choice)")
            return count, rows.shape[1]
        return count, sum(spec.action_sizes) if self._options.encoding == "one-hot" else spec.action_size

    def check_memory(self, numbers: int) -> None:
        """Raise UserError where its actions, with so many float32 for each beside features and value, are more than the machine's memory.

        All of its memory counts, since workers check when the set has its place already; what is free, the allocation checks.
        """
        needed, there = 4 * (self.features + self._spec.action_size + numbers) * self.count, _memory_bytes()
        if needed > there:
            what = f"a set of {self.count:,} actions" if self.kind in ("all", "catalogue") else f"set_size = {self.count:,}"
            raise UserError(f"{what} cannot be used: it and its latents need {needed:,} bytes, this machine has {there:,}")

    def _points(self) -> int:
        """Of a grid, in each component."""
        components, size = self._spec.action_size, self._size
        points = int(size ** (1.0 / components))
        return points + 1 if (points + 1) ** components <= size else max(points, 1)

    def fill(self, generator: np.random.Generator, features: Numbers, values: Numbers) -> None:
        """Write features[N, F] and values[N, C]; what is random depends on the generator alone."""
        if self._spec.action_kind == "box":
            self._fill_box(generator, features, values)
            return
        choices = np.stack(np.unravel_index(np.arange(self.count), self._spec.action_sizes), axis=1)
        values[:] = choices
        if self._catalogue is not None:
            features[:] = self._catalogue
        elif self._options.encoding == "one-hot":
            starts = np.cumsum([0, *self._spec.action_sizes[:-1]])
            features[:] = 0.0
            features[np.arange(self.count)[:, None], starts + choices] = 1.0
        else:
            features[:] = choices

    def features_of(self, actions: NDArray[np.float64], features: Numbers) -> Numbers:
        """The features [n, F] of actions[n, C], of a Box any, of others choices; features [N, F]: what `fill` has written."""
        if self._spec.action_kind != "box":
            return features[np.ravel_multi_index(tuple(np.asarray(actions, np.int64).T), self._spec.action_sizes)]
        return self._scaled(np.asarray(actions, np.float64)).astype(np.float32)

    def _scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of values [n, C] of a Box those in [-1, 1] from bound to bound, as they are where there are none."""
        low, high = self._bounds
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(low) & np.isfinite(high), 2.0 * (values - low) / (high - low) - 1.0, values)

    def _fill_box(self, generator: np.random.Generator, features: Numbers, values: Numbers) -> None:
        if self._catalogue is not None:
            values[:] = self._catalogue
            features[:] = self._scaled(self._catalogue)
            return
        if self.kind == "grid":
            points = self._points()
            line = np.linspace(-1.0, 1.0, points) if points > 1 else np.zeros(1)
            places = np.unravel_index(np.arange(self.count), (points,) * self._spec.action_size)
            features[:] = line[np.stack(places, axis=1)]
        else:
            uniform_box(np.int64(generator.integers(2**53)), features)
        values[:] = values_of(features, self._bounds)


def values_of(features: Numbers, bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The actions [n, C] of a box of bounds[2, C] that features [n, C] stand for."""
    low, high = bounds
    return np.clip(low + 0.5 * (features.astype(np.float64) + 1.0) * (high - low), low, high)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _kind(name: str, spec: EnvSpec, options: ImplicitOptions) -> str:
    kind, given = spec.action_kind, options.actions
    allowed = KINDS[kind]
    if given == "auto":
        return "catalogue" if options.catalogue else allowed[0]
    if given not in allowed:
        words = ", ".join(("auto", *allowed))
        raise UserError(f"actions = {given} cannot be used by head {name!r} for {_NAMES[kind]} actions (allowed: {words})")
    if (given == "catalogue") != bool(options.catalogue):
        wanted = "needs a catalogue" if given == "catalogue" else f"cannot be used with catalogue = {options.catalogue!r:.60}"
        raise UserError(f"actions = {given} {wanted} (--catalogue FILE goes with actions = catalogue or auto)")
    return given


def _catalogue(options: ImplicitOptions) -> NDArray[np.float64]:
    """The rows [N, F] that the user gave; raises UserError for a file or numbers that cannot be used."""
    rows = read(options.catalogue)
    check_finite(rows)
    return rows.astype(np.float64)
