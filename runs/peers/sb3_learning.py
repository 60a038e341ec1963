"""What an algorithm of Stable-Baselines3 learns in given steps: what `sb3_a2c.py` and `sb3_ppo.py` share.

Written: for each environment and seed the mean of greedy episodes after training, of the last 100 episodes of training, and seconds.
Runs that the file already has are kept, so a command goes on where it was. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

REFERENCE = Path(__file__).parents[1] / "reference"
EVALUATION_EPISODES = 20

Make = Callable[[str, int], Any]
"""(environment, seed) -> a model of Stable-Baselines3's."""


def one(make: Make, env: str, seed: int, steps: int) -> dict[str, Any]:
    """Train once and evaluate."""
    model = make(env, seed)
    began = time.monotonic()
    model.learn(steps)
    seconds = time.monotonic() - began
    last = [episode["r"] for episode in model.ep_info_buffer or []]
    environment = Monitor(gymnasium.make(env))
    environment.reset(seed=seed + 10_000)
    greedy, _ = evaluate_policy(model, environment, EVALUATION_EPISODES, deterministic=True)
    return {
        "env": env,
        "seed": seed,
        "steps": model.num_timesteps,
        "seconds": round(seconds, 1),
        "steps_per_second": round(model.num_timesteps / seconds),
        "evaluation_return": round(float(np.mean(greedy)), 3),
        "return_mean_last_100": round(float(np.mean(last)), 3),
    }


def study(make: Make, steps: Mapping[str, int], seeds: int, file: str, head: Mapping[str, Any]) -> None:
    """The missing runs of environment -> steps, for as many seeds; `file` in runs/reference, `head`: what it says before the rows."""
    parser = argparse.ArgumentParser(description="Learning figures of Stable-Baselines3 with its defaults.")
    parser.add_argument("environments", nargs="*", default=list(steps))
    parser.add_argument("--seeds", type=int, default=seeds)
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = REFERENCE / file
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    versions = {"stable-baselines3": stable_baselines3.__version__, "torch": torch.__version__, "gymnasium": gymnasium.__version__}
    told = {**head, "evaluation_episodes": EVALUATION_EPISODES, "versions": versions}
    for seed in range(given.seeds):
        for env in given.environments:
            if any((row["env"], row["seed"]) == (env, seed) for row in rows):
                continue
            rows.append(one(make, env, seed, steps[env]))
            print(rows[-1], flush=True)
            path.write_text(json.dumps({**told, "rows": rows}, indent=1) + "\n")
