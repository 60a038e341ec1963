"""Steps a second of our searches and actors beside EnvPool's stepping alone and EvoTorch's searches, in turn on the same two cores.

They need an environment of their own (EnvPool wants a folder for Atari's games, also where none is there):

    python -m venv peers
    peers/bin/pip install torch==2.13.0
    peers/bin/pip install envpool==1.2.5 evotorch==0.6.1 matplotlib 'gymnasium[mujoco]>=1.2,<2' 'mujoco>=3.17,<4'
    mkdir -p peers/lib/python3.11/site-packages/envpool/atari/roms
    python runs/peers/simulator_rates.py peers/bin/python       # in asyncrl's environment; about 5 minutes

    envpool      stepping alone with random actions, drawn beforehand, two threads, by batches of 2, 8 and 32 of twice as many: the best
    evotorch     PGPE, VecGymNE with two actors, linear policy, observations normalised, 64 evaluations a generation
    ours         `es` in async, linear policy, learning; and acting alone, T = 20, 64-64 policy, in two processes of four environments

Three rounds; each figure is that of SECONDS. Prints medians and ratios, and writes runs/reference/simulator-peers.json.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS, SECONDS = 3, 5.0
CHEETAH, CARTPOLE = "HalfCheetah-v5", "CartPole-v1"
ENVPOOL = {CHEETAH: "HalfCheetah-v4", CARTPOLE: CARTPOLE}
"""EnvPool has no fifth version of HalfCheetah; the fourth has the same dynamics and rewards."""


def envpool(env: str) -> float:
    """The best of three sizes, in the peers' environment."""
    import envpool
    import numpy as np

    best = 0.0
    for batch in (2, 8, 32):
        pool = envpool.make_gymnasium(ENVPOOL[env], num_envs=2 * batch, batch_size=batch, num_threads=2, seed=0)
        pool.async_reset()
        actions = np.array([pool.action_space.sample() for _ in range(batch)])
        for _ in range(50):
            pool.send(actions, pool.recv()[-1]["env_id"])
        steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS / 3:
            pool.send(actions, pool.recv()[-1]["env_id"])
            steps += batch
        best = max(best, steps / (time.perf_counter() - began))
    return best


def evotorch(env: str) -> float:
    """Whole generations after the first, in the peers' environment."""
    from search_rates import PEERS
    from search_rates import evotorch as search

    assert "evotorch_vec" in PEERS
    return search("vec")


def searching(env: str) -> float:
    """`es`, learning."""
    import asyncrl

    with tempfile.TemporaryDirectory() as folder:
        more: dict[str, Any] = {"head": "linear", "population": 64, "quiet": True, "evaluation_episodes": 0, "runs": folder}
        run = asyncrl.train("es", env, mode="async", workers=2, steps=10**9, seconds=SECONDS, **more)
    return float(run.summary["steps_per_second"])


def _last_number(said: str) -> float:
    """What is after the last "rate": Ray's workers print to the same place, sometimes later."""
    return float([line for line in said.splitlines() if line.startswith("rate ")][-1].split()[1])


def acting(env: str) -> float:
    """Two processes that collect rollouts and learn nothing."""
    command = [sys.executable, __file__, "--act", env]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(_last_number(one.communicate()[0]) for one in both)


def act(env: str) -> float:
    """One of them."""
    from asyncrl.algos import ALGORITHMS
    from asyncrl.experiment.experiment import Experiment
    from asyncrl.scheduler.pace import Books
    from asyncrl.topologies import topology_of
    from asyncrl.topologies.actor_learner.plan import figures
    from asyncrl.topologies.actor_learner.worker import ActorLearner
    from asyncrl.topologies.topology import Seat

    options = ALGORITHMS["a3c"].options_type(t_max=20)
    topology = topology_of(Experiment("a3c", env, workers=1, envs_per_worker=4, options=options))
    topology.begin()
    try:
        _, arguments = topology.body_of(Seat(worker=0, generation=0, core=None, restore_from=None, run_folder=Path.cwd()))
        worker = ActorLearner(arguments[0] if isinstance(arguments, tuple) else arguments)
        worker._books = Books(worker._ground.ledger, 0, figures(worker._plan.task))
        worker._local[:] = topology.snapshot().vector[: len(worker._local)]
        for _ in range(200):
            worker._collect(0, 0.0)
        rounds, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            worker._collect(0, 0.0)
            rounds += 1
        return 80 * rounds / (time.perf_counter() - began)
    finally:
        topology.close()


PEERS = {"envpool": envpool, "evotorch": evotorch}


def main(python: str) -> None:
    """All rows, in turn."""
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, env in (("envpool", CHEETAH), ("envpool", CARTPOLE), ("evotorch", CHEETAH)):
            done = subprocess.run([python, __file__, "--peer", name, env], env=quiet, capture_output=True, text=True, check=True)
            rates.setdefault(f"{name} {env}", []).append(_last_number(done.stdout))
        rates.setdefault(f"es {CHEETAH}", []).append(searching(CHEETAH))
        rates.setdefault(f"acting {CARTPOLE}", []).append(acting(CARTPOLE))
        print({name: round(found[-1]) for name, found in rates.items()}, flush=True)
    middle = {name: round(statistics.median(found)) for name, found in rates.items()}
    pairs = {
        "es over EnvPool's stepping": (f"es {CHEETAH}", f"envpool {CHEETAH}"),
        "es over EvoTorch": (f"es {CHEETAH}", f"evotorch {CHEETAH}"),
        "acting over EnvPool's stepping": (f"acting {CARTPOLE}", f"envpool {CARTPOLE}"),
    }
    ratios = {what: [round(a / b, 2) for a, b in zip(rates[one], rates[other])] for what, (one, other) in pairs.items()}
    print(middle, ratios)
    data = {"command": "python runs/peers/simulator_rates.py PYTHON", "medians": middle, "ratios": ratios, "rates": rates}
    (Path(__file__).parent.parent / "reference" / "simulator-peers.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        print("rate", PEERS[sys.argv[2]](sys.argv[3]))
    elif sys.argv[1] == "--act":
        print("rate", act(sys.argv[2]))
    else:
        main(sys.argv[1])
