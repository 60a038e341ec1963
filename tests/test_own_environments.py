"""What every environment of ours promises, over the registry: gymnasium's checker, seeds, exact resumption, features, workers."""

from __future__ import annotations

from typing import Any

import gymnasium
import movielens_files
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from test_env_state import assert_goes_on, rollout

from asyncrl.envs import make_env, spec_of, why_not
from asyncrl.registration import OURS

BIG = {"RecSim500k"}
"""Whose arrays take seconds to make."""
NAMES = [pytest.param(one.name, marks=[pytest.mark.slow] if one.name in BIG else []) for one in OURS]


@pytest.fixture(autouse=True)
def _what_they_need(request, tmp_path_factory, monkeypatch):
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name", "")
    if str(name).startswith("Restricted"):
        pytest.importorskip("mujoco")
    folder = tmp_path_factory.getbasetemp() / "ml-small"
    if not folder.exists():
        movielens_files.write(folder, movielens_files.small_log())
    monkeypatch.setenv("ASYNCRL_MOVIELENS", str(folder))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_gymnasiums_checker_finds_nothing(name):
    env = gymnasium.make(f"asyncrl/{name}-v0", disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_determines_everything(name):
    given = []
    for _ in range(2):
        env = make_env(f"asyncrl/{name}-v0")
        env.action_space.seed(1)
        first = env.reset(seed=7)[0].tobytes()
        given.append([first, *rollout(env, [env.action_space.sample() for _ in range(150)])])
    assert given[0] == given[1]
    env.reset(seed=8)
    assert given[0][1:] != rollout(env, [env.action_space.sample() for _ in range(150)])


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_exactly(name):
    assert why_not(make_env(f"asyncrl/{name}-v0")) is None
    assert_goes_on(f"asyncrl/{name}-v0", 33)


@pytest.mark.parametrize("name", NAMES)
def test_spaces_fit_and_features_belong_to_the_actions(name):
    env = make_env(f"asyncrl/{name}-v0")
    spec = spec_of(env)
    assert len(spec.observation_shape) == 1
    observation = env.reset(seed=1)[0]
    for _ in range(60):
        assert env.observation_space.contains(observation)
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        observation = env.reset()[0] if terminated or truncated else observation
    space: Any = env.action_space
    if isinstance(space, spaces.Discrete):
        features = env.unwrapped.action_features  # type: ignore[attr-defined]
        assert features.dtype == np.float32
        assert len(features) == space.n
        assert not features.flags.writeable
        assert np.abs(features).max() <= 1.0


@pytest.mark.parametrize("name", NAMES)
def test_the_time_limit(name):
    env = make_env(f"asyncrl/{name}-v0")
    assert env.spec is not None
    assert env.spec.max_episode_steps == next(one.steps for one in OURS if one.name == name)
