"""Whole runs in `sync` beside plain loops of one process: a step and an update, or a round and its updates. The same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import Run, train

from asyncrl.actors.rollout import Actor
from asyncrl.actors.spelling import parse_exploration
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.ddpg import Ddpg
from asyncrl.algos.sac import Sac
from asyncrl.algos.td3 import Td3
from asyncrl.envs import GymnasiumStepping, make_env, ship, spec_of
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.learners.replays import DRAWS
from asyncrl.replays.records import fields_of
from asyncrl.replays.store import Replay
from asyncrl.store.checkpoint import newest, read_part
from asyncrl.topologies.streams.plan import stream_policy, updater_of
from asyncrl.trajectory import Trajectory
from asyncrl.workers.plan import Task, stream

SEED, HIDDEN = 3, (16, 16)
CLASSIC = {"ddpg": Ddpg, "td3": Td3, "sac": Sac}
REPLAY = {"batch": 16, "warm_up": 100, "replay": 200}
ROUNDS = {"appo": {"t_max": 20}, "ppo": {"t_max": 50, "minibatch": 30}, "npg": {"t_max": 50}}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_of(folder: Path, algo: str, env: str, workers: int, steps: int, **options: Any) -> Run:
    return train(folder, env, algo=algo, workers=workers, mode="sync", steps=steps, seed=SEED, hidden=HIDDEN, **options)


def task_of(algo: str, env: str, workers: int, steps: int, **options: Any) -> Task:
    options = ALGORITHMS[algo].options_type(**options)
    spec, network = spec_of(make_env(env)), NetworkOptions(hidden=HIDDEN)
    return Task(ship(env), spec, "auto", network, None, algo, options, workers, 1, steps, SEED)


class Hand:
    """An actor with the random streams of worker `index`, and what its actions were drawn from."""

    def __init__(self, task: Task, policy: Policy, index: int, env: str):
        streams = stream(SEED, index, 0).spawn(2)
        entry, steps = ALGORITHMS[task.algo], task.options.t_max
        self.vector, self._policy = np.zeros(policy.size, np.float32), policy
        settings = parse_exploration(entry.default_explore, task.workers, SEED)[index]
        stepping = GymnasiumStepping([make_env(env)], policy.spec)
        self.actor = Actor(stepping, policy, self.vector, steps, settings, np.random.default_rng(streams[0]), keeps_outputs=True)
        self.actor.reset([int(streams[1].generate_state(1)[0])])

    def collect(self, steps: int) -> Trajectory:
        """One unit."""
        return self.actor.collect(0, steps)

    def log_prob(self, trajectory: Trajectory) -> Any:
        """Of its actions as they were drawn, [T, 1]."""
        out = np.zeros(len(trajectory.reward), np.float32)
        action = trajectory.action.reshape(len(out), -1)
        self._policy.head.log_prob(self.actor.outputs.reshape(len(out), -1), self.actor.dense, action, self.actor.rounds.knobs, out)
        return out[:, None]


@pytest.mark.parametrize("algo", CLASSIC)
def test_with_one_worker_and_one_step_it_is_the_classic_algorithm(tmp_path, algo):
    env, steps = "Pendulum-v1", 300
    run = run_of(tmp_path, algo, env, 1, steps, **REPLAY)
    assert run.summary["steps"] == steps, "and not a round more"
    learned = read_part(newest(run.folder), "learner")[1]
    task = task_of(algo, env, 1, steps, **REPLAY)
    learner = CLASSIC[algo](3, 1, task.options, SEED, HIDDEN)
    hand = Hand(task, stream_policy(task), 0, env)
    replay = Replay.private(REPLAY["replay"], fields_of(((3,), "float32"), 1), task.options.gamma)
    updates = 0
    for step in range(1, steps + 1):
        learner.published(hand.vector)
        hand.actor.uniform = step <= REPLAY["warm_up"]
        replay.add(hand.collect(step - 1))
        if step > REPLAY["warm_up"]:
            learner.update(replay.draw(np.random.Generator(np.random.Philox(key=[SEED * 2**16 + DRAWS, updates])), REPLAY["batch"]))
            updates += 1
    assert updates == 200 == run.summary["updates"]
    for name, array in learner.state.items():
        np.testing.assert_array_equal(learned[f"learner/{name}"], array, err_msg=name)
    assert len(learned["replay/rows"]) == len(replay)


@pytest.mark.parametrize("algo", ROUNDS)
def test_a_round_is_one_unit_of_every_actor_in_their_order(tmp_path, algo):
    env, steps, options = "CartPole-v1", 600, ROUNDS[algo]
    run = run_of(tmp_path, algo, env, 2, steps, **options)
    assert run.summary["steps"] == steps, "and not a round more"
    learned = read_part(newest(run.folder), "learner")[1]
    task = task_of(algo, env, 2, steps, **options)
    policy = stream_policy(task)
    updater, hands, done, updates = updater_of(task, policy), [Hand(task, policy, index, env) for index in range(2)], 0, 0
    for version in range(steps // (2 * options["t_max"])):
        for index, hand in enumerate(hands):
            updater.published(hand.vector)
            trajectory = hand.collect(2 * version * options["t_max"])
            updater.take(index, trajectory, hand.log_prob(trajectory), np.zeros(1, np.uint8))
            done += options["t_max"]
        updates += len(updater.update(version, done))
    assert done == steps and updates == run.summary["updates"]
    for name, array in updater.state().items():
        np.testing.assert_array_equal(learned[name], array, err_msg=name)
    assert not np.array_equal(learned["vector"], policy.initial(SEED))
