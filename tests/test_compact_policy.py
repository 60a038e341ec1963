"""Compact heads under A3C: gradients pulled back to the compact vector, acting, learning, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from asyncrl.actors.rollout import Actor
from asyncrl.algos.a3c import A3C, A3COptions
from asyncrl.envs import GymnasiumStepping
from asyncrl.envs.spec import EnvSpec, spec_of
from asyncrl.errors import UserError
from asyncrl.heads.choice import ACTOR_CRITIC_LAYERS
from asyncrl.heads.options import NetworkOptions
from asyncrl.heads.policy import Policy
from asyncrl.learners.gradients import WrittenGradient

BOX = EnvSpec((5,), "float32", "box", (), (2,), (-1.0,) * 2, (1.0,) * 2, ())
DISCRETE = EnvSpec((5,), "float32", "discrete", (3,), (), (), (), (0,))


def lively(policy, seed=0):
    return (policy.initial(seed) + 0.3 * np.random.default_rng(seed).standard_normal(policy.size)).astype(np.float32)


def stepping(policy):
    return GymnasiumStepping([Sides()], policy.spec)


def rolled(policy, seed=1):
    """A trajectory of random numbers."""
    generator = np.random.default_rng(seed)
    actor = Actor(stepping(policy), Policy(policy.spec, "auto", NetworkOptions()), policy.initial(0), 6, [], generator)
    trajectory = actor.trajectory
    trajectory.observation[:] = generator.standard_normal(trajectory.observation.shape)
    trajectory.reward[:] = generator.standard_normal(trajectory.reward.shape)
    trajectory.action[:] = generator.integers(0, 2, trajectory.action.shape)
    return trajectory


@pytest.mark.parametrize("head", ACTOR_CRITIC_LAYERS)
@pytest.mark.parametrize("trunk", ["separate", "shared"])
@pytest.mark.parametrize("spec", [BOX, DISCRETE], ids=["box", "discrete"])
def test_the_gradient_is_the_dense_ones_pulled_back(head, trunk, spec):
    hidden = None if head == "linear" else (7, 4)
    policy = Policy(spec, head, NetworkOptions(hidden=hidden, trunk=trunk, rank=2))
    dense_policy = Policy(spec, "auto", NetworkOptions(hidden=hidden or (), trunk=trunk))
    vector, trajectory = lively(policy), rolled(policy)
    options = A3COptions(t_max=6)
    learner = WrittenGradient(policy, vector, 6, 1, options, A3C)
    losses = learner(trajectory, 0.1)
    dense = policy.dense(vector)
    policy.expand(vector, dense)
    assert dense.size == dense_policy.size and policy.name == head and dense_policy.name == dense_policy.head.name
    by_dense = WrittenGradient(dense_policy, dense, 6, 1, options, A3C)
    assert losses == pytest.approx(by_dense(trajectory, 0.1))

    def along(step):
        """The dense gradient times the dense vector at a point beside `vector`."""
        out = np.zeros(dense.size)
        policy.expand(vector.astype(np.float64) + step, out)
        return out @ by_dense.gradient.astype(np.float64)

    for k in range(policy.size):
        step = np.zeros(policy.size)
        step[k] = 1e-5
        slope = (along(step) - along(-step)) / 2e-5
        assert learner.gradient[k] == pytest.approx(slope, rel=1e-3, abs=2e-5)


class Sides(gymnasium.Env[Any, Any]):
    """Observations of two numbers; reward 1 for action 0 where the first is above the second, and for action 1 elsewhere."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._next(), {}

    def step(self, action):
        reward = float((self._seen[0] > self._seen[1]) == (action == 0))
        return self._next(), reward, False, False, {}

    def _next(self):
        self._seen = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._seen


@pytest.mark.parametrize("head", ACTOR_CRITIC_LAYERS)
def test_a_compact_head_learns_under_a3c(head):
    policy = Policy(spec_of(Sides()), head, NetworkOptions(hidden=None if head == "linear" else (8,)))
    vector = policy.initial(0)
    actor = Actor(stepping(policy), policy, vector, 20, [], np.random.default_rng(7))
    actor.reset([0])
    learner = WrittenGradient(policy, vector, 20, 1, A3COptions(t_max=20, gamma=0.0), A3C)
    rewards = []
    for _ in range(400):
        trajectory = actor.collect(0, 0.0)
        learner(trajectory, 0.0)
        vector -= np.float32(0.3) * learner.gradient
        rewards.append(trajectory.reward.mean())
    assert np.mean(rewards[:5]) < 0.7 and np.mean(rewards[-50:]) > 0.85, (np.mean(rewards[:5]), np.mean(rewards[-50:]))


def test_actors_act_on_what_the_vector_is_now():
    policy = Policy(spec_of(Sides()), "toeplitz", NetworkOptions())
    dense_policy = Policy(spec_of(Sides()), "auto", NetworkOptions(hidden=(41, 41)))
    vector = np.zeros(policy.size, np.float32)
    dense = policy.dense(vector)
    actors = [Actor(stepping(p), p, v, 30, [], np.random.default_rng(5)) for p, v in ((policy, vector), (dense_policy, dense))]
    for actor in actors:
        actor.reset([0])
    for seed in range(3):
        vector[:] = 3 * lively(policy, seed)
        policy.expand(vector, dense)
        compact, by_dense = (actor.collect(0, 0.0).action.copy() for actor in actors)
        np.testing.assert_array_equal(compact, by_dense)


def test_a_compact_policys_bad_input():
    image = EnvSpec((3, 36, 40), "uint8", "discrete", (4,), (), (), (), (0,))
    with pytest.raises(UserError, match=r"head 'toeplitz' needs observations that are one flat vector.*images"):
        Policy(image, "toeplitz", NetworkOptions())
    with pytest.raises(UserError, match="recurrent = 8 cannot be used"):
        Policy(BOX, "hankel", NetworkOptions(recurrent=8))
    with pytest.raises(UserError, match="head 'linear' has no hidden layers"):
        Policy(BOX, "linear", NetworkOptions(hidden=(8,)))
    with pytest.raises(UserError, match="virtual_batch = 4 cannot be used"):
        Policy(BOX, "auto", NetworkOptions(virtual_batch=4))
    with pytest.raises(UserError, match="brings its own network"):
        Policy(BOX, "cauchy", NetworkOptions(), lambda spec, outputs: None)
    with pytest.raises(UserError, match="unknown head 'toeplits'; did you mean 'toeplitz'"):
        Policy(BOX, "toeplits", NetworkOptions())
