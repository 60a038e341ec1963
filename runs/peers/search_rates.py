"""Steps a second of EvoTorch's and sb3-contrib's searches on HalfCheetah-v5 beside ours, on the same cores, one after the other.

They need an environment of their own:

    python -m venv peers
    peers/bin/pip install torch==2.13.0
    peers/bin/pip install evotorch==0.6.1 sb3-contrib==2.9.2 'gymnasium[mujoco]>=1.2,<2' 'mujoco>=3.17,<4'
    python runs/peers/search_rates.py peers/bin/python       # in asyncrl's environment; about 3 minutes

All search for a linear policy without biases, with observations normalised, 64 evaluations of one episode a generation (but for the
row that says eight), two processes beside the main one. A row's figure is that of whole generations, begun after the first one, for
at least SECONDS. Ours is `asyncrl bench throughput HalfCheetah-v5 --workers 2 --only es:sync,es:async`, which measures the
simulator's limit beside it. Prints the figures and writes runs/reference/peers-halfcheetah-linear.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

ENV, WORKERS, POPULATION, SECONDS = "HalfCheetah-v5", 2, 64, 20.0
PEERS = {
    "evotorch_gym": "EvoTorch PGPE, GymNE with 2 actors",
    "evotorch_vec": "EvoTorch PGPE, VecGymNE with 2 actors: each steps its half of the population in turn, one network call for all",
    "sb3_ars": "sb3-contrib ARS, AsyncEval with 2 processes",
    "sb3_ars_8": "sb3-contrib ARS, AsyncEval with 2 processes of 8 environments each: 8 episodes a candidate",
}


def rate(generation: Callable[[], Any], steps: Callable[[], int]) -> float:
    """Steps a second of whole generations, after the first."""
    generation()
    began, before = time.perf_counter(), steps()
    while time.perf_counter() - began < SECONDS:
        generation()
    return (steps() - before) / (time.perf_counter() - began)


def evotorch(kind: str) -> float:
    """One of EvoTorch's problems."""
    from evotorch.algorithms import PGPE
    from evotorch.neuroevolution import GymNE, VecGymNE

    network = "Linear(obs_length, act_length, bias=False)"
    settings: dict[str, Any] = {"observation_normalization": True, "num_actors": WORKERS}
    problem = GymNE(ENV, network, **settings) if kind == "gym" else VecGymNE(f"gym::{ENV}", network, **settings)
    searcher = PGPE(
        problem,
        popsize=POPULATION,
        center_learning_rate=0.05,
        stdev_learning_rate=0.0,
        stdev_init=0.05,
        optimizer="clipup",
        optimizer_config={"max_speed": 0.1},
        ranking_method="centered",
    )
    return rate(searcher.step, lambda: int(searcher.status["total_interaction_count"]))


def sb3_ars(environments: int) -> float:
    """sb3-contrib's, each process with so many environments, and as many episodes a candidate."""
    from sb3_contrib import ARS
    from sb3_contrib.common.vec_env import AsyncEval
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    def make() -> VecNormalize:
        return VecNormalize(make_vec_env(ENV, n_envs=environments), norm_reward=False)

    class Enough(Exception):
        """Ends the training: a callback that returns False is not heeded between candidates."""

    class Clock(BaseCallback):
        """Keeps (seconds, steps) of each generation's end."""

        marks: ClassVar[list[tuple[float, int]]] = []

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.marks.append((time.perf_counter(), self.model.num_timesteps))
            if self.marks[-1][0] - self.marks[0][0] > SECONDS:
                raise Enough

    model = ARS("LinearPolicy", make(), n_delta=POPULATION // 2, delta_std=0.05, learning_rate=0.02, n_eval_episodes=environments)
    processes = AsyncEval([make] * WORKERS, model.policy, n_eval_episodes=environments)
    with contextlib.suppress(Enough):
        model.learn(10**9, callback=Clock(), async_eval=processes)
    processes.close()
    first, last = Clock.marks[0], Clock.marks[-1]
    return (last[1] - first[1]) / (last[0] - first[0])


def peer(name: str) -> dict[str, Any]:
    """One row, in the peers' environment."""
    from importlib.metadata import version

    found = evotorch(name.removeprefix("evotorch_")) if name.startswith("evotorch") else sb3_ars(8 if name.endswith("8") else 1)
    versions = {package: version(package) for package in ("evotorch", "ray", "sb3-contrib", "gymnasium", "mujoco", "torch")}
    return {"what": PEERS[name], "steps_per_second": round(found, 1), "versions": versions}


def main(python: str) -> None:
    """All rows."""
    from asyncrl.bench.throughput import bench_throughput

    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    rows: dict[str, Any] = {}
    for name in PEERS:
        said = subprocess.run([python, __file__, "--peer", name], env=quiet, capture_output=True, text=True, check=True).stdout
        rows[name] = json.loads(said.splitlines()[-1])
        print(name, rows[name]["steps_per_second"], flush=True)
    ours = bench_throughput(ENV, WORKERS, SECONDS, ["es:sync", "es:async"])
    best = max(row["steps_per_second"] for row in rows.values())
    like_ours = max(row["steps_per_second"] for name, row in rows.items() if name in ("evotorch_gym", "sb3_ars"))
    least = min(row["steps_per_second"] for row in ours["rows"])
    data = {"command": "python runs/peers/search_rates.py PYTHON", "env": ENV, "seconds": SECONDS, "peers": rows, "asyncrl": ours}
    data |= {"ratio_to_best_row": round(least / best, 2), "ratio_to_best_of_single_episodes": round(least / like_ours, 2)}
    data["limit_over_best_row"] = round(ours["limit_steps_per_second"] / best, 2)
    print({key: data[key] for key in data if "ratio" in key or "over" in key})
    (Path(__file__).parent.parent / "reference" / "peers-halfcheetah-linear.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        print(json.dumps(peer(sys.argv[2])))
    else:
        main(sys.argv[1])
