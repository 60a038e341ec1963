"""Steps a second of Stable-Baselines3's PPO beside `asyncrl train ppo` at its settings, in turn on the same cores.

It needs an environment of its own, that of sb3_ppo.py:

    python runs/peers/ppo_rates.py peers/bin/python       # in asyncrl's environment; about 5 minutes

Each is measured three times, one after the other: training from the second rollout on, without evaluations. Theirs is one process
with one thread; ours two actors of 1,024 steps, or one of 2,048, and the learner, which in sync work in turn. Both have 2,048 steps
a rollout, minibatches of 64, 10 epochs and networks of 64 64. Prints the figures and writes runs/reference/ppo-rates.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ENVIRONMENTS, ROUNDS, ROLLOUT = ("CartPole-v1", "HalfCheetah-v5", "Hopper-v5"), 3, 2048
PEER_ROLLOUTS, OWN_ROLLOUTS = 8, 60
AS_SB3: dict[str, Any] = {"anneal": "constant", "normalize_returns": False}


def peer(env: str) -> float:
    """Stable-Baselines3, in the peers' environment."""
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)
    model = PPO("MlpPolicy", env, seed=0, device="cpu")
    model.learn(ROLLOUT)
    began = time.perf_counter()
    model.learn(PEER_ROLLOUTS * ROLLOUT, reset_num_timesteps=False)
    return PEER_ROLLOUTS * ROLLOUT / (time.perf_counter() - began)


def own(env: str, workers: int) -> float:
    """Ours, with so many actors."""
    import asyncrl

    settings = {"steps": OWN_ROLLOUTS * ROLLOUT, "quiet": True, "evaluation_episodes": 0, **AS_SB3}
    with tempfile.TemporaryDirectory() as folder:
        run = asyncrl.train("ppo", env, workers=workers, runs=folder, **settings)
    return float(run.summary["steps_per_second"])


def main(python: str) -> None:
    """All rows."""
    rates: dict[str, dict[str, list[float]]] = {env: {"sb3": [], "workers 2": [], "workers 1": []} for env in ENVIRONMENTS}
    for _ in range(ROUNDS):
        for env in ENVIRONMENTS:
            said = subprocess.run([python, __file__, "--peer", env], capture_output=True, text=True, check=True).stdout
            rates[env]["sb3"].append(float(said.splitlines()[-1]))
            for workers in (2, 1):
                rates[env][f"workers {workers}"].append(own(env, workers))
            print(env, {name: round(found[-1]) for name, found in rates[env].items()}, flush=True)
    table = {env: {name: round(statistics.median(found)) for name, found in rows.items()} for env, rows in rates.items()}
    ratios = {env: round(row["workers 2"] / row["sb3"], 1) for env, row in table.items()}
    print(table, ratios)
    data = {"command": "python runs/peers/ppo_rates.py PYTHON", "medians": table, "ratios": ratios, "rates": rates}
    (Path(__file__).parent.parent / "reference" / "ppo-rates.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        print(peer(sys.argv[2]))
    else:
        main(sys.argv[1])
