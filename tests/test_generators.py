"""Generators that belong to a process: numpy's, torch's and Python's `random`, drawn from by the user's code."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from environments import CountingEnv, Step
from gymnasium import spaces
from running import Run, resume, train

import asyncrl
from asyncrl.envs import load_generators, save_generators, seed_generators, spec_of
from asyncrl.envs.generators import kept_generators
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.store.checkpoint import newest, read_part


class DrawsGlobally(CountingEnv):
    """Observation: a number of each of the three; its size is drawn as the environment is made, the reward at every step."""

    def __init__(self, log: Path | None = None) -> None:
        super().__init__(length=5)
        self.log, self.size = log, random.random() + np.random.rand() + float(torch.rand(()))
        self.observation_space = spaces.Box(-10.0, 10.0, (3,), np.float32)

    def reset(self, **options: Any) -> Any:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{os.getpid()} {np.random.rand()} {random.random()} {float(torch.rand(()))}\n")
        return super().reset(**options)

    def step(self, action: Any) -> Step:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, self.size * float(np.random.randn() + random.gauss(0, 1) + action), terminated, truncated, info

    def observe(self) -> Any:
        return np.array([np.random.randn(), random.gauss(0, 1), torch.randn(())], np.float32)


class DrawsInActions(DrawsGlobally):
    """For algorithms with a replay."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def step(self, action: Any) -> Step:
        return super().step(float(action[0]))


