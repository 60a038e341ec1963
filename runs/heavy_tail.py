"""Evaluations a second where episodes take very unequal times, in sync, pipelined and async. Usage: python runs/heavy_tail.py

Four workers; an episode sleeps 5 ms times a factor, so that the processor is idle and only waiting counts. The factor is drawn
from a Pareto distribution (shape 1.1, cut at 40), or it is 1, and 12 in one episode of ten. What counts are the evaluations that
the learner used, not those that it left out as too late; so that few are, steps are short beside sigma (a tenth of it, where the
default is 0.4) and an age of 64 updates is allowed. The return of what was learned stands beside each rate: the same number of
evaluations, so a mode that used worse ones shows it. Writes runs/reference/heavy-tail.json.
"""

import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import asyncrl

REPEATS, EVALUATIONS, GOAL = 3, 1000, 2.0
SETTINGS: dict[str, Any] = {"learning_rate": 0.005, "max_lag": 64, "normalize_observations": False}
MODES = ("sync", "pipelined", "async")


class HeavyTail(gymnasium.Env[Any, Any]):
    """Ten steps; each costs the squared distance of the action to GOAL, and noise."""

    def __init__(self, kind: str = "pareto") -> None:
        self._kind = kind
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        pareto, rare = min(self.np_random.pareto(1.1) + 0.1, 40.0), 12.0 if self.np_random.random() < 0.1 else 1.0
        time.sleep(0.005 * (pareto if self._kind == "pareto" else rare))
        return np.ones(3, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = -((float(action[0]) - GOAL) ** 2) + 0.1 * self.np_random.standard_normal()
        return np.ones(3, np.float32), reward, False, self._steps == 10, {}


def measure(kind: str, mode: str, population: int, seed: int) -> dict[str, float]:
    """Evaluations a second that were made and that were used, and the return at the end."""
    steps = 10 * EVALUATIONS
    result = asyncrl.train(
        "es", lambda: HeavyTail(kind), mode=mode, seed=seed, population=population, workers=4, steps=steps, quiet=True, **SETTINGS
    )
    summary = result.summary
    versions = summary["updates"] + summary["skipped_updates"]
    used = versions * population - summary["counts"]["late_dropped"]
    rates = {"made": summary["episodes"] / summary["seconds"], "used": used / summary["seconds"]}
    return {**{name: round(rate, 1) for name, rate in rates.items()}, "return": round(summary["evaluation_return"], 2)}


if __name__ == "__main__":
    rows = []
    for kind in ("pareto", "one in ten"):
        for population in (4, 8):
            for seed in range(REPEATS):
                found = {mode: measure(kind, mode, population, seed) for mode in MODES}
                ratios = {what: round(found["async"][what] / found["sync"][what], 2) for what in ("made", "used")}
                rows.append({"lengths": kind, "population": population, "seed": seed, **found, "async_over_sync": ratios})
                print(rows[-1], flush=True)
    path = Path(__file__).parent / "reference" / "heavy-tail.json"
    data = {"command": "python runs/heavy_tail.py", "workers": 4, "evaluations": EVALUATIONS, "settings": SETTINGS, "rows": rows}
    path.write_text(json.dumps(data, indent=1) + "\n")
