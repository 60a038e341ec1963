"""A learned policy as an object: it acts as `evaluate` plays, to the last bit, and as training explores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from running import train

import asyncrl
from asyncrl.envs import make_env, seed_generators
from asyncrl.errors import UserError
from asyncrl.topologies.search.player import EPISODE_SEEDS

SMALL: dict[str, Any] = {"workers": 1, "evaluation_episodes": 0, "mode": "sync"}
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a3c": ("a3c", "CartPole-v1", {"steps": 300}),
    "a3c normalised Box": ("a3c", "Pendulum-v1", {"steps": 300, "normalize_observations": True}),
    "a3c compact": ("a3c", "CartPole-v1", {"steps": 300, "head": "toeplitz"}),
    "a3c recurrent": ("a3c", "Pendulum-v1", {"steps": 300, "recurrent": 8}),
    "a3c itt": ("a3c", "CartPole-v1", {"steps": 300, "head": "itt"}),
    "impala iot": ("impala", "Pendulum-v1", {"steps": 640, "head": "iot", "resample": "transition"}),
    "ppo": ("ppo", "Pendulum-v1", {"steps": 300, "normalize_observations": True}),
    "q1": ("q1", "CartPole-v1", {"steps": 300}),
    "td3": ("td3", "Pendulum-v1", {"steps": 300, "warm_up": 100, "hidden": (16,)}),
    "sac": ("sac", "Pendulum-v1", {"steps": 300, "warm_up": 100, "hidden": (16,)}),
    "td3 savo": ("td3", "Pendulum-v1", {"steps": 300, "warm_up": 100, "batch": 32, "hidden": (16,), "head": "savo"}),
    "es": ("es", "CartPole-v1", {"steps": 300}),
    "es Box": ("es", "Pendulum-v1", {"steps": 300, "head": "mlp", "hidden": (8,), "normalize_observations": True}),
    "es itt": ("es", "CartPole-v1", {"steps": 300, "head": "itt"}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of a run by its name; runs are made when they are first asked for."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            algo, env, settings = RUNS[name]
            made[name] = train(tmp_path_factory.mktemp("runs"), env, algo=algo, **{**SMALL, **settings}).folder
        return made[name]

    return folder


def played(policy: Any, env: str, searched: bool, episodes: int = 2) -> list[float]:
    """Returns of episodes, in one's own loop, by seeds as `evaluate` has them."""
    seed_generators(0)
    environment = make_env(env)
    seeds: list[Any] = [0] + [None] * (episodes - 1)
    if searched:
        seeds = [int(one) for one in np.random.SeedSequence((0, EPISODE_SEEDS)).generate_state(episodes)]
    returns = []
    policy.reset()
    for seed in seeds:
        observation, _ = environment.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = environment.step(policy.act(observation))
            total, over = total + float(reward), terminated or truncated
        policy.reset()
        returns.append(total)
    environment.close()
    return returns


@pytest.mark.parametrize("name", RUNS)
def test_it_acts_as_evaluate_plays(folders, name):
    algo, env, _ = RUNS[name]
    policy = asyncrl.load(folders(name))
    assert played(policy, env, algo == "es") == asyncrl.evaluate(folders(name), episodes=2)["returns"]


@pytest.mark.parametrize("name", [name for name in RUNS if name != "impala iot"])  # whose set of actions is another at every step
def test_a_batch_is_its_observations_one_by_one(folders, name):
    """Of the space's own type, one observation or several; of a recurrent policy each place has a memory of its own."""
    _, env, _ = RUNS[name]
    space = gymnasium.make(env).action_space
    generator = np.random.default_rng(0)
    together, drawing, *alone = (asyncrl.load(folders(name)) for _ in range(5))
    for _ in range(4):
        batch = generator.standard_normal((3, *together.spec.observation_shape)).astype(np.float32)
        actions = together.act(batch)
        assert len(actions) == 3 and all(space.contains(action) for action in actions)
        for one, observation, action in zip(alone, batch, actions, strict=True):
            np.testing.assert_allclose(one.act(observation), action, atol=1e-6)
            assert space.contains(drawing.act(observation, explore=True))


