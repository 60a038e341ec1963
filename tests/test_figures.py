"""Which figures reports have: what an algorithm has, and nothing of what it has not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import asyncrl
from asyncrl.algos import ALGORITHMS

ON_POLICY = {"policy_loss", "value_loss", "entropy", "value_mean", "explained_variance", "gradient_norm"}
VALUES = {"value_loss", "q_mean", "q_target_mean", "gradient_norm", "gradient_norm_clipped"}
OFF_POLICY = {f"{network}_gradient_norm{kind}" for network in ("critic", "policy") for kind in ("", "_clipped")}
OFF_POLICY |= {"critic_loss", "policy_loss", "q_mean", "q_target_mean"}
CLIPPED = {"gradient_norm_clipped"}
STD = {"policy_std"}
OF_ALL = ON_POLICY | VALUES | OFF_POLICY | STD
"""Names that are compared; algorithms have others besides."""

HAS = {
    **dict.fromkeys(("a3c", "a2c", "impala", "appo", "ppo"), ON_POLICY | CLIPPED | STD),
    "npg": ON_POLICY | STD,
    **dict.fromkeys(("q1", "sarsa", "nq"), VALUES),
    **dict.fromkeys(("ddpg", "td3"), OFF_POLICY),
    "sac": OFF_POLICY | {"entropy"} | STD,
}
REPLAY: dict[str, Any] = {"warm_up": 50, "batch": 16, "hidden": (16,)}
FIRST_OF_ITS_KIND = ("a3c", "ppo", "npg", "q1")


def test_every_algorithm_but_searches_is_here():
    assert set(HAS) == {name for name, entry in ALGORITHMS.items() if not entry.searches}


def learned(folder: Path) -> dict[str, float]:
    """Every `learn/` figure of a run's reports, the newest of each."""
    reports = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {name.removeprefix("learn/"): value for report in reports for name, value in report.items() if name.startswith("learn/")}


@pytest.mark.parametrize("algo", [pytest.param(algo, marks=() if algo in FIRST_OF_ITS_KIND else pytest.mark.slow) for algo in HAS])
def test_reports_have_what_the_algorithm_has_and_nothing_else(tmp_path, algo):
    env = "CartPole-v1" if ALGORITHMS[algo].learns_values else "Pendulum-v1"
    settings = REPLAY if ALGORITHMS[algo].options_type.has("warm_up") else {"t_max": 200}
    settings = {**settings, "steps": 800, "workers": 1, "mode": "sync", "quiet": True, "evaluation_episodes": 0}
    found = learned(asyncrl.train(algo, env, runs=str(tmp_path), **settings).folder)
    assert set(found) & OF_ALL == HAS[algo]
    for name in found:
        if name.endswith("norm_clipped"):
            assert 0 < found[name] <= found[name.removesuffix("_clipped")] * (1 + 1e-6)
    if "policy_std" in found and algo != "sac":
        assert found["policy_std"] == pytest.approx(1.0, abs=0.3), "at the start the deviation is 1"


def test_a_discrete_policy_has_no_deviation(tmp_path):
    settings = {"steps": 400, "workers": 1, "quiet": True, "evaluation_episodes": 0}
    found = learned(asyncrl.train("a3c", "CartPole-v1", runs=str(tmp_path), **settings).folder)
    assert set(found) & OF_ALL == ON_POLICY | CLIPPED
