"""What whole updates (`--whole`) and a record (`--record`) cost: steps per second beside a run without, in alternation.

    python runs/whole_price.py [ROUNDS] [STEPS] [WORKERS]

Each round runs the variants in turn, in rotated order; a ratio is of the same round's run without either. Default: 5 rounds of 200,000
steps on 2 workers, a3c on CartPole-v1. On a busy machine the ratios say nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile

import asyncrl

VARIANTS = {"plain": {}, "whole": {"whole": True}, "record": {"record": True}, "whole, record": {"whole": True, "record": True}}


def measure(folder: str, steps: int, workers: int, **settings: bool) -> float:
    """Steps per second of one run."""
    more = {"steps": steps, "workers": workers, "mode": "async", "runs": folder, "quiet": True, "evaluation_episodes": 0, **settings}
    return float(asyncrl.train("a3c", "CartPole-v1", evaluate_every=0, **more).summary["steps_per_second"])


def main(rounds: int = 5, steps: int = 200_000, workers: int = 2) -> None:
    """Print the ratios of all rounds, and their medians."""
    ratios: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for settings in VARIANTS.values():
            measure(folder, 2000, workers, **settings)  # compiled before anything is measured
        for number in range(rounds):
            names = list(VARIANTS)
            found = {name: measure(folder, steps, workers, **VARIANTS[name]) for name in names[number % 4 :] + names[: number % 4]}
            for name, speed in found.items():
                ratios[name].append(speed / found["plain"])
            print(f"round {number}: " + ", ".join(f"{name} {speed:,.0f}" for name, speed in found.items()), flush=True)
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.3f} of plain (from {min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
