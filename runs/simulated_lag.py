"""Whether a simulated run predicts the lag of the real one whose times it was given.

    python runs/simulated_lag.py [WORKERS ...]      (2 4)

A3C on CartPole-v1 in `async`, recorded and then simulated by its own times. Prints both distributions of lag, and their
Kolmogorov-Smirnov distance: the largest difference between the two shares of updates that are at most so late.
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np

import asyncrl
from asyncrl.progress import LAG_BINS

STEPS = 400_000


def lags(workers: int, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """How often each lag occurred [LAG_BINS], as shares of all: in the real run and in the simulated one."""
    with tempfile.TemporaryDirectory() as runs:
        settings = {"workers": workers, "mode": "async", "steps": steps, "runs": runs, "quiet": True, "evaluation_episodes": 0}
        real = asyncrl.train("a3c", "CartPole-v1", record=True, **settings)
        virtual = asyncrl.train("a3c", "CartPole-v1", simulate=f"recorded:{real.folder}", **settings)
    return shares(real.summary["lag"]["histogram"]), shares(virtual.summary["lag"]["histogram"])


def shares(histogram: dict[str, int]) -> np.ndarray:
    """The share of each lag [LAG_BINS]."""
    counts = np.array([histogram.get(str(lag), 0) for lag in range(LAG_BINS)], np.float64)
    return counts / counts.sum()


def main(*workers: str) -> None:
    """Print both distributions for each number of workers."""
    for count in map(int, workers or ("2", "4")):
        real, virtual = lags(count)
        distance = np.abs(np.cumsum(real) - np.cumsum(virtual)).max()
        print(f"{count} workers: Kolmogorov-Smirnov distance {distance:.3f}")
        print("  lag       real  simulated")
        for lag in np.flatnonzero(np.maximum(real, virtual) > 0.001):
            print(f"  {lag:3}{'+' if lag == LAG_BINS - 1 else ' '}   {real[lag]:7.1%}   {virtual[lag]:8.1%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