@pytest.mark.parametrize("name", ["a3c", "a3c normalised Box", "td3", "sac", "q1"])
def test_it_explores_as_training_does(folders, name):
    """It draws, and the same seed draws the same; a search has nothing to draw."""
    first, second, other = (asyncrl.load(folders(name), seed=seed) for seed in (1, 1, 2))
    observation = np.full(first.spec.observation_shape, 0.1, np.float32)
    drawn = [[np.array(one.act(observation, explore=True)) for _ in range(200)] for one in (first, second, other)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert len(np.unique(np.array(drawn[0]).reshape(200, -1), axis=0)) > 1
    greedy = first.act(observation)
    assert all(np.array_equal(first.act(observation), greedy) for _ in range(10))


def test_a_gaussian_explores_by_its_own_deviation(folders):
    policy = asyncrl.load(folders("a3c normalised Box"))
    drawn = np.array([policy.act(np.zeros(3, np.float32), explore=True) for _ in range(4000)])
    greedy = policy.act(np.zeros(3, np.float32))
    low, high = policy.spec.action_low[0], policy.spec.action_high[0]
    inside = (np.abs(drawn) < high - 1e-6).mean()
    assert 0.5 < inside < 0.9 and abs(np.median(drawn) - greedy[0]) < 0.2 and drawn.min() == low and drawn.max() == high


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(3), "observation has shape (3,) (allowed: (4,), or several of them)"),
        (np.zeros((0, 4)), "observation has shape (0, 4) (allowed: (4,), or several of them)"),
        ([0.0, np.nan, 0.0, 0.0], "observation is not finite: nan at index 1 of 4"),
        ([[0.0] * 4, [np.inf] * 4], "observation is not finite: inf at index 0 of 4"),
    ],
)
@pytest.mark.parametrize("name", ["a3c", "es"])
def test_bad_observations_are_told(folders, name, observation, message):
    with pytest.raises(UserError) as caught:
        asyncrl.load(folders(name)).act(observation)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", [name for name in RUNS if name != "a3c recurrent"])  # which acts by torch
def test_neither_torch_nor_a_moment_is_needed_to_act(folders, name):
    """In a fresh process. What it takes is measured elsewhere; here the margin is wide enough for any machine."""
    program = f"""
import sys, time
import asyncrl
policy = asyncrl.load({str(folders(name))!r})
observation = [0.1] * policy.spec.observation_size
policy.act(observation)
began = time.process_time()
for _ in range(1000):
    policy.act(observation)
heavy = {{"torch", "tensorboard", "mujoco", "tyro", "rich"}}
print(sorted(heavy & set(sys.modules)), time.process_time() - began)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    heavy, seconds = told.rsplit(maxsplit=1)
    assert heavy == "[]" and float(seconds) < 1.0


def test_no_environment_is_made_and_nothing_is_imported_that_the_folder_names(folders, tmp_path):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", folders("a3c"), folder], check=True)
    told = json.loads((folder / "experiment.json").read_text())
    told["settings"]["env"] = "never_there:Never-v0"
    (folder / "experiment.json").write_text(json.dumps(told))
    program = f"""
import sys
import asyncrl
print(asyncrl.load({str(folder)!r}).act([0.0, 0.1, 0.0, 0.1]), "gymnasium.envs.classic_control" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert told == [str(asyncrl.load(folder).act([0.0, 0.1, 0.0, 0.1])), "False"]


def test_damaged_spaces_are_told_in_one_line(folders, tmp_path):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", folders("a3c"), folder], check=True)
    told = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(json.dumps({**told, "spec": {"observation_shape": [4], "colour": 1}}))
    with pytest.raises(UserError, match=r"^the spaces in .* can't be read: .*colour"):
        asyncrl.load(folder)


def test_a_run_without_an_environment_has_no_policy(folders, tmp_path):
    folder = tmp_path / "run"
    subprocess.run(["cp", "-r", folders("a3c"), folder], check=True)
    told = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(json.dumps({**told, "spec": None}))
    with pytest.raises(UserError, match="has no policy: it minimised a function"):
        asyncrl.load(folder)


def test_a_network_of_the_users_own_is_given_again(tmp_path):
    def network(spec, policy_outputs):
        import torch

        class Two(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.policy, self.value = (torch.nn.Linear(spec.observation_size, outputs) for outputs in (policy_outputs, 1))

            def forward(self, observation):
                return self.policy(observation), self.value(observation).squeeze(-1)

        return Two()

    folder = train(tmp_path, "CartPole-v1", steps=300, network_function=network, **SMALL).folder
    returns = played(asyncrl.load(folder, network_function=network), "CartPole-v1", searched=False)
    assert returns == asyncrl.evaluate(folder, episodes=2, network_function=network)["returns"]
