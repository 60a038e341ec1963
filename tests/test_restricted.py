"""Restricted actions: against the formulas of the specification, written out once more."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from asyncrl.envs.local_optima.restricted import RestrictedAction
from asyncrl.envs.local_optima.spheres import Spheres
from asyncrl.errors import UserError


def plain_radius(components: int, multiplier: float) -> float:
    volume = 0.6 * components / (33 * components) * multiplier
    return float((volume * math.gamma(components / 2 + 1) / math.pi ** (components / 2)) ** (1 / components))


def plainly_valid(unit: list[float], multiplier: float, seed: int = 123) -> bool:
    n = len(unit)
    centres = np.random.RandomState(seed).random((33 * n, n))
    return any(math.dist(unit, centre) < plain_radius(n, multiplier) for centre in centres)


@pytest.mark.parametrize(
    ("components", "difficulty", "multiplier", "radius"),
    [(1, "code", 3, 0.0273), (3, "code", 1.65, 0.1928), (6, "code", 1, 0.3900), (8, "code", 1, 0.5086), (8, "hard", 0.5, 0.4664),
     (1, "hard", 2, None), (1, "harder", 1, None), (3, "hard", 1, None), (3, "harder", 0.5, None), (17, "code", 20, None)],
)  # fmt: skip
def test_spheres_are_those_of_the_formula(components, difficulty, multiplier, radius):
    spheres = Spheres.of_difficulty(components, difficulty)
    assert spheres.radius == pytest.approx(plain_radius(components, multiplier))
    assert radius is None or spheres.radius == pytest.approx(radius, abs=5e-5)
    assert spheres.centres.shape == (33 * components, components)
    points = np.random.default_rng(0).random((200, components))
    assert [spheres.contain(point) for point in points] == [plainly_valid(list(point), multiplier) for point in points]


@pytest.mark.parametrize(
    ("components", "shares"), [(1, (0.798, 0.655, 0.418)), (3, (0.879, 0.753, 0.533)), (6, (0.767, 0.571, 0.377)), (8, (0.712, 0.526))]
)
def test_shares_of_valid_actions_are_those_measured(components, shares):
    points = np.random.default_rng(1).random((20_000, components))
    for difficulty, share in zip(("code", "hard", "harder"), shares):
        spheres = Spheres.of_difficulty(components, difficulty)
        assert np.mean([spheres.contain(point) for point in points]) == pytest.approx(share, abs=0.012)


def test_the_pendulums_intervals():
    spheres = Spheres.of_difficulty(1)
    for low, high in ((-0.935, -0.761), (-0.704, -0.489), (-0.482, 0.157), (0.168, 0.531), (0.644, 0.753), (0.907, 1.0)):
        inside = np.linspace(low + 0.002, high - 0.002, 20)
        assert all(spheres.contain(np.array([(action + 1) / 2])) for action in inside)
        outside = [low - 0.003] + [high + 0.003] * (high < 1)
        assert not any(spheres.contain(np.array([(action + 1) / 2])) for action in outside)


class Echo(gymnasium.Env[Any, Any]):
    """Observes the action that it was given."""

    def __init__(self, low: float = -3.0, high: float = 3.0) -> None:
        self.action_space = spaces.Box(low, high, (1,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.array(action, np.float32), 1.0, False, False, {"own": 1}


@pytest.mark.parametrize(("invalid", "substitute"), [("zeros", 0.0), ("minus_one", -1.0)])
def test_the_wrapper_replaces_what_is_invalid(invalid, substitute):
    env = RestrictedAction(Echo(), invalid=invalid)
    env.reset(seed=1)
    for action in np.linspace(-3.0, 3.0, 101, dtype=np.float32):
        observation, reward, _, _, info = env.step(np.array([action]))
        valid = plainly_valid([(float(action) + 3.0) / 6.0], 3)
        assert info == {"own": 1, "valid_action": valid}
        assert observation[0] == (action if valid else np.float32(substitute))
        assert reward == 1.0


def test_the_codes_reward_and_its_free_first_step():
    invalid = np.array([-2.99], np.float32)
    env = RestrictedAction(Echo(), invalid_reward=-10.0, first_step_free=True)
    for _ in range(2):
        env.reset(seed=1)
        assert env.step(invalid)[:2] == (invalid, 1.0)
        assert env.step(invalid)[:2] == (np.zeros(1), -10.0)
        assert env.step(np.zeros(1, np.float32))[1] == 1.0


def test_own_spheres():
    env = RestrictedAction(Echo(), n_spheres=1, radius=0.25, seed=7)
    centre = np.random.RandomState(7).random_sample()
    assert env.restriction.is_valid([6 * centre - 3])
    assert not env.restriction.is_valid([6 * (centre + 0.26) - 3])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"difficulty": "hader"}, "unknown difficulty 'hader'; did you mean 'harder'"),
        ({"invalid": "one"}, r"unknown substitute for invalid actions 'one'.*\(allowed: zeros, minus_one\)"),
        ({"radius": 0.0}, r"radius = 0.0 cannot be used \(allowed: numbers above 0\)"),
        ({"radius": math.nan}, "radius = nan"),
        ({"n_spheres": 0}, r"0 spheres in 1 components cannot be used \(allowed: from 1 each\)"),
        ({"seed": -1}, "seed = -1 cannot be used"),
    ],
)
def test_wrong_arguments(arguments, told):
    with pytest.raises(UserError, match=told):
        RestrictedAction(Echo(), **arguments)


@pytest.mark.parametrize("env", [Echo(high=np.inf), gymnasium.make("CartPole-v1")])
def test_a_space_that_cannot_be_restricted(env):
    with pytest.raises(UserError, match=r"cannot be restricted \(allowed: a Box of floats with finite bounds\)"):
        RestrictedAction(env)


class TestMujoco:
    """The tasks: what is simulated, and what it costs."""

    @pytest.fixture(autouse=True)
    def _with_mujoco(self):
        pytest.importorskip("mujoco")

    @pytest.mark.filterwarnings("ignore:.*is out of date")
    @pytest.mark.parametrize("simulator", ["v5", "v4"])
    @pytest.mark.parametrize("task", ["InvertedPendulum", "InvertedDoublePendulum", "Hopper", "Walker2d", "HalfCheetah", "Ant"])
    def test_an_invalid_action_is_simulated_as_the_substitute(self, task, simulator):
        env, plain = gymnasium.make(f"asyncrl/Restricted{task}-v0", simulator=simulator), gymnasium.make(f"{task}-{simulator}")
        assert env.observation_space == plain.observation_space
        space = plain.action_space
        assert isinstance(space, spaces.Box)
        substitute = np.full(space.shape, -1.0 if "Pendulum" in task else 0.0, np.float32)
        random, seen = np.random.default_rng(2), set()
        multiplier = {1: 3, 3: 1.65}.get(space.low.size, 1)
        for number in range(60):
            if number % 5 == 0:  # before a fall
                np.testing.assert_array_equal(env.reset(seed=number)[0], plain.reset(seed=number)[0])
            action = random.uniform(space.low, space.high).astype(np.float32)
            valid = plainly_valid(list((action.astype(float) - space.low) / (space.high - space.low)), multiplier)
            observation, reward, *_, info = env.step(action)
            other, usual, *_ = plain.step(action if valid else substitute)
            np.testing.assert_array_equal(observation, other)
            cost = getattr(plain.unwrapped, "_ctrl_cost_weight", 0.0) * (np.square(action).sum() - np.square(substitute).sum())
            assert reward == pytest.approx(usual if valid else usual - cost, abs=1e-6)
            assert info["valid_action"] == valid
            seen.add(valid)
        assert seen == {True, False}

    def test_the_codes_reward(self):
        env = gymnasium.make("asyncrl/RestrictedInvertedPendulum-v0", invalid_reward=-10.0, first_step_free=True)
        env.reset(seed=1)
        assert env.step(np.array([-3.0], np.float32))[1] == 1.0
        assert env.step(np.array([-3.0], np.float32))[1] == -10.0

    def test_harder_ids_have_fewer_valid_actions(self):
        made: list[Any] = [gymnasium.make(f"asyncrl/RestrictedHopper{word}-v0").unwrapped for word in ("", "Hard", "Harder")]
        radii = [env.restriction.spheres.radius for env in made]
        assert radii == pytest.approx([plain_radius(3, multiplier) for multiplier in (1.65, 1.0, 0.5)])

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [({"simulator": "v3"}, "unknown simulator 'v3'; did you mean 'v5'"), ({"task": "Hoper"}, "did you mean 'Hopper'")],
    )
    def test_wrong_words(self, arguments, told):
        with pytest.raises(UserError, match=told):
            gymnasium.make("asyncrl/RestrictedHopper-v0", **arguments)
