"""Actions are of the action space's own type and shape, wherever an environment is given one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from environments import CountingEnv, Step
from gymnasium import spaces
from running import train

import asyncrl
from asyncrl.actors.episodes import EpisodeRunner
from asyncrl.actors.rollout import Actor
from asyncrl.envs import CheckedEnvironment, GymnasiumStepping, make_env, spec_of
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.heads.roles import Role
from asyncrl.heads.search_policy import SearchPolicy
from asyncrl.heads.tower import TowerPolicy

SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3),
    "discrete, short": spaces.Discrete(3, start=-2, dtype=np.int8),
    "discrete, long": spaces.Discrete(3, start=2**63 + 5, dtype=np.uint64),
    "multidiscrete": spaces.MultiDiscrete([3, 4]),
    "multidiscrete, short": spaces.MultiDiscrete([3, 4], dtype=np.uint8),
    "multidiscrete, negative": spaces.MultiDiscrete([3, 4], dtype=np.int8, start=[-100, 120]),
    "multibinary": spaces.MultiBinary(3),
    "box": spaces.Box(-1, 1, (2,), np.float32),
    "box, short": spaces.Box(np.float16(-0.1), np.float16(0.3), (2, 2), np.float16),
    "box, long": spaces.Box(np.array([-1.0, 0.1, 0.1]), np.array([1.0, 0.1, 0.30000000000000004]), dtype=np.float64),
    "box, unbounded": spaces.Box(-np.inf, np.inf, (), np.float64),
}


class Strict(CountingEnv):
    """Takes what its action space contains, of the type that it gives itself, and nothing else."""

    def __init__(self, name: str) -> None:
        super().__init__(length=5)
        self.action_space = SPACES[name]
        self.kept: list[Any] = []

    def step(self, action: Any) -> Step:
        own = self.action_space.sample()
        assert type(action) is type(own), f"{type(action)} where {type(own)} was expected"
        assert (action.dtype, action.shape) == (own.dtype, own.shape), f"{action!r} where one like {own!r} was expected"
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        if action.shape:
            assert action.flags.owndata or action.base.flags.owndata
            assert not any(np.shares_memory(action, one) for one in self.kept[-3:])
            self.kept.append(action)
        return super().step(action)


def strict(name: str) -> Any:
    def make(render_mode: str | None = None) -> Strict:
        return Strict(name)

    return make


def policies(name: str) -> list[Any]:
    """Every kind of policy that fits the space."""
    spec, plain = spec_of(make_env(strict(name))), NetworkOptions()
    found: list[Any] = [Policy(spec, "auto", plain), Policy(spec, "auto", NetworkOptions(recurrent=4)), SearchPolicy(spec, "linear", plain)]
    found.append(SearchPolicy(spec, "toeplitz", NetworkOptions(hidden=(1024, 1024))))  # so wide that it acts by FFT
    if spec.action_kind == "discrete":
        found.append(Policy(spec, "auto", plain, role=Role.ACTION_VALUES))
    if spec.action_kind == "box":
        found.append(Policy(spec, "auto", NetworkOptions(squash=True)))
    if spec.action_kind == "box" and np.isfinite(spec.action_low).all():
        found += [TowerPolicy(spec, head, (8,)) for head in ("deterministic", "squashed")]
        found += [SearchPolicy(spec, "linear", NetworkOptions(squash=True)), SearchPolicy(spec, "linear", plain, action_bins=4)]
    return found


@pytest.mark.parametrize("name", SPACES)
def test_every_policy_gives_members_of_the_space(name):
    generator = np.random.default_rng(0)
    for policy in policies(name):
        for scale in (1.0, 100.0):
            environment = Strict(name)
            vector = (policy.initial(1) + scale * generator.standard_normal(policy.size)).astype(np.float32)
            if isinstance(policy, SearchPolicy):
                player = policy.player()
                player.set(vector)
                assert EpisodeRunner(CheckedEnvironment(environment, policy.spec), player).run(0).length == 5
                continue
            actor = Actor(GymnasiumStepping([environment], policy.spec), policy, vector, 12, [], generator)
            actor.reset([0])
            actor.collect(0, 0.0)
            actor.uniform = np.isfinite(policy.spec.action_low).all()
            actor.collect(1, 0.0)
            assert environment.total == 24


@pytest.mark.parametrize(
    ("algo", "name", "options"),
    [
        ("a2c", "multidiscrete, short", {}),
        ("sac", "box, short", {"warm_up": 16, "batch": 8, "replay": 100, "hidden": (8,)}),
        ("es", "box, short", {"population": 4}),
        ("q1", "discrete, short", {}),
    ],
)
def test_training_and_evaluation_give_members_of_the_space(tmp_path, algo, name, options):
    run = train(tmp_path, strict(name), algo=algo, workers=1, steps=40, evaluation_episodes=2, **options)
    assert run.error is None
    assert run.summary["evaluation_return"] == 5.0
    assert asyncrl.evaluate(run.folder, 2, env=strict(name))["returns"] == [5.0, 5.0]
