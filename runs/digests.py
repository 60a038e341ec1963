"""Whether a change of the code has changed any bit of what deterministic runs learn.

    python runs/digests.py write FILE [PART ...]      before the change: run all cases, or those whose name holds a PART
    python runs/digests.py compare FILE [PART ...]    after it: run them again, and name those that differ

A case is an algorithm with a head, an exploration setting or a network; each is run with 2 workers in `sync` and `pipelined` (where the
algorithm has it), by seed 0 to 2. The digest is over every array of the last checkpoint: parameters, optimizer statistics, generators,
environments, replay. Digests hold on one machine with one version of the libraries only, so none are kept with the code.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from safetensors.numpy import load_file

import asyncrl
from asyncrl.algos import ALGORITHMS

SEEDS = (0, 1, 2)
STEPS = 20_000
DISCRETE, BOX = "CartPole-v1", "Pendulum-v1"
STRUCTURES = ("linear", "toeplitz", "hankel", "circulant", "vandermonde", "cauchy", "low-displacement")
SMALL = {"steps": 4_000}
REPLAY = {"replay_ratio": 0.1, "batch": 64, "warm_up": 500, **SMALL}


class TwoKnobs(gymnasium.Env[Any, Any]):
    """Rewards the two digits of its observation: an environment with MultiDiscrete actions."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.MultiDiscrete([3, 4])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self._steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        target = (self._digits + 1.0) / 2.0 * np.array([2.0, 3.0])
        self._steps += 1
        return self._observation(), -float(np.abs(target - action).sum()), False, self._steps == 50, {}

    def _observation(self) -> Any:
        self._digits = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self._digits


def cases() -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Name of the case -> (algorithm, environment, settings)."""
    found: dict[str, tuple[str, Any, dict[str, Any]]] = {}

    def add(algo: str, env: Any, label: str = "", **settings: Any) -> None:
        name = " ".join(part for part in (algo, env if isinstance(env, str) else env.__name__, label) if part)
        found[name] = (algo, env, settings)

    for algo in ("a3c", "a2c", "impala", "appo", "ppo", "npg"):
        for env in (DISCRETE, BOX, TwoKnobs):
            add(algo, env)
    for head in STRUCTURES:
        add("a3c", DISCRETE, head, head=head)
        add("a2c", BOX, head, head=head)
        add("nq", DISCRETE, head, head=head, **SMALL)
        layers = {} if head == "linear" else {"hidden": (8,)}
        add("es", DISCRETE, head, head=head, **layers)
        add("tres", BOX, head, head=head, **layers, **SMALL)
    add("a3c", DISCRETE, "recurrent", recurrent=16, **SMALL)
    add("a3c", BOX, "shared trunk", trunk="shared", gae_lambda=0.95, normalize_observations=True, envs_per_worker=2)
    add("a3c", DISCRETE, "entropy", explore="entropy:0.1,0.01", optimizer="adam")
    add("a3c", DISCRETE, "epsilon", explore="epsilon:0.1+temperature:2")
    add("a3c", BOX, "ou", explore="ou:0.1,0.3")
    add("impala", DISCRETE, "epsilon", explore="epsilon:0.1,0.3", normalize_observations=True)
    add("impala", BOX, "temperature", explore="temperature:1,2", head="toeplitz")
    for algo in ("q1", "sarsa", "nq"):
        add(algo, DISCRETE)
        add(algo, DISCRETE, "fixed epsilon", explore="epsilon:0.1,0.2", envs_per_worker=2)
    for algo in ("ddpg", "td3", "sac"):
        add(algo, BOX, **REPLAY)
        add(algo, BOX, "prioritised", priority_alpha=0.6, n_step=3, **REPLAY)
    for algo in ("es", "tres", "ars", "nes", "cem", "cma-es", "sep-cma"):
        for env in (DISCRETE, BOX, TwoKnobs):
            add(algo, env)
    add("es", BOX, "orthogonal", explore="sigma:0.02,0.1+directions:orthogonal", normalize_observations=True)
    return found


def digest(folder: Path) -> str:
    """SHA-256 over the arrays of a run's only checkpoint, but for those that depend on timing: the ledger, which tells of seconds, and
    the tickets of a search, some of which belong to the generation after the last one."""
    (checkpoint,) = (folder / "checkpoints").iterdir()
    total = hashlib.sha256()
    for path in sorted(checkpoint.glob("*.safetensors")):
        for name, array in sorted(load_file(path).items()):
            if name != "ledger" and not name.startswith("tickets/"):
                total.update(f"{path.name} {name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return total.hexdigest()


def measured(parts: list[str], known: dict[str, str]) -> dict[str, str]:
    """Case, mode and seed -> digest, for all cases whose name holds one of `parts`; says at once where one differs from `known`."""
    found: dict[str, str] = {}
    for case, (algo, env, settings) in cases().items():
        for mode in ("sync", "pipelined"):
            if mode not in ALGORITHMS[algo].modes:
                continue
            for seed in SEEDS:
                name = f"{case}, {mode}, seed {seed}"
                if parts and not any(part in name for part in parts):
                    continue
                with tempfile.TemporaryDirectory() as runs:
                    given = {"steps": STEPS, "workers": 2, "evaluation_episodes": 0, **settings}
                    result = asyncrl.train(algo, env, mode=mode, seed=seed, runs=runs, quiet=True, **given)
                    found[name] = digest(result.folder)
                if name in known and known[name] != found[name]:
                    print(f"differs: {name}", flush=True)
    return found


def main(word: str, file: str, *parts: str) -> int:
    """`write` or `compare`; 1 where a digest differs or is missing."""
    path = Path(file)
    known = json.loads(path.read_text()) if path.exists() else {}
    found = measured(list(parts), known if word == "compare" else {})
    if word == "write":
        path.write_text(json.dumps({**known, **found}, indent=1) + "\n")
        print(f"{len(found)} digests")
        return 0
    differing = [name for name, value in found.items() if known.get(name) != value]
    print(f"{len(found)} runs, {len(differing)} that differ or are new")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
