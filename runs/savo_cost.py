"""What SAVO costs beside TD3: acting, an update, a run's learner beside a bare loop of the same updates, and items.

    python runs/savo_cost.py            # on a quiet machine; 2 cores

Everything is timed in turn, and what is told are medians of ratios, with quartiles; times are of this machine. Networks of 256 and 256
units, batches of 256, observations of 11 numbers and actions of 3 (Hopper-v5's).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch

import asyncrl
from asyncrl.algos.savo import Savo
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.envs.spec import EnvSpec, spec_of
from asyncrl.heads.options import HeadOptions
from asyncrl.heads.proposing.picking import nearest
from asyncrl.heads.savo import SavoOptions
from asyncrl.heads.tower import TowerPolicy
from asyncrl.replays.records import Batch

SIZES, ROWS = (11, 3), 256
HOPPER = EnvSpec((SIZES[0],), "float32", "box", (), (SIZES[1],), (-1.0,) * SIZES[1], (1.0,) * SIZES[1], ())


def in_turn(parts: Mapping[str, Callable[[], Any]], turns: int, calls: int, of: str) -> None:
    """Time each of `parts`, so many calls a turn; tell its median and how much longer it takes than `of`."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(turns + 2):
        for name, part in parts.items():
            began = time.perf_counter()
            for _ in range(calls):
                part()
            if turn > 1:
                seconds[name].append((time.perf_counter() - began) / calls)
    for name, measured in seconds.items():
        low, middle, high = np.percentile(np.array(measured) / np.array(seconds[of]), (25, 50, 75))
        print(f"  {name}: {1e6 * np.median(measured):,.1f} microseconds, {middle:.2f} ({low:.2f} to {high:.2f}) times {of}")


def step_of(spec: EnvSpec, head: str, options: HeadOptions | None = None, hidden: tuple[int, ...] = (256, 256)) -> Callable[[], Any]:
    """A whole compiled step of an actor."""
    policy = TowerPolicy(spec, head, hidden, options)
    vector = (0.06 * np.random.default_rng(0).standard_normal(policy.size)).astype(np.float32)
    rounds = policy.round_arrays(1, 1)
    rounds.raw[:] = np.random.default_rng(1).standard_normal(rounds.raw.shape)
    policy.head.draw(np.random.default_rng(0), rounds)
    kernel, arguments = policy.head.light_kernel(policy.plan, vector, rounds)
    return lambda: kernel(*arguments, 0)


def batch(actors: int) -> Batch:
    """Random transitions."""
    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return generator.standard_normal(shape).astype(np.float32)

    proposals = generator.uniform(-1, 1, (ROWS, actors, SIZES[1])).astype(np.float32)
    numbers, count = np.zeros(ROWS, np.int64), np.full(ROWS, 0.99, np.float32)
    taken = (drawn(ROWS, SIZES[0]), proposals[:, 0].copy(), drawn(ROWS), count, drawn(ROWS, SIZES[0]))
    return Batch(*taken, numbers, numbers, np.ones(ROWS, np.float32), numbers, {"proposals": proposals})


def update_of(learner: Any, actors: int) -> Callable[[], Any]:
    """An update on one batch."""
    drawn = batch(actors)
    return lambda: learner.update(drawn)


def learner_rate(actors: int, seconds: float = 40.0) -> float:
    """Updates a second of a run's learner, from one report after the warm-up to the last."""
    settings = {"head": "savo", "mode": "async", "workers": actors, "warm_up": 500, "steps": 1_000_000, "seconds": seconds}
    with tempfile.TemporaryDirectory() as runs:
        result = asyncrl.train("td3", "Hopper-v5", evaluation_episodes=0, report_seconds=1.0, quiet=True, runs=runs, **settings)
        rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    rates = [row["rate/updates_per_second"] for row in rows if row.get("rate/updates_per_second")]
    return float(np.median(rates[2:-1]))


def main() -> None:
    """Print all of it."""
    torch.set_num_threads(1)
    print("acting, one environment:")
    acting = {"td3": step_of(HOPPER, "deterministic")}
    acting |= {f"savo, K = {count}": step_of(HOPPER, "savo", SavoOptions(n_actors=count)) for count in (1, 2, 3, 5)}
    in_turn(acting, 40, 200, "td3")
    print("an update:")
    updates = {"td3": update_of(Td3(*SIZES, Td3Options(), 0), 1)}
    for count in (2, 3, 5):
        updates[f"savo, K = {count}"] = update_of(Savo(*SIZES, Td3Options(), 0, chosen=SavoOptions(n_actors=count)), count)
    in_turn(updates, 20, 3, "td3")
    print("a run's learner, K = 3, beside a bare loop of the same updates:")
    bare = updates["savo, K = 3"]
    for actors in (1, 2):
        shares = []
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(200):
                bare()
            shares.append(learner_rate(actors) * (time.perf_counter() - began) / 200)
        print(f"  {actors} actors: {np.median(shares):.3f} of it ({min(shares):.3f} to {max(shares):.3f})")
    for env in ("asyncrl/RecSim-v0", "asyncrl/RecSim100k-v0", "asyncrl/RecSim500k-v0"):
        print(f"an actor's step among the items of {env}:")
        environment = gymnasium.make(env)
        spec = spec_of(environment)
        assert spec.action_features is not None
        features = spec.action_features.array
        half, found = 0.5 * (features**2).sum(1), np.zeros(3, np.int64)
        queries = np.random.default_rng(2).uniform(-1, 1, (3, features.shape[1])).astype(np.float32)
        step, search = step_of(spec, "savo", SavoOptions(), (64, 32)), partial(nearest, features, half, queries, found)
        in_turn({"step": step, "the search": search}, 20, 3, "the search")
        environment.close()


if __name__ == "__main__":
    main()
