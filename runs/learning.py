"""Learning figures over seeds. Usage: python runs/learning.py STUDY [MODE ...], for example cartpole, or impala-cartpole async

Writes runs/reference/<study>-<mode>.json: settings, and for every environment and seed the greedy evaluation after training, the
mean of the last 100 training episodes, and the best mean of 100 in a row with the step at which it was reached. Rows that the
file already has are kept, so the command goes on where it was.
"""

import functools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np

import asyncrl

MILLION = {"steps": 1_000_000}
HALFCHEETAH = {**MILLION, "normalize_observations": True, "initial_log_std": -0.5}
IMPALA_CHEETAH = {**HALFCHEETAH, "t_max": 20, "batch_units": 1, "gamma": 0.98, "gae_lambda": 0.9}
AS_SB3 = {**MILLION, "anneal": "constant", "normalize_returns": False}
KEPT = ("evaluation_return", "return_mean_last_100", "return_best_mean_100", "return_best_steps", "steps", "seconds")


@dataclass(frozen=True)
class Study:
    """One algorithm in some environments and modes."""

    algo: str
    environments: tuple[str, ...]
    modes: dict[str, dict]
    """Mode -> settings that are not the defaults."""
    seeds: int = 5
    steps: int = 500_000
    of: dict[str, dict] = field(default_factory=dict)
    """Environment -> settings of its own."""
    factor: float = 1.0
    """Rewards are multiplied by this in the environment."""


DEFAULTS = {"sync": {}, "async": {}}
STUDIES = {
    "cartpole": Study("a3c", ("CartPole-v1",), DEFAULTS, seeds=40),
    "cartpole-hundredth": Study("a3c", ("CartPole-v1",), DEFAULTS, seeds=10, factor=0.01),
    "cartpole-hundredfold": Study("a3c", ("CartPole-v1",), DEFAULTS, seeds=10, factor=100.0),
    "defaults": Study(
        "a3c",
        (
            *("Acrobot-v1", "InvertedPendulum-v5", "Reacher-v5", "Pendulum-v1", "LunarLander-v3"),
            *("MountainCarContinuous-v0", "HalfCheetah-v5", "Hopper-v5"),
        ),
        DEFAULTS,
        of={"HalfCheetah-v5": MILLION},
    ),
    "halfcheetah": Study(
        "a3c",
        ("HalfCheetah-v5",),
        {"sync": {**HALFCHEETAH, "t_max": 20, "learning_rate": 7e-4}, "async": {**HALFCHEETAH, "t_max": 32, "learning_rate": 1e-3}},
    ),
    "itt": Study(
        "a3c", ("CartPole-v1", "MountainCarContinuous-v0"), {"sync": {"head": "itt"}, "async": {"head": "itt"}}, seeds=3
    ),
    "ppo-cartpole": Study("ppo", ("CartPole-v1",), {"sync": {}}, seeds=10, steps=200_000),
    "ppo": Study("ppo", ("HalfCheetah-v5", "Hopper-v5"), {"sync": MILLION}, seeds=3),
    "ppo-as-sb3": Study(
        "ppo", ("CartPole-v1", "HalfCheetah-v5", "Hopper-v5"), {"sync": AS_SB3}, seeds=3, of={"CartPole-v1": {"steps": 200_000}}
    ),
    "impala-cartpole": Study("impala", ("CartPole-v1",), {"async": {}, "sync": {}}),
    "impala-halfcheetah": Study("impala", ("HalfCheetah-v5",), {"async": IMPALA_CHEETAH}),
}


def make(env: str, factor: float) -> gymnasium.Env:
    """The environment with its rewards multiplied."""
    return gymnasium.wrappers.TransformReward(gymnasium.make(env), lambda reward: factor * reward)


def one(study: Study, env: str, mode: str, seed: int) -> dict:
    """Run one seed."""
    source = env if study.factor == 1.0 else functools.partial(make, env, study.factor)
    settings = {"steps": study.steps, **study.modes[mode], **study.of.get(env, {})}
    result = asyncrl.train(study.algo, source, mode=mode, seed=seed, workers=2, quiet=True, evaluation_episodes=20, **settings)
    if result.status != "completed":
        raise KeyboardInterrupt
    figures = {key: result.summary[key] for key in KEPT}
    for key in ("evaluation_return", "return_mean_last_100", "return_best_mean_100"):
        figures[key] /= study.factor  # in the environment's own unit
    return {"env": env, "seed": seed, **figures}


def interval_of(returns: list[float]) -> list[float]:
    """95 % bootstrap interval of the mean."""
    resampled = np.random.default_rng(0).choice(returns, (10_000, len(returns))).mean(axis=1)
    return [float(edge) for edge in np.percentile(resampled, [2.5, 97.5])]


def run(name: str, mode: str) -> None:
    """Run what is missing of a study in one mode, and write it down after every run."""
    study = STUDIES[name]
    path = Path(__file__).parent / "reference" / f"{name}-{mode}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    settings = {"workers": 2, "steps": study.steps, **study.modes[mode], "of": study.of, "factor": study.factor}
    head = {"command": f"python runs/learning.py {name} {mode}", "algo": study.algo, "mode": mode, "settings": settings}
    for seed in range(study.seeds):
        for env in study.environments:
            if any((row["env"], row["seed"]) == (env, seed) for row in rows):
                continue
            rows.append(one(study, env, mode, seed))
            print(name, mode, rows[-1], flush=True)
            table = {env: summary_of([row for row in rows if row["env"] == env]) for env in study.environments}
            path.write_text(json.dumps({**head, "table": table, "rows": rows}, indent=1) + "\n")


def summary_of(rows: list[dict]) -> dict:
    """Means of the final figures over seeds, with intervals."""
    table = {}
    for key in ("evaluation_return", "return_mean_last_100"):
        returns = [row[key] for row in rows]
        if returns:
            table[key] = {"mean": float(np.mean(returns)), "interval_95": interval_of(returns), "least": min(returns)}
    return table


if __name__ == "__main__":
    for mode in sys.argv[2:] or STUDIES[sys.argv[1]].modes:
        run(sys.argv[1], mode)
