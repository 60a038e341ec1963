"""The learning figures of value learning: five seeds of CartPole-v1 with default options. Usage: python runs/values.py [speed] [ALGO ...]

Writes runs/reference/cartpole-<algo>.json: for every seed the greedy evaluation (100 episodes) after 500,000 steps in async with
two workers, the final epsilon that each worker drew, the best mean of 100 training episodes in a row (epsilon's random actions
included) and the step at which it was reached; then steps per second with one worker and with two, in turn. `speed` measures
only those again, and leaves the rest of the file as it is.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import asyncrl
from asyncrl.actors.spelling import parse_exploration
from asyncrl.algos import ALGORITHMS

ENV, SEEDS, WORKERS, STEPS, THRESHOLD = "CartPole-v1", range(5), 2, 500_000, 475.0
SPEED_SECONDS, SPEED_TURNS = 5.0, 3
KEPT = ("seed", "evaluation_return", "return_best_mean_100", "return_best_steps", "return_mean_last_100", "steps", "seconds")


def learning(algo: str) -> list[dict[str, Any]]:
    rows = []
    for seed in SEEDS:
        result = asyncrl.train(algo, ENV, workers=WORKERS, steps=STEPS, seed=seed, evaluation_episodes=100, quiet=True)
        settings = parse_exploration(ALGORITHMS[algo].default_explore, WORKERS, seed)
        rows.append({**{key: result.summary[key] for key in KEPT}, "epsilons": [one[0].value for one in settings]})
        print(algo, rows[-1], flush=True)
    return rows


def speed(algo: str) -> dict[str, Any]:
    """Steps per second: the median of several turns, each with one worker and then with two."""
    found: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(SPEED_TURNS):
        for workers, rates in found.items():
            settings = {"steps": 10**9, "seconds": SPEED_SECONDS, "seed": turn, "evaluation_episodes": 0, "quiet": True}
            rates.append(asyncrl.train(algo, ENV, workers=workers, **settings).summary["steps_per_second"])
    medians = {workers: float(np.median(rates)) for workers, rates in found.items()}
    return {"steps_per_second": {str(workers): rates for workers, rates in found.items()}, "speed_up": medians[2] / medians[1]}


def study(algo: str, only_speed: bool) -> None:
    path = Path(__file__).parent / "reference" / f"cartpole-{algo}.json"
    if only_speed:
        data = json.loads(path.read_text())
    else:
        rows = learning(algo)
        passed = sum(row["evaluation_return"] >= THRESHOLD for row in rows)
        data = {"env": ENV, "mode": "async", "workers": WORKERS, "steps": STEPS, "rows": rows, "threshold": THRESHOLD, "passed": passed}
    data |= speed(algo)
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(f"{algo}: {data['passed']} of {len(data['rows'])} seeds reach {THRESHOLD:g}; speed-up from 1 to 2 workers {data['speed_up']:.2f}")


if __name__ == "__main__":
    names = sys.argv[1:]
    only_speed = names[:1] == ["speed"]
    for algo in names[only_speed:] or ("q1", "sarsa", "nq"):
        study(algo, only_speed)
