"""What an evaluation costs `asyncrl.minimize` beside the library `cma` alone, and from which cost of a function on workers pay.

    python runs/minimize_cost.py            # into runs/reference/minimize-cost.json

The function works for a given time and then gives the sphere in 10 dimensions; the library's own loop (ask, evaluate, tell, stop) in one
process, and `minimize` with one worker and with two, take turns, each with the same number of evaluations. Times are without the start of
processes. A machine on which others work makes all of them slower, and so the median of several turns is taken of each ratio.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np

import asyncrl

N, TURNS = 10, 3
COSTS = {0: 4000, 50: 4000, 100: 4000, 200: 3000, 500: 2000, 1000: 1500, 3000: 700}
"""Microseconds of an evaluation -> evaluations."""
OPTIONS = {"verbose": -9, "tolx": 0, "tolfun": 0, "tolfunhist": 0, "tolstagnation": 0, "tolxstagnation": False, "maxiter": 10**9}


def function_of(microseconds: float):
    def function(x):
        end = time.perf_counter() + 1e-6 * microseconds
        value = float(((x - 1.0) ** 2).sum())
        while microseconds and time.perf_counter() < end:
            pass
        return value

    return function


def library(function, evaluations: int) -> float:
    """Seconds an evaluation."""
    import cma

    strategy = cma.CMAEvolutionStrategy(np.zeros(N), 0.3, {**OPTIONS, "AdaptSigma": cma.sigma_adaptation.CMAAdaptSigmaCSA})
    began = time.perf_counter()
    while strategy.countevals < evaluations and not strategy.stop():
        points = strategy.ask()
        strategy.tell(points, [function(x) for x in points])
    return (time.perf_counter() - began) / strategy.countevals


def ours(function, evaluations: int, workers: int) -> float:
    """The same."""
    found = asyncrl.minimize(function, np.zeros(N), "cma-es", evaluations, workers, sigma=0.3)
    return found.seconds / found.evaluations


def main() -> None:
    warnings.simplefilter("ignore")
    rows = []
    for cost, evaluations in COSTS.items():
        function, turns = function_of(cost), []
        for _ in range(TURNS):
            turns.append([1e6 * library(function, evaluations), *(1e6 * ours(function, evaluations, workers) for workers in (1, 2))])
        alone, one, two = (median(column) for column in zip(*turns))
        row = {"function_us": cost, "library_us": alone, "one_worker_us": one, "two_workers_us": two}
        row |= {f"{name}_over_library": median(turn[k] / turn[0] for turn in turns) for k, name in ((1, "one_worker"), (2, "two_workers"))}
        rows.append({name: round(value, 2) for name, value in row.items()})
        print(rows[-1], flush=True)
    Path(__file__).with_name("reference").joinpath("minimize-cost.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
