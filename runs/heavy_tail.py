"""Evaluations a second where episodes take very unequal times, in sync and async. Usage: python runs/heavy_tail.py

Four workers; an episode sleeps 5 ms times a factor, so that the processor is idle and only waiting counts. The factor is drawn
from a Pareto distribution (shape 1.1, cut at 40), or it is 1, and 12 in one episode of ten. Writes runs/reference/heavy-tail.json.
"""

import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import asyncrl

REPEATS = 3


class HeavyTail(gymnasium.Env[Any, Any]):
    """Ten steps; the reward is the action's first component."""

    def __init__(self, kind: str = "pareto") -> None:
        self._kind = kind
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        pareto, rare = min(self.np_random.pareto(1.1) + 0.1, 40.0), 12.0 if self.np_random.random() < 0.1 else 1.0
        time.sleep(0.005 * (pareto if self._kind == "pareto" else rare))
        return np.ones(3, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return np.ones(3, np.float32), float(action[0]), False, self._steps == 10, {}


def evaluations_a_second(kind: str, mode: str, population: int, seed: int) -> float:
    settings: dict[str, Any] = {"workers": 4, "steps": 10_000, "quiet": True, "evaluation_episodes": 0, "normalize_observations": False}
    result = asyncrl.train("es", lambda: HeavyTail(kind), mode=mode, seed=seed, population=population, **settings)
    return float(result.summary["episodes"] / result.summary["seconds"])


if __name__ == "__main__":
    rows = []
    for kind in ("pareto", "one in ten"):
        for population in (4, 8):
            for seed in range(REPEATS):
                rates = {mode: evaluations_a_second(kind, mode, population, seed) for mode in ("sync", "pipelined", "async")}
                ratio = rates["async"] / rates["sync"]
                rows.append({"lengths": kind, "population": population, "seed": seed, **rates, "async_over_sync": ratio})
                print(rows[-1], flush=True)
    path = Path(__file__).parent / "reference" / "heavy-tail.json"
    path.write_text(json.dumps({"command": "python runs/heavy_tail.py", "workers": 4, "rows": rows}, indent=1) + "\n")
