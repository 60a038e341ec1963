"""What sites cost: two sites beside two local workers against four local workers, in alternation, as ratios.

    python runs/cluster_rates.py [ADDRESS] [--rounds 5] [--cases N ...]

Without an address it begins a Ray on this machine, whose sites share its cores; then only ratios mean something. Each case is run
`--rounds` times either way, one after the other; what is printed is the median of the ratios, and the least and the greatest. A ticket of
3 ms sleeps, so it needs no cores. Everything is in sync, where all wait for the last ticket of a generation; both ways give the same bits,
which is looked at.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import asyncrl


class Measured(NamedTuple):
    """A run."""

    seconds: float
    updates: int
    came_to: float
    """The same number, whoever has evaluated."""
    sent: float
    """Bytes that went to sites."""


def sleeps(x: np.ndarray) -> float:
    """3 ms without using a core."""
    time.sleep(0.003)
    return float(((x - 1.0) ** 2).sum())


def free(x: np.ndarray) -> float:
    """Next to nothing."""
    return float(((x - 1.0) ** 2).sum())


def minimised(function: Callable[..., float], size: int, population: int, generations: int, more: dict[str, Any]) -> Measured:
    """By es in sync."""
    settings = {"mode": "sync", "seed": 1, "population": population, **more}
    found = asyncrl.minimize(function, np.zeros(size), "es", population * generations, **settings)
    return Measured(found.seconds, found.updates, found.value, 0.0)


def trained(env: str, steps: int, more: dict[str, Any]) -> Measured:
    """By es in sync, with default options."""
    with tempfile.TemporaryDirectory() as folder:
        made = asyncrl.train("es", env, mode="sync", seed=1, steps=steps, evaluation_episodes=0, runs=folder, quiet=True, **more)
    summary = made.summary
    sent = sum(site["bytes"] for site in summary.get("sites") or ())
    return Measured(summary["steps"] / summary["steps_per_second"], summary["updates"], float(summary["steps"]), sent)


CASES: dict[str, Callable[[dict[str, Any]], Measured]] = {
    "3 ms a call, N = 200, population 40": lambda more: minimised(sleeps, 200, 40, 200, more),
    "3 ms a call, N = 200, population 400": lambda more: minimised(sleeps, 200, 400, 20, more),
    "free, N = 200, population 40": lambda more: minimised(free, 200, 40, 500, more),
    "free, N = 250,000, population 40": lambda more: minimised(free, 250_000, 40, 40, more),
    "HalfCheetah-v5": lambda more: trained("HalfCheetah-v5", 400_000, more),
}


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)), help="numbers of cases, from 0 on")
    given = parser.parse_args()
    sites = {"workers": 2, "engine": "ray", "address": given.address, "sites": 2, "site_workers": 1}
    for name, case in (list(CASES.items())[number] for number in given.cases):
        ratios, added = [], []
        for _ in range(given.rounds):
            here, there = case({"workers": 4}), case(sites)
            assert here.came_to == there.came_to, "the same bits"
            ratios.append(here.seconds / there.seconds)
            added.append(1000 * (there.seconds - here.seconds) / max(there.updates, 1))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        more = statistics.median(added)
        sent = f", {there.sent / max(there.updates, 1) / 1000:,.0f} kB sent a generation" if there.sent else ""
        print(f"{name}: {statistics.median(ratios):.2f} of the rate ({spread}), {more:.1f} ms more a generation{sent}", flush=True)


if __name__ == "__main__":
    main()
