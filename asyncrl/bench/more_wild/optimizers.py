"""The searches that are compared. None is tuned to a problem: each has its own defaults, scaled to the same sigma0.

If an algorithm's step size is in units of parameters, its default ratio of step to sigma is kept. Weight decay is off, since the
point 0 has no special role in these problems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.algos.ars import Ars, ArsOptions
from asyncrl.algos.cma_es import CmaEs, CmaEsOptions, SepCma
from asyncrl.algos.es import Es, EsOptions
from asyncrl.algos.nes import Nes, NesOptions
from asyncrl.bench.more_wild.runner import Factory

if TYPE_CHECKING:
    from asyncrl.blackbox.search import Search

SIGMA_RULE = "0.1 max(1, largest component of abs(x0))"


def sigma0_of(start: NDArray[np.float64]) -> float:
    """Initial standard deviation, from a problem's start [n]; the same for every search."""
    return 0.1 * max(1.0, float(np.abs(start).max()))


@dataclass(frozen=True)
class Optimizer:
    """A search of the study: its description and its constructor."""

    description: str
    make: Factory
    against: str = ""
    """Name of the search that differs from it in the directions only."""


def _es(directions: Any, pairs: float = 1.0) -> Factory:
    """ES with `pairs` antithetic pairs per parameter; with 1, orthogonal directions are a basis of the space."""

    def make(n: int, sigma0: float, seed: int) -> Search:
        population = 2 * max(round(pairs * n), 1)
        options = EsOptions(population=population, sigma=sigma0, directions=directions, **EsOptions.for_functions(sigma0))
        return Es(options, n, seed)

    return make


def _ars(directions: Any) -> Factory:
    def make(n: int, sigma0: float, seed: int) -> Search:
        options = ArsOptions(population=2 * n, sigma=sigma0, directions=directions, **ArsOptions.for_functions(sigma0))
        return Ars(options, n, seed)

    return make


def _nes(kind: Any) -> Factory:
    def make(n: int, sigma0: float, seed: int) -> Search:
        return Nes(NesOptions(kind=kind, sigma=sigma0), n, seed)

    return make


def _cma_es(n: int, sigma0: float, seed: int) -> Search:
    return CmaEs(CmaEsOptions(sigma=sigma0), n, seed)


def _sep_cma(n: int, sigma0: float, seed: int) -> Search:
    return SepCma(CmaEsOptions(sigma=sigma0), n, seed)


OPTIMIZERS: dict[str, Optimizer] = {
    "es": Optimizer("ES, n antithetic pairs, Gaussian directions", _es("gaussian")),
    "es-orthogonal": Optimizer("the same with orthogonal directions, lengths chi-distributed", _es("orthogonal"), "es"),
    "es-orthogonal-fixed": Optimizer("the same with orthogonal directions of length sqrt(n)", _es("orthogonal-fixed"), "es"),
    "es-hadamard": Optimizer("the same with Hadamard-Rademacher directions", _es("hadamard"), "es"),
    "es-half": Optimizer("ES, n/2 antithetic pairs, Gaussian directions", _es("gaussian", 0.5)),
    "es-half-orthogonal": Optimizer("the same with orthogonal directions", _es("orthogonal", 0.5), "es-half"),
    "es-double": Optimizer("ES, 2n antithetic pairs, Gaussian directions", _es("gaussian", 2.0)),
    "es-double-orthogonal": Optimizer("the same with orthogonal directions, two blocks", _es("orthogonal", 2.0), "es-double"),
    "ars": Optimizer("ARS, n directions, all of them used", _ars("gaussian")),
    "ars-orthogonal": Optimizer("the same with orthogonal directions", _ars("orthogonal"), "ars"),
    "nes": Optimizer("SNES, the paper's settings", _nes("snes")),
    "xnes": Optimizer("xNES, the paper's settings", _nes("xnes")),
    "cma-es": Optimizer("CMA-ES of the cma library, its settings", _cma_es),
    "sep-cma": Optimizer("sep-CMA of the cma library, its settings", _sep_cma),
}

DEFAULT = ("es", "es-orthogonal", "ars", "nes", "sep-cma", "cma-es")
