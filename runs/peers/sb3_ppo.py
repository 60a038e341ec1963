"""PPO of Stable-Baselines3 with its defaults, beside `python runs/learning.py ppo`. In an environment of its own that has

    pip install torch==2.13.0 'gymnasium[classic-control,mujoco]' stable-baselines3==2.9.2
    python runs/peers/sb3_ppo.py

One environment, as SB3's default has it: 2,048 steps a rollout, minibatches of 64, 10 epochs. One thread. Writes
runs/reference/sb3-ppo.json: for each environment and seed the mean of greedy episodes after training, of the last 100 episodes of
training, and seconds. Runs that the file already has are kept, so the command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

REFERENCE = Path(__file__).parents[1] / "reference"
EVALUATION_EPISODES = 20
STEPS = {"CartPole-v1": 200_000, "HalfCheetah-v5": 1_000_000, "Hopper-v5": 1_000_000}


def one(env: str, seed: int) -> dict[str, Any]:
    """Train once and evaluate."""
    model = PPO("MlpPolicy", env, seed=seed, device="cpu")
    began = time.monotonic()
    model.learn(STEPS[env])
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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Learning figures of Stable-Baselines3's PPO with its defaults.")
    parser.add_argument("environments", nargs="*", default=list(STEPS))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = REFERENCE / "sb3-ppo.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    versions = {"stable-baselines3": stable_baselines3.__version__, "torch": torch.__version__, "gymnasium": gymnasium.__version__}
    head = {"command": "python runs/peers/sb3_ppo.py", "evaluation_episodes": EVALUATION_EPISODES}
    for seed in range(given.seeds):
        for env in given.environments:
            if any((row["env"], row["seed"]) == (env, seed) for row in rows):
                continue
            rows.append(one(env, seed))
            print(rows[-1], flush=True)
            path.write_text(json.dumps({**head, "versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
