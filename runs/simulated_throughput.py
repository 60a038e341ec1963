"""How fast simulated runs are: steps per second of A3C on CartPole-v1 by 256 virtual workers, beside one real worker, in alternation.

    python runs/simulated_throughput.py [TURNS] [WORKERS]      (5 256)

Rates are of training alone, without the start. Prints each turn, and the median of the ratios.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from typing import Any

import asyncrl

STEPS = 400_000


def rate(**settings: Any) -> float:
    """Steps per second of a run."""
    with tempfile.TemporaryDirectory() as runs:
        settings = {"mode": "async", "steps": STEPS, "runs": runs, "quiet": True, "evaluation_episodes": 0, **settings}
        return float(asyncrl.train("a3c", "CartPole-v1", **settings).summary["steps_per_second"])


def main(turns: str = "5", workers: str = "256") -> None:
    """Print the rates of each turn and the median ratio."""
    ratios = []
    for turn in range(int(turns)):
        real, virtual = rate(workers=1), rate(workers=int(workers), simulate="exponential:1.0")
        ratios.append(virtual / real)
        print(f"turn {turn}: {real:9,.0f} by one worker, {virtual:9,.0f} by {workers} virtual ones: {ratios[-1]:.2f}", flush=True)
    print(f"median of the ratios: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
