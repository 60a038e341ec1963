"""CMA-ES and its separable form, with the `cma` library (Hansen) as backend.

The library makes the points and the updates. What it remembers lives in arrays: each update puts them into a fresh object of
the library, so whoever copies the arrays has the search, and nothing grows. Its termination criteria are never asked.

The next generation's points are drawn as soon as an update is made, with random numbers of (seed, version), and published
as float32; workers only pick their row. The library is told the points that were evaluated (rounded) and negated returns.

Step sizes are adapted by CSA for all N: the library's choice from 300 parameters on, TPA, needs a pair of its own among the
points in a fixed place (pycma issues 145, nevergrad 1690).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.gaussians import one_setting, population_of
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import Evaluations, Setting
from asyncrl.blackbox.shaping import flat
from asyncrl.errors import UserError

LARGEST_FULL = 2000
"""Parameters of full CMA-ES: its matrices have N^2 numbers, and their decomposition takes N^3 operations."""
PURPOSE = 0x636D61  # keeps these random numbers apart from other uses of the same seed


@dataclass(frozen=True)
class CmaEsOptions(SearchOptions):
    """Options of CMA-ES and sep-CMA; everything else is the library's default. Mode sync only."""

    population: int = 0
    """Evaluations of a generation; 0 for the library's 4 + 3 ln N."""
    sigma: float = 0.1
    """Deviation of each parameter at the start."""
    directions: ClassVar[Literal["gaussian"]] = "gaussian"  # type: ignore[misc]  # drawn by the library
    shaping: ClassVar[Literal["none"]] = "none"  # type: ignore[misc]  # only the order of returns counts
    account: ClassVar[Literal["dispatch"]] = "dispatch"  # type: ignore[misc]  # whole generations only
    late: ClassVar[Literal["drop"]] = "drop"  # type: ignore[misc]
    max_lag: ClassVar[int] = 0  # type: ignore[misc]


