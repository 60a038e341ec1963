"""What a site costs: rates with two sites beside two local workers and with four local workers, in alternation, as ratios.

    python runs/cluster_rates.py [ADDRESS] [--rounds 5]

Without an address it begins a Ray on this machine, whose sites share its cores; then only ratios mean something, and only where the
machine has four cores to give. Each case is run `--rounds` times either way, one after the other; what is printed is the median of the
ratios, and the least and the greatest. A ticket of 3 ms sleeps, so it needs no cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import asyncrl


def sleeps(x: np.ndarray) -> float:
    """3 ms without using a core."""
    time.sleep(0.003)
    return float(((x - 1.0) ** 2).sum())


def free(x: np.ndarray) -> float:
    """Next to nothing."""
    return float(((x - 1.0) ** 2).sum())


CASES: dict[str, tuple[Callable[..., float], int, int]] = {
    "3 ms a call, N = 200": (sleeps, 200, 4_000),
    "free, N = 200": (free, 200, 8_000),
    "free, N = 250,000": (free, 250_000, 400),
}


def measured(case: str, more: dict[str, Any]) -> asyncrl.Minimum:
    """One minimisation by es in sync."""
    function, size, evaluations = CASES[case]
    return asyncrl.minimize(function, np.zeros(size), "es", evaluations, mode="sync", seed=1, population=40, **more)


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    sites = {"workers": 2, "engine": "ray", "address": given.address, "sites": 2, "site_workers": 1}
    for case in CASES:
        ratios, added = [], []
        for _ in range(given.rounds):
            here, there = measured(case, {"workers": 4}), measured(case, sites)
            assert here.value == there.value, "the same bits"
            ratios.append(here.seconds / there.seconds)
            added.append(1000 * (there.seconds - here.seconds) / max(there.updates, 1))
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        more = statistics.median(added)
        print(f"{case}: {statistics.median(ratios):.2f} of the rate ({spread}), {more:.1f} ms more a generation", flush=True)


if __name__ == "__main__":
    main()
