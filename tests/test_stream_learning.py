"""Streams learn: the whole of each on-policy algorithm, on CartPole, with its own defaults but for what is said. `sync`: no luck in it."""

from __future__ import annotations

from typing import Any

import pytest
from running import train

SETTINGS: dict[str, dict[str, Any]] = {
    "impala": {"steps": 60_000},
    "appo": {"steps": 40_000},
    "ppo": {"steps": 40_000},
    "npg": {"steps": 60_000},
}
RANDOM = 23.0
"""Mean return of a policy that has learned nothing."""


@pytest.mark.parametrize("algo", SETTINGS)
def test_it_learns_cartpole(tmp_path, algo):
    run = train(tmp_path, "CartPole-v1", algo=algo, mode="sync", workers=2, seed=1, **SETTINGS[algo])
    print(algo, run.summary["return_best_mean_100"], run.summary["seconds"])
    assert run.summary["return_best_mean_100"] > 4 * RANDOM
