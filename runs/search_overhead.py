"""What search costs on top of the simulator, on the same trajectories. Usage: python runs/search_overhead.py

`asyncrl bench throughput` holds a run against a simulator that is given random actions; but a policy that learns makes other steps,
which may cost the simulator more (HalfCheetah's contacts do). Here two processes play candidates as a worker does, and replay the
actions of the very same episodes with nothing in between, in turn: candidates around the start of a search, and around what 400,000
steps of `es` have made of it. Each process also steps with random actions. Writes runs/reference/search-overhead.json: steps per
second of a process (medians over turns, mean over processes), and what is ours over what is the simulator's.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import asyncrl
from asyncrl.actors.episodes import EpisodeRunner, Observed
from asyncrl.envs import CheckedEnvironment, make_env, spec_of
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.processes.starting import settle_in
from asyncrl.store.checkpoint import newest, read_part

ENV, PROCESSES, CANDIDATES, TURNS, SIGMA = "HalfCheetah-v5", 2, 6, 8, 0.05


class Recorder(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Keeps the actions of each episode."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.episodes: list[list[Any]] = []

    def reset(self, **arguments: Any) -> Any:
        self.episodes.append([])
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        self.episodes[-1].append(np.array(action))
        return super().step(action)


def measure(centre: Any, normaliser: Any, rank: int, connection: Any) -> None:
    """Process body: tells [steps per second of candidates, of their actions, of random actions] for each turn."""
    settle_in(None)
    environment, recorder = make_env(ENV), Recorder(make_env(ENV))
    spec = spec_of(environment)
    player = SearchPolicy(spec, "linear", NetworkOptions()).player()
    player.normaliser[:] = normaliser
    observed, generator = Observed(spec.observation_size), np.random.default_rng(rank)
    candidates = [centre + SIGMA * generator.standard_normal(centre.size, np.float32) for _ in range(CANDIDATES)]

    def play(runner: EpisodeRunner) -> None:
        for seed, candidate in enumerate(candidates):
            player.set(candidate)
            observed.clear()
            runner.run(seed, observed=observed)

    def replay(episodes: list[list[Any]]) -> None:
        for seed, actions in enumerate(episodes):
            environment.reset(seed=seed)
            for action in actions:
                environment.step(action)

    play(EpisodeRunner(CheckedEnvironment(recorder, spec), player))
    environment.action_space.seed(rank)
    random = [[environment.action_space.sample() for _ in episode] for episode in recorder.episodes]
    steps, runner = sum(len(episode) for episode in random), EpisodeRunner(CheckedEnvironment(environment, spec), player)
    connection.send(0)
    connection.recv()  # all begin now
    rows = []
    for _ in range(TURNS):
        seconds = []
        for work in (lambda: play(runner), lambda: replay(recorder.episodes), lambda: replay(random)):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        rows.append([steps / one for one in seconds])
    connection.send(rows)


def rates(centre: Any, normaliser: Any) -> dict[str, float]:
    """Of two processes at a time."""
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(PROCESSES)]
    for rank, (_, theirs) in enumerate(pipes):
        spawn.Process(target=measure, args=(centre, normaliser, rank, theirs), daemon=True).start()
    for connection, _ in pipes:
        connection.recv()
    for connection, _ in pipes:
        connection.send(0)
    ours, same, random = np.mean([np.median(connection.recv(), axis=0) for connection, _ in pipes], axis=0)
    return {"candidates": ours, "same_actions": same, "random_actions": random, "ratio": ours / same, "against_random": ours / random}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as runs:
        settings: dict[str, Any] = {"mode": "sync", "workers": PROCESSES, "evaluation_episodes": 0, "quiet": True}
        result = asyncrl.train("es", ENV, steps=400_000, runs=runs, **settings)
        arrays = read_part(newest(result.folder), "run")[1]
    trained, normaliser = arrays["parameters"], arrays["normaliser"]
    data = {"command": "python runs/search_overhead.py", "env": ENV, "processes": PROCESSES, "sigma": SIGMA}
    data |= {"start": rates(np.zeros_like(trained), normaliser), "after_400000_steps": rates(trained, normaliser)}
    (Path(__file__).parent / "reference" / "search-overhead.json").write_text(json.dumps(data, indent=1) + "\n")
    print(json.dumps(data, indent=1))
