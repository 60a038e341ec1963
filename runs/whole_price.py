"""What whole updates (`--whole`), a record (`--record`) and diagnoses (`--diagnose`) cost: processor time and steps per second beside a run
without, in alternation.

    python runs/whole_price.py [ROUNDS] [STEPS] [WORKERS]

Each round runs the variants in turn, in rotated order; a ratio is of the same round's run without any. Default: 10 rounds of 500,000
steps on 2 workers, a3c on CartPole-v1. Processor time is that of all processes of a run, less that of a run of 2,000 steps, so without the
start; it moves less than the clock where other programs run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from typing import Any

import psutil

import asyncrl

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "whole": {"whole": True},
    "record": {"record": True},
    "whole, record": {"whole": True, "record": True},
    "diagnose": {"diagnose": 100},
}
SHORT = 2_000


def processor_seconds() -> float:
    """Of this process and all below it, also those that have ended: the fork server has waited for them."""
    main = psutil.Process()
    return sum(sum(one.cpu_times()[:4]) for one in (main, *main.children(recursive=True)))


def measure(folder: str, steps: int, workers: int, **settings: Any) -> tuple[float, float]:
    """Steps per second of one run, and its processor seconds."""
    more = {"steps": steps, "workers": workers, "mode": "async", "runs": folder, "quiet": True, "evaluation_episodes": 0, **settings}
    began = processor_seconds()
    speed = float(asyncrl.train("a3c", "CartPole-v1", evaluate_every=0, **more).summary["steps_per_second"])
    return speed, processor_seconds() - began


def main(rounds: int = 10, steps: int = 500_000, workers: int = 2) -> None:
    """Print the figures of all rounds, and the medians of their ratios."""
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for settings in VARIANTS.values():
            measure(folder, SHORT, workers, **settings)  # compiled before anything is measured
        starts = {name: measure(folder, SHORT, workers, **settings)[1] for name, settings in VARIANTS.items()}
        for number in range(rounds):
            names = list(VARIANTS)
            turn = number % len(names)
            found = {name: measure(folder, steps, workers, **VARIANTS[name]) for name in names[turn:] + names[:turn]}
            costs = {name: seconds - starts[name] for name, (_, seconds) in found.items()}
            for name, (speed, _) in found.items():
                ratios[name].append((costs[name] / costs["plain"], speed / found["plain"][0]))
            told = (f"{name} {1e6 * costs[name] / steps:.1f} us, {speed:,.0f}/s" for name, (speed, _) in found.items())
            print(f"round {number}: " + "; ".join(told), flush=True)
    for name, pairs in ratios.items():
        for what, values in zip(("processor time", "rate"), zip(*pairs)):
            low, high = min(values), max(values)
            print(f"{name}: {what} {statistics.median(values):.3f} of plain (from {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