class Dropping(torch.nn.Module):
    """A network that drops hidden units, and whose start is drawn from numpy's generator."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.policy, self.value = torch.nn.Linear(inputs, 8), torch.nn.Linear(8, outputs), torch.nn.Linear(8, 1)
        self.hidden.weight.data[:] = torch.from_numpy(np.random.randn(8, inputs) * random.random())

    def forward(self, observation: Any) -> Any:
        hidden = torch.nn.functional.dropout(torch.relu(self.hidden(observation)), 0.5, training=True)
        return self.policy(hidden), self.value(hidden).squeeze(-1)


def dropping(spec: Any, outputs: int) -> Any:
    return Dropping(spec.observation_size, outputs)


def parameters(run: Run) -> bytes:
    return read_part(newest(run.folder), "run")[1]["parameters"].tobytes()


def states() -> tuple[Any, ...]:
    return np.random.get_state()[1].tolist(), np.random.get_state()[2:], random.getstate(), torch.get_rng_state().tolist()


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a2c": (DrawsGlobally, {"network_function": dropping, "anneal": "constant"}),
    "impala": (DrawsGlobally, {"network_function": dropping, "anneal": "constant", "t_max": 5}),
    "sac": (DrawsInActions, {"t_max": 5, "warm_up": 16, "batch": 8, "replay": 200, "hidden": (8,)}),
}
"""Environments, and settings: networks that draw at every forward pass where the algorithm takes them."""


@pytest.mark.parametrize("algo", KINDS)
def test_in_sync_it_repeats_bit_for_bit_also_where_a_run_goes_on(tmp_path, algo):
    env, settings = KINDS[algo]
    common: dict[str, Any] = {"algo": algo, "mode": "sync", "workers": 2, "seed": 5, **settings}
    whole, half = (train(tmp_path, env, steps=steps, **common) for steps in (160, 80))
    assert parameters(half) != parameters(whole)
    second = resume(half.folder, steps=160, env=env, network_function=settings.get("network_function"))
    assert not any("restored" in note for note in second.notes), second.notes
    assert parameters(half) == parameters(whole)


def test_every_process_draws_its_own_and_the_callers_go_on_as_if_nothing_had_been(tmp_path):
    log = tmp_path / "draws"

    def logged() -> DrawsGlobally:
        return DrawsGlobally(log)

    before = states()
    run = train(tmp_path, logged, algo="a2c", workers=2, steps=40, seed=1, evaluation_episodes=2)
    evaluated = [asyncrl.evaluate(run.folder, 3, env=logged)["returns"] for _ in range(2)]
    assert states() == before
    assert evaluated[0] == evaluated[1]
    draws: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        pid, *numbers = line.split()
        draws.setdefault(pid, []).extend(numbers)
    ours = draws.pop(str(os.getpid()))
    assert len(draws) == 3  # two workers and the evaluator
    numbers = [number for one in (*draws.values(), ours[:3]) for number in one]
    assert len(set(numbers)) == len(numbers)
    other = train(tmp_path, DrawsGlobally, algo="a2c", workers=2, steps=40, seed=2)
    assert parameters(other) != parameters(run)


def test_a_search_does_not_depend_on_who_evaluates(tmp_path):
    settings: dict[str, Any] = {"algo": "es", "mode": "sync", "population": 8, "sigma": 0.3, "episodes": 2}
    made = ((1, 3), (3, 3), (1, 4))
    one, three, other = (train(tmp_path, DrawsGlobally, workers=n, steps=240, seed=seed, **settings) for n, seed in made)
    assert parameters(one) == parameters(three)
    assert parameters(one) != parameters(other)
    assert one.summary["return_mean_last_100"] == three.summary["return_mean_last_100"]


def test_a_function_that_draws_is_minimised_in_the_same_way_by_any_number_of_workers():
    def noisy(x):
        return float(((x - 1) ** 2).sum() + 0.1 * np.random.randn() + 0.1 * random.gauss(0, 1) + 0.1 * float(torch.randn(())))

    before = states()
    found = [asyncrl.minimize(noisy, np.zeros(3), "es", evaluations=80, workers=n, seed=seed, mode="sync") for n, seed in ((1, 3), (2, 3))]
    assert states() == before
    assert np.array_equal(found[0].x, found[1].x)
    assert found[0].value == found[1].value
    assert found[0].best_value == found[1].best_value


def test_a_network_begins_as_its_seed_says():
    policy = Policy(spec_of(CountingEnv()), "auto", NetworkOptions(), dropping)
    before = states()
    first = policy.initial(1)
    np.random.seed(7)
    assert np.array_equal(policy.initial(1), first)
    assert not np.array_equal(policy.initial(2), first)
    load_states(before)


def load_states(before: tuple[Any, ...]) -> None:
    key, (position, has_gauss, gauss), own, of_torch = before
    np.random.set_state(("MT19937", np.array(key, np.uint32), position, has_gauss, gauss))
    random.setstate(own)
    torch.set_rng_state(torch.tensor(of_torch, dtype=torch.uint8))


def draw() -> list[float]:
    return [np.random.randn(), random.gauss(0, 1), float(torch.rand(()))]


def test_they_go_on_from_what_was_saved():
    with kept_generators():
        seed_generators(1, 2)
        draw()  # so that half a pair of normal numbers is left
        state, arrays = save_generators()
        first = draw()
        load_generators(state, arrays)
        assert draw() == first
        seed_generators(1, 3)
        assert not set(draw()) & set(first)


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937])
def test_what_the_caller_has_put_into_numpy_comes_back(bits):
    ours = np.random.get_bit_generator()
    theirs = bits(5)
    try:
        np.random.set_bit_generator(theirs)
        np.random.randn()
        before = np.random.get_state(legacy=False)
        with kept_generators():
            seed_generators(1)
            first = np.random.randn()
        assert np.random.get_bit_generator() is theirs
        assert str(np.random.get_state(legacy=False)) == str(before)
        with kept_generators():
            seed_generators(1)
            assert np.random.randn() == first
    finally:
        np.random.set_bit_generator(ours)


def test_torch_that_is_loaded_meanwhile_begins_like_any_other():
    """In a process of its own, since torch is loaded here."""
    code = (
        "import sys\nfrom asyncrl.envs import kept_generators, seed_generators\nassert 'torch' not in sys.modules\n"
        "with kept_generators():\n    import torch\n    seed_generators(1)\n    torch.rand(3)\n"
        "assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator()))"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(asyncrl.__file__).parent.parent)
