"""Learning figures over seeds. Usage: python runs/learning.py STUDY [MODE ...], for example cartpole, or impala-cartpole async

Writes runs/reference/<study>-<mode>.json: settings, and for every seed the greedy evaluation after training, the best mean of
100 training episodes in a row and the step at which it was reached.
"""

import json
import sys
from pathlib import Path

import numpy as np

import asyncrl

SEEDS = range(5)
HALFCHEETAH = {"steps": 1_000_000, "normalize_observations": True, "reward_scale": 0.1, "initial_log_std": -0.5}
IMPALA_CHEETAH = {**HALFCHEETAH, "t_max": 20, "batch_units": 1, "gamma": 0.98, "gae_lambda": 0.9}
STUDIES = {
    "cartpole": ("a3c", "CartPole-v1", {"sync": {"steps": 500_000}, "async": {"steps": 500_000}}),
    "halfcheetah": (
        "a3c",
        "HalfCheetah-v5",
        {
            "sync": {**HALFCHEETAH, "t_max": 20, "learning_rate": 7e-4},
            "async": {**HALFCHEETAH, "t_max": 32, "learning_rate": 1e-3},
        },
    ),
    "impala-cartpole": ("impala", "CartPole-v1", {"async": {"steps": 500_000}, "sync": {"steps": 500_000}}),
    "impala-halfcheetah": ("impala", "HalfCheetah-v5", {"async": IMPALA_CHEETAH}),
}
KEPT = ("seed", "evaluation_return", "return_best_mean_100", "return_best_steps", "return_mean_last_100", "steps", "seconds")


def study(name: str, mode: str) -> None:
    algo, env, settings_of = STUDIES[name]
    settings = {"workers": 2, **settings_of[mode]}
    rows = []
    for seed in SEEDS:
        result = asyncrl.train(algo, env, mode=mode, seed=seed, quiet=True, **settings)
        rows.append({key: result.summary[key] for key in KEPT})
        print(name, mode, rows[-1], flush=True)
    returns = np.array([row["evaluation_return"] for row in rows])
    resampled = np.random.default_rng(0).choice(returns, (10_000, len(returns))).mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    data = {"algo": algo, "env": env, "mode": mode, "settings": settings, "rows": rows}
    data |= {"evaluation_mean": returns.mean(), "interval_95": [low, high]}
    path = Path(__file__).parent / "reference" / f"{name}-{mode}.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(f"{name} {mode}: mean evaluation {returns.mean():.0f}, 95 % bootstrap interval {low:.0f} to {high:.0f}")


if __name__ == "__main__":
    for mode in sys.argv[2:] or STUDIES[sys.argv[1]][2]:
        study(sys.argv[1], mode)