class CmaEs:
    """CMA-ES as `asyncrl.blackbox.search.Search`. Published: mean [N] and the points of the generation [P, N]."""

    figures: tuple[str, ...] = ("update_norm", "sigma", "sigma_min", "sigma_max")
    name = "cma-es"
    diagonal = False

    def __init__(self, options: CmaEsOptions, size: int, seed: int, settings: Sequence[Setting] = ()) -> None:
        if size < 2:
            raise UserError(f"{self.name} with {size} parameter cannot be used (allowed: at least 2)")
        if not self.diagonal and size > LARGEST_FULL:
            raise UserError(
                f"cma-es with {size} parameters cannot be used (allowed: at most {LARGEST_FULL}; `sep-cma` and `es` have no limit)"
            )
        self._sigma = one_setting(self.name, options.sigma, "gaussian", settings, ("gaussian",)).sigma
        self.tickets = population_of(self.name, options.population, size, 3)
        self.published_size = size * (1 + self.tickets)
        self._size, self._seed = size, seed
        _find_library()
        vectors = ("mean", "path", "coordinate_path", "sigma_path", "scaling", *(("sampler_std",) if self.diagonal else ("axes",)))
        matrices = () if self.diagonal else ("covariance", "rotation")
        self.state: dict[str, NDArray[Any]] = {
            **{name: np.zeros(size) for name in vectors},
            **{name: np.zeros((size, size)) for name in matrices},
            "scalars": np.zeros(2),
            "counts": np.zeros(6, np.int64),
            "points": np.zeros((self.tickets, size), np.float32),
        }

    @cached_property
    def _library(self) -> ModuleType:
        """Imported when the learner first needs it: that takes a second, and workers can do without."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no matplotlib
            return import_module("cma")

    def begin(self, start: NDArray[np.float32]) -> None:
        """See `Search`."""
        strategy = self._strategy(np.asarray(start, np.float64), 0)
        self._draw(strategy, 0)

    def published(self, out: NDArray[np.float32]) -> None:
        """See `Search`."""
        out[: self._size] = self.state["mean"]
        out[self._size :] = self.state["points"].ravel()

    def candidate(self, published: NDArray[np.float32], generation: int, ticket: int, out: NDArray[np.float32]) -> None:
        """See `Search`. The generation is the one that was drawn for this version, so it plays no part."""
        first = self._size * (1 + ticket)
        out[:] = published[first : first + self._size]

    def pair(self, ticket: int) -> int:
        """Every ticket is its own pair: there are no mirror images."""
        return ticket

    def setting(self, ticket: int) -> int:
        """There is one setting."""
        return 0

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """See `Search`. A missing return counts as the worst; evaluations of other versions are left out.

        A flat fitness leaves the distribution as it is, but other points are drawn from it: the same ones would stay flat.
        """
        drawn_for = int(self.state["counts"][0])
        own = batch.version == drawn_for
        figures = {"late_dropped": float(np.sum(~own))}
        cost = np.full(self.tickets, np.nan)
        cost[batch.ticket[own]] = -batch.returns[own]
        strategy = self._restored(version + 1)
        if flat(cost):
            self._draw(strategy, version + 1)
            return {"flat": 1.0, **figures}
        cost[np.isnan(cost)] = np.inf
        before = self.state["mean"].copy()
        strategy.tell(list(self.state["points"].astype(np.float64)), list(cost), check_points=False)
        self._draw(strategy, version + 1)
        return {
            "update_norm": float(np.linalg.norm(self.state["mean"] - before)),
            "sigma": float(np.mean(strategy.stds)),
            "sigma_min": float(np.min(strategy.stds)),
            "sigma_max": float(np.max(strategy.stds)),
            **figures,
        }

    def _strategy(self, mean: NDArray[np.float64], version: int) -> Any:
        """An object of the library at its start, whose points for a version can be drawn."""

        def randn(rows: int, columns: int) -> NDArray[np.float64]:
            key = np.random.SeedSequence(self._seed, spawn_key=(PURPOSE, version)).generate_state(2, np.uint64)
            return np.random.Generator(np.random.Philox(key=key)).standard_normal((rows, columns))

        options = {
            "verbose": -9,
            "popsize": self.tickets,
            "randn": randn,
            "CMA_diagonal": self.diagonal,
            "AdaptSigma": self._library.sigma_adaptation.CMAAdaptSigmaCSA,
            # Rescaled coordinates are kept as `scaling`; a rotation of all parameters (the second number) would not be.
            "conditioncov_alleviate": [1e8, 0],
        }
        return self._library.CMAEvolutionStrategy(mean, self._sigma, options)

    def _restored(self, version: int) -> Any:
        """An object of the library that has asked for the points in `state`, and waits to be told their returns."""
        state, counts, scalars = self.state, self.state["counts"], self.state["scalars"]
        strategy = self._strategy(state["mean"].copy(), version)
        strategy.ask()  # points of no use: it makes the object expect to be told
        strategy.sigma, strategy.adapt_sigma.delta = (float(number) for number in scalars)
        strategy.pc, strategy.pc2 = state["path"].copy(), state["coordinate_path"].copy()
        strategy.adapt_sigma.ps = state["sigma_path"].copy()
        strategy.countiter, strategy.countevals = int(counts[1]), int(counts[2])
        strategy.mean_old = state["mean"].copy()
        if strategy.countiter > 0:  # the library begins with one scale for all
            strategy.sigma_vec = self._library.transformations.DiagonalDecoding(state["scaling"])
        sampler = strategy.sm
        if self.diagonal:
            sampler.standard_deviations = state["sampler_std"].copy()
        else:
            sampler.C, sampler.B, sampler.D = state["covariance"].copy(), np.asfortranarray(state["rotation"]), state["axes"].copy()
            sampler.count_tell, sampler.last_update, sampler.count_eigen = (int(count) for count in counts[3:])
        strategy._updateBDfromSM(sampler)
        return strategy

    def _draw(self, strategy: Any, version: int) -> None:
        """Draw the points for a version, and keep them and all that the library remembers in `state`."""
        state, counts = self.state, self.state["counts"]
        state["points"][:] = np.asarray(strategy.ask())
        state["mean"][:] = strategy.mean
        state["path"][:], state["coordinate_path"][:] = strategy.pc, strategy.pc2
        state["sigma_path"][:], state["scaling"][:] = strategy.adapt_sigma.ps, strategy.sigma_vec.scaling
        state["scalars"][:] = strategy.sigma, strategy.adapt_sigma.delta
        counts[:3] = version, strategy.countiter, strategy.countevals
        sampler = strategy.sm
        if self.diagonal:
            state["sampler_std"][:] = np.sqrt(sampler.variances)
        else:
            state["covariance"][:], state["rotation"][:], state["axes"][:] = sampler.C, sampler.B, sampler.D
            counts[3:] = sampler.count_tell, sampler.last_update, sampler.count_eigen


class SepCma(CmaEs):
    """Separable CMA-ES: a diagonal covariance matrix, for any number of parameters."""

    name = "sep-cma"
    diagonal = True


def _find_library() -> None:
    if find_spec("cma") is None:
        raise UserError("cma-es and sep-cma need the package `cma` (pip install 'asyncrl[cma]')")
