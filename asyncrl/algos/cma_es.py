"""CMA-ES and its separable form, with the `cma` library (Hansen) as backend.

The library makes the points and the updates. What it remembers is written to arrays after each update, so whoever copies the
arrays has the search. Its object is kept from update to update, and made anew from the arrays only where they are not what it has
written: in a learner's successor, and where a run is resumed. Making one costs more than an update.

The next generation's points are drawn as soon as an update is made, with random numbers of (seed, version), and published in
the space's precision; workers only pick their row. The library is told the points that were evaluated (of policies, rounded to
float32) and negated returns.

Bounds of a function are the library's: coordinates are mapped smoothly into the box (`BoundTransform`). The map is applied here, to
what is published; the library's object, and `state`, know coordinates before it only, and deviations of at most a third of the box,
which are the library's too. Of its termination criteria, which are asked for functions only, those count that follow from the
distribution (`ENDINGS`). Its tolerances of values are off, since they would end at a difference of 1e-11 whatever the function's
unit is, and so are those that look back on earlier generations, which are not in the arrays. An update that the library cannot make
changes nothing.

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
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.blackbox.gaussians import one_setting, population_of
from asyncrl.blackbox.lazy import refuse_lazy
from asyncrl.blackbox.options import SearchOptions
from asyncrl.blackbox.search import ENDINGS, Evaluations, Search, Setting
from asyncrl.blackbox.shaping import flat
from asyncrl.blackbox.space import POLICIES, Points, Space
from asyncrl.errors import UserError
from asyncrl.fields import POSITIVE, TICKETS

LARGEST_FULL = 2000
"""Parameters of full CMA-ES: its matrices have N^2 numbers, and their decomposition takes N^3 operations."""
PURPOSE = 0x636D61  # keeps these random numbers apart from other uses of the same seed
TOLX = 1e-11
"""A search of a function ends where all deviations are below this (the library's number), or below it times a sigma less than 1."""
TOLFACUPX = 1e9
"""And where a deviation has grown so many times. The library has 1e3, which ends a search that has far to go from a small sigma; as here
steps grow by a third in an update, one without a minimum comes to an end some sixty updates later."""
STOP_EVERY = 10
"""Updates between looks at the criteria, which take the library a tenth of an update's time."""
CRITERIA_OFF = {"tolfun": 0, "tolfunhist": 0, "tolstagnation": 0, "tolxstagnation": False, "tolupsigma": 0, "maxiter": np.inf}
"""Termination criteria that are never met, see above."""


@dataclass(frozen=True)
class CmaEsOptions(SearchOptions):
    """Options of CMA-ES and sep-CMA; everything else is the library's default. Mode sync only."""

    population: Annotated[int, TICKETS] = 0
    """Evaluations of a generation; 0 for the library's 4 + 3 ln N."""
    sigma: Annotated[float, POSITIVE] = 0.1
    """Deviation of each parameter at the start."""
    directions: ClassVar[Literal["gaussian"]] = "gaussian"  # type: ignore[misc]  # drawn by the library
    shaping: ClassVar[Literal["none"]] = "none"  # type: ignore[misc]  # only the order of returns counts
    account: ClassVar[Literal["dispatch"]] = "dispatch"  # type: ignore[misc]  # whole generations only
    late: ClassVar[Literal["drop"]] = "drop"  # type: ignore[misc]
    max_lag: ClassVar[int] = 0  # type: ignore[misc]


class CmaEs(Search):
    """CMA-ES. Published: mean [N] and the points of the generation [P, N]."""

    figures = ("update_norm", "sigma", "sigma_min", "sigma_max")
    name = "cma-es"
    diagonal = False

    def __init__(
        self, options: CmaEsOptions, size: int, seed: int, settings: Sequence[Setting] = (), space: Space = POLICIES
    ) -> None:
        if size < 2:
            others = "nes, es, ars, tres and cem work with 1"
            raise UserError(f"{self.name} with {size} parameter cannot be used (allowed: at least 2; {others})")
        if not self.diagonal and size > LARGEST_FULL:
            raise UserError(
                f"cma-es with {size} parameters cannot be used (allowed: at most {LARGEST_FULL}; `sep-cma` and `es` have no limit)"
            )
        refuse_lazy(space.lazy, self.name, "the library varies and updates all parameters together")
        self._sigma = one_setting(self.name, options.sigma, "gaussian", settings, ("gaussian",)).sigma
        self.tickets = population_of(self.name, options.population, size, 3)
        self.published_size = size * (1 + self.tickets)
        self._size, self._seed, self._space = size, seed, space
        self._version = 0  # that points are drawn for
        self._bits = np.random.Philox(key=0)
        self._generator, self._bits_start = np.random.Generator(self._bits), self._bits.state
        self._live: Any = None
        self._live_block: Points = np.zeros(0)  # and the arrays as it has written them
        self._live_points: Points = np.zeros(0)
        self._live_counts: NDArray[np.int64] = np.zeros(0, np.int64)
        _find_library()
        vectors = ("mean", "path", "coordinate_path", "sigma_path", "scaling", *(("sampler_std",) if self.diagonal else ("axes",)))
        matrices = () if self.diagonal else ("covariance", "rotation")
        self._block = np.zeros((len(vectors), size))
        self.state: dict[str, NDArray[Any]] = {
            **dict(zip(vectors, self._block)),
            **{name: np.zeros((size, size)) for name in matrices},
            "scalars": np.zeros(2),
            "counts": np.zeros(6, np.int64),
            "points": np.zeros((self.tickets, size), space.dtype),
        }

    @cached_property
    def _library(self) -> ModuleType:
        """Imported when the learner first needs it: that takes a second, and workers can do without."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no matplotlib
            return import_module("cma")

    def begin(self, start: Points) -> None:
        mean = np.array(start, np.float64)
        self._draw(self._strategy(mean if self._box is None else self._box.inverse(mean)), 0)

    def published(self, out: Points) -> None:
        out[: self._size] = self.state["mean"]
        out[self._size :] = self.state["points"].ravel()
        if self._box is not None:
            for row in out.reshape(-1, self._size):
                row[:] = self._box.repair(row)

    def candidate(self, published: Points, generation: int, ticket: int, out: Points) -> None:
        """Copy the ticket's point into out [N]. It was drawn for this version alone, so the generation plays no part."""
        first = self._size * (1 + ticket)
        out[:] = published[first : first + self._size]

    def pair(self, ticket: int) -> int:
        """Every ticket is its own pair: there are no mirror images."""
        return ticket

    def setting(self, ticket: int) -> int:
        """There is one setting."""
        return 0

    def update(self, version: int, batch: Evaluations) -> dict[str, float]:
        """Make version + 1. A missing return counts as the worst; evaluations of other versions are left out.

        A flat fitness leaves the distribution as it is, but other points are drawn from it: the same ones would stay flat.
        """
        drawn_for = int(self.state["counts"][0])
        own = batch.version == drawn_for
        figures = {"late_dropped": float(np.sum(~own))}
        cost = np.full(self.tickets, np.nan)
        cost[batch.ticket[own]] = -batch.value[own]
        if flat(cost):
            self._draw(self._asked(), version + 1)
            return {"flat": 1.0, **figures}
        cost[np.isnan(cost)] = np.inf
        before, strategy = self.state["mean"].copy(), self._asked()
        if not (self._told(strategy, cost) and self._draw(strategy, version + 1)):
            self._live = None  # its object is broken; the arrays still hold what was before
            self._draw(self._asked(), version + 1)
            return {"not_finite": 1.0, **figures, **self._ended("not finite")}
        deviations = strategy.stds
        return {
            "update_norm": float(np.linalg.norm(self.state["mean"] - before)),
            "sigma": float(deviations.mean()),
            "sigma_min": float(deviations.min()),
            "sigma_max": float(deviations.max()),
            **figures,
            **self._ended(*(strategy.stop() if self._space.of_function and version % STOP_EVERY == 0 else ())),
        }

    def _told(self, strategy: Any, cost: NDArray[np.float64]) -> bool:
        """Tell the library what its points cost; whether it could make something of that: where steps grow without end it can't."""
        with np.errstate(all="ignore"):
            try:
                strategy.tell(list(self.state["points"].astype(np.float64)), list(cost), check_points=False)
            except (AssertionError, ArithmeticError, ValueError, RuntimeError):
                return False
        return True

    def _ended(self, *reasons: str) -> dict[str, float]:
        """The figure that says so, of a function, where one of `ENDINGS` is among the reasons."""
        numbers = [ENDINGS.index(reason) for reason in reasons if reason in ENDINGS]
        return {"ended": float(min(numbers))} if numbers and self._space.of_function else {}

    @cached_property
    def _box(self) -> Any:
        """The library's map into the bounds; None without any."""
        low, high = self._space.low, self._space.high
        return None if low is None or high is None else self._library.boundary_handler.BoundTransform([low.tolist(), high.tolist()])

    def _strategy(self, mean: NDArray[np.float64]) -> Any:
        """An object of the library at its start, whose points for `_version` can be drawn."""
        options = {
            "verbose": -9,
            "popsize": self.tickets,
            "randn": self._randn,
            "CMA_diagonal": self.diagonal,
            "AdaptSigma": self._library.sigma_adaptation.CMAAdaptSigmaCSA,
            # Rescaled coordinates are kept as `scaling`; a rotation of all parameters (the second number) would not be.
            "conditioncov_alleviate": [1e8, 0],
            "maxstd": None if self._box is None else (self._space.high - self._space.low) / 3,  # type: ignore[operator]
            "signals_filename": None,
            "tolx": TOLX * min(1.0, self._sigma),
            "tolfacupx": TOLFACUPX,
            **CRITERIA_OFF,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that sigma is larger than maxstd, to which it is then reduced
            strategy = self._library.CMAEvolutionStrategy(mean, self._sigma, options)
        strategy.ask()  # points of no use: it makes the object expect to be told
        return strategy

    def _randn(self, rows: int, columns: int) -> NDArray[np.float64]:
        """Normal numbers of (seed, version): those of `Philox(key)`, whose construction costs more than they do."""
        sequence = np.random.SeedSequence(self._seed, spawn_key=(PURPOSE, self._version))
        self._bits_start["state"]["key"][:] = sequence.generate_state(2, np.uint64)
        self._bits.state = self._bits_start
        return self._generator.standard_normal((rows, columns))

    def _asked(self) -> Any:
        """The object of the library that has asked for the points in `state`, and waits to be told their returns."""
        written = self._live is not None and (
            np.array_equal(self.state["counts"], self._live_counts)
            and np.array_equal(self._block, self._live_block)
            and np.array_equal(self.state["points"], self._live_points)  # which come from all that the matrices hold
        )
        if not written:
            self._live = self._restored()
        return self._live

    def _restored(self) -> Any:
        """The same, made from the arrays."""
        state, counts, scalars = self.state, self.state["counts"], self.state["scalars"]
        strategy = self._strategy(state["mean"].copy())
        strategy.mean_old = state["mean"].copy()
        strategy.sigma, strategy.adapt_sigma.delta = (float(number) for number in scalars)
        strategy.pc, strategy.pc2 = state["path"].copy(), state["coordinate_path"].copy()
        strategy.adapt_sigma.ps = state["sigma_path"].copy()
        strategy.countiter, strategy.countevals = int(counts[1]), int(counts[2])
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

    def _draw(self, strategy: Any, version: int) -> bool:
        """Draw the points for a version, and write them and all that the library remembers to `state`; not if they are not finite."""
        state, counts, self._version = self.state, self.state["counts"], version
        with np.errstate(all="ignore"):
            points = strategy.ask_geno().astype(self._space.dtype)  # `ask` keeps a dictionary of them besides
        if not np.isfinite(points).all():
            return False
        state["points"][:] = points
        state["mean"][:] = strategy.mean
        state["path"][:], state["coordinate_path"][:] = strategy.pc, strategy.pc2
        state["sigma_path"][:], state["scaling"][:] = strategy.adapt_sigma.ps, strategy.sigma_vec.scaling
        state["scalars"][:] = strategy.sigma, strategy.adapt_sigma.delta
        counts[:3] = version, strategy.countiter, strategy.countevals
        if strategy.countiter > 0:  # as one that is restored has it: it remembers its dimension
            strategy.sigma_vec = self._library.transformations.DiagonalDecoding(state["scaling"])
        sampler = strategy.sm
        if self.diagonal:
            state["sampler_std"][:] = np.sqrt(sampler.variances)
        else:
            state["covariance"][:], state["rotation"][:], state["axes"][:] = sampler.C, sampler.B, sampler.D
            counts[3:] = sampler.count_tell, sampler.last_update, sampler.count_eigen
        self._live = strategy
        self._live_block, self._live_points, self._live_counts = self._block.copy(), points, counts.copy()
        return True


class SepCma(CmaEs):
    """Separable CMA-ES: a diagonal covariance matrix, for any number of parameters."""

    name = "sep-cma"
    diagonal = True


def _find_library() -> None:
    if find_spec("cma") is None:
        raise UserError("cma-es and sep-cma need the package `cma` (pip install cma)")
