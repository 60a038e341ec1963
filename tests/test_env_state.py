"""Saving environments: what goes on after a restore is bit for bit what would have gone on."""

from __future__ import annotations

import collections
import enum
import functools
import hashlib
import json
import pathlib
import random
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import environments
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, NormalizeObservation, RecordEpisodeStatistics

from asyncrl.envs import EnvSource, load_state, make_env, save_state, why_not
from asyncrl.errors import UserError

CLASSIC = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCarContinuous-v0", "FrozenLake-v1", "Blackjack-v1"]
MUJOCO = ["HalfCheetah-v5", "Hopper-v5", "Ant-v5", "Humanoid-v5"]


def rollout(env: gymnasium.Env[Any, Any], actions: list[Any]) -> list[bytes]:
    """All that an environment gives, as bytes; episodes begin without a seed."""
    given = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        given.append(np.asarray(observation).tobytes() + np.float64(reward).tobytes() + bytes([terminated, truncated]))
        if terminated or truncated:
            given.append(np.asarray(env.reset()[0]).tobytes())
    return given


def saved(env: gymnasium.Env[Any, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A state after the way through a file, detached from the environment."""
    state = save_state(env)
    assert state is not None, why_not(env)
    return json.loads(json.dumps(state[0], sort_keys=True, allow_nan=False)), {name: array.copy() for name, array in state[1].items()}


def assert_goes_on(source: EnvSource, before: int, after: int = 200) -> None:
    env = make_env(source)
    env.reset(seed=3)
    env.action_space.seed(5)
    rollout(env, [env.action_space.sample() for _ in range(before)])
    json_part, arrays = saved(env)
    actions = [env.action_space.sample() for _ in range(after)]
    expected = rollout(env, actions)
    other = make_env(source)
    other.reset(seed=99)
    load_state(other, json_part, arrays)
    assert all(np.array_equal(action, other.action_space.sample()) for action in actions)
    assert rollout(other, actions) == expected
    again = make_env(source)
    again.reset(seed=99)
    assert rollout(again, actions) != expected  # it was the state that made them equal


@pytest.mark.parametrize("before", [0, 150])
@pytest.mark.parametrize("name", CLASSIC)
def test_classic_environments_go_on_exactly(name: str, before: int) -> None:
    assert why_not(make_env(name)) is None
    assert_goes_on(name, before)


@pytest.mark.parametrize("before", [0, 7, 150])
@pytest.mark.parametrize("name", MUJOCO)
def test_mujoco_environments_go_on_exactly(name: str, before: int) -> None:
    pytest.importorskip("mujoco")
    assert_goes_on(name, before)


def test_wrappers_go_on_exactly() -> None:
    assert_goes_on(lambda: NormalizeObservation(RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))), 60)
    assert_goes_on(environments.ImageEnv, 13, 30)
    assert_goes_on(lambda: FlattenObservation(gymnasium.make("FrozenLake-v1")), 13)


def test_the_simulation_is_restored_where_it_lags_behind() -> None:
    mujoco = pytest.importorskip("mujoco")
    env = make_env("Ant-v5")
    env.reset(seed=1)
    rollout(env, [env.action_space.sample() for _ in range(5)])
    json_part, arrays = saved(env)
    other = make_env("Ant-v5")
    other.reset(seed=2)
    load_state(other, json_part, arrays)
    here, there = env.unwrapped.data, other.unwrapped.data  # type: ignore[attr-defined]
    for name in ("qpos", "qvel", "qacc_warmstart", "xpos", "cfrc_ext", "cinert", "geom_xpos", "ctrl"):
        assert getattr(here, name).tobytes() == getattr(there, name).tobytes(), name
    assert here.time == there.time
    mujoco.mj_forward(env.unwrapped.model, here)  # type: ignore[attr-defined]
    assert here.xpos.tobytes() != there.xpos.tobytes()  # so it was behind, and this test can fail


def test_another_process_goes_on_exactly(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("mujoco")
    env = make_env("Hopper-v5")
    env.reset(seed=3)
    rollout(env, [env.action_space.sample() for _ in range(30)])
    json_part, arrays = saved(env)
    (tmp_path / "state.json").write_text(json.dumps(json_part))
    np.savez(tmp_path / "state.npz", **arrays)  # type: ignore[arg-type]
    code = (
        "import json, sys, hashlib; sys.path.insert(0, sys.argv[1]); import numpy as np, test_env_state as t\n"
        "env = t.make_env('Hopper-v5'); env.reset(seed=1)\n"
        "t.load_state(env, json.load(open('state.json')), dict(np.load('state.npz', allow_pickle=False)))\n"
        "print(hashlib.sha256(b''.join(t.rollout(env, [env.action_space.low * 0.5] * 100))).hexdigest())\n"
    )
    folder = str(pathlib.Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert isinstance(env.action_space, spaces.Box)
    expected = hashlib.sha256(b"".join(rollout(env, [env.action_space.low * 0.5] * 100))).hexdigest()
    assert done.stdout.strip() == expected


class Phase(enum.Enum):
    """An attribute that is a member of an enum."""

    UP = 1
    DOWN = 2


@dataclass(frozen=True)
class Settings:
    """A configuration that cannot change."""

    width: int = 3
    names: tuple[str, ...] = ("a", "b")


class RichEnv(environments.CountingEnv):
    """One attribute of each kind that can be saved."""

    __slots__ = ("in_slot",)

    def __init__(self) -> None:
        super().__init__(length=5)
        self.settings, self.path, self.method = Settings(), pathlib.Path("a/b"), self.draw
        self.scale = functools.partial(max, 3)
        self.phase = Phase.UP
        self.queue: collections.deque[Any] = collections.deque(maxlen=3)
        self.table: dict[Any, Any] = {(1, 2): "x", 3: [None, -0.0, float("inf")]}
        self.seen: set[int] = set()
        self.fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        self.text, self.flags, self.empty = np.array(["ab", "c"]), np.array([True, False]), np.zeros((0, 3))
        self.python, self.legacy = random.Random(1), np.random.RandomState(2)
        self.philox, self.twister = np.random.Generator(np.random.Philox(3)), np.random.Generator(np.random.MT19937(4))
        self.shared = self.first = [1]
        self.inner = spaces.Dict({"a": spaces.Discrete(100)})
        self.in_slot = 0.0
        self.observation_space = spaces.Box(-np.inf, np.inf, (14,), np.float64)

    def draw(self) -> float:
        return float(self.np_random.random())

    def observe(self) -> Any:
        self.queue.append(np.array([self.draw(), self.total]))
        self.table[self.total] = (self.draw(), np.float32(self.total), 2 + 3j if self.total < 0 else b"\x00")
        self.seen.add(self.total)
        self.phase = Phase.DOWN if self.total % 2 else Phase.UP
        self.fortran += self.draw()
        self.first.append(self.total)  # and with it self.shared, the same list
        self.in_slot += self.draw()
        self.late = self.draw()  # an attribute that a new environment gets later
        draws = [self.python.random(), self.python.gauss(0, 1), self.legacy.randn(), self.philox.normal(), self.twister.random()]
        child = self.philox.spawn(1)[0].random()
        state = [self.in_slot, self.fortran.sum(), sum(self.shared), len(self.seen), len(self.table), self.queue[0][0], self.phase.value]
        return np.array([*draws, child, *state, self.inner.sample()["a"]], dtype=np.float64)


def test_every_kind_of_attribute_goes_on_exactly() -> None:
    env = RichEnv()
    env.inner.seed(6)
    env.reset(seed=1)
    rollout(env, [0] * 7)
    json_part, arrays = saved(env)
    expected = rollout(env, [0] * 40)
    other = RichEnv()
    other.reset(seed=2)
    other.extra = 1  # type: ignore[attr-defined]
    load_state(other, json_part, arrays)
    assert other.first is other.shared and other.queue.maxlen == 3
    assert other.fortran.flags.f_contiguous and not other.fortran.flags.c_contiguous
    assert type(other.table[1][1]) is np.float32 and other.text.tolist() == ["ab", "c"] and other.empty.shape == (0, 3)
    assert other.table[(1, 2)] == "x" and list(other.table) == [(1, 2), 3, 0, 1, 2, 4, 5, 6, 7]
    assert not hasattr(other, "extra")  # it was not there when the state was saved
    assert rollout(other, [0] * 40) == expected


def test_a_state_does_not_change_with_its_environment() -> None:
    env = RichEnv()
    env.reset(seed=1)
    state = save_state(env)
    assert state is not None
    text, first = json.dumps(state[0]), {name: array.copy() for name, array in state[1].items()}
    rollout(env, [0] * 9)
    assert json.dumps(state[0]) == text and all(np.array_equal(array, state[1][name]) for name, array in first.items())


class Opaque:
    """A type of the user's own."""


def _with(value: Any, name: str = "thing") -> gymnasium.Env[Any, Any]:
    env = environments.CountingEnv()
    setattr(env, name, value)
    return make_env(lambda: gymnasium.wrappers.TimeLimit(env, 5))


def _counter() -> Any:
    calls: list[int] = []
    return lambda: calls.append(1)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Opaque(), r"layer 1 \(CountingEnv\), attribute 'thing' has type test_env_state.Opaque"),
        ([1, {"a": Opaque()}], r"attribute 'thing'\[1\]\[1\] has type test_env_state.Opaque"),
        (threading.Lock(), "type _thread.lock"),
        (iter([1]), "type builtins.list_iterator"),
        (np.array([Opaque()]), "array of dtype object"),
        (_counter(), "type builtins.function with values that can change"),
        ([].append, "with values that can change"),
        (np.random.default_rng(1).random, "with values that can change"),
        (environments.CountingEnv(), "type environments.CountingEnv"),
        (collections.OrderedDict(a=1), "type collections.OrderedDict"),
    ],
)
def test_what_cannot_be_saved_is_named(value: Any, told: str) -> None:
    env = _with(value)
    assert save_state(env) is None
    assert re.search(told, str(why_not(env))), why_not(env)


def test_arrays_that_share_memory_cannot_be_saved() -> None:
    whole = np.zeros(4)
    assert save_state(_with({"whole": whole, "part": whole[1:3]})) is None
    assert save_state(_with({"left": whole[:2], "right": whole[2:]})) is not None
    assert save_state(_with({"one": whole, "same": whole})) is not None


def test_views_of_a_simulation_cannot_be_saved() -> None:
    pytest.importorskip("mujoco")
    env = make_env("Hopper-v5")
    assert why_not(env) is None
    env.unwrapped.view = env.unwrapped.data.qpos  # type: ignore[attr-defined]
    assert "share memory" in str(why_not(env))


class OwnEnv(environments.CountingEnv):
    """Saves itself, since it holds a thing that asyncrl cannot save."""

    def __init__(self) -> None:
        super().__init__()
        self.thing = Opaque()

    def save_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"total": self.total}, {"counts": np.array([self.episode, self.count])}

    def load_state(self, json_part: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.total = json_part["total"]
        self.episode, self.count = arrays["counts"].tolist()


def test_an_environment_may_save_itself() -> None:
    def source() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.TimeLimit(OwnEnv(), 7)

    env = make_env(source)
    env.reset(seed=1)
    rollout(env, [0] * 17)
    json_part, arrays = saved(env)
    expected = rollout(env, [0] * 30)
    other = make_env(source)
    other.reset(seed=2)
    load_state(other, json_part, arrays)
    assert rollout(other, [0] * 30) == expected


def _cartpole() -> tuple[gymnasium.Env[Any, Any], dict[str, Any], dict[str, np.ndarray]]:
    env = make_env("CartPole-v1")
    env.reset(seed=1)
    return env, *saved(env)


def test_a_state_of_something_else_is_refused() -> None:
    _, json_part, arrays = _cartpole()
    for name, told in (("Pendulum-v1", "layers TimeLimit, OrderEnforcing, CartPoleEnv, not"), ("FrozenLake-v1", "layers")):
        other = make_env(name)
        other.reset(seed=1)
        with pytest.raises(UserError, match=told):
            load_state(other, json_part, arrays)


def test_another_model_is_refused() -> None:
    pytest.importorskip("mujoco")
    env = make_env("Hopper-v5")
    env.reset(seed=1)
    json_part, arrays = saved(env)
    other = make_env("Hopper-v5")
    other.reset(seed=1)
    other.unwrapped.model.opt.timestep *= 2  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="model"):
        load_state(other, json_part, arrays)


def test_a_function_that_is_another_one_is_refused() -> None:
    env, other = environments.CountingEnv(), environments.CountingEnv()
    env.rule, other.rule = sorted, sum  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="attribute 'rule': the function sorted is another one"):
        load_state(other, *saved(env))


def _damage(json_part: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    damaged = json.loads(json.dumps(json_part))
    damaged["layers"][2]["attributes"][place] = value
    return damaged


@pytest.mark.parametrize(
    "value",
    [
        {"array": "nothing", "dtype": "<f8", "shape": [4], "fortran": False},
        {"array": "2.state", "dtype": "<f8", "shape": [400], "fortran": False},
        {"array": "2.state", "dtype": "<f8", "shape": [3], "fortran": False},
        {"array": "2.state", "dtype": "|O", "shape": [4], "fortran": False},
        {"generator": {"kind": "default_rng", "state": {}, "seeds": {}}},
        {"call": "os.system"},
        {"same": 12345},
        {"keep": "function", "like": "f"},
        {"enum": "Phase", "name": "UP"},
        {"float": "one"},
        {"simulation": {}, "key": "2.state"},
        {"dict": [1]},
        {"dict": [{"list": []}, 1]},
        [1, 2],
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(value: Any) -> None:
    env, json_part, arrays = _cartpole()
    env.step(0)
    before = json.dumps(saved(env)[0], sort_keys=True)
    with pytest.raises(UserError, match="does not fit the environment"):
        load_state(env, _damage(json_part, "zzz", value), arrays)
    assert json.dumps(saved(env)[0], sort_keys=True) == before
    load_state(env, json_part, arrays)  # and the whole one fits


@pytest.mark.parametrize("json_part", [{}, {"version": 2, "layers": []}, {"version": 1}, {"version": 1, "layers": [1]}])
def test_other_json_is_refused(json_part: dict[str, Any]) -> None:
    env, _, arrays = _cartpole()
    with pytest.raises(UserError, match="does not fit"):
        load_state(env, json_part, arrays)


def test_wrapped_environments_cannot_be_replaced() -> None:
    env, json_part, arrays = _cartpole()
    json_part["layers"][1]["attributes"]["env"] = None
    with pytest.raises(UserError, match="'env' is not part of a state"):
        load_state(env, json_part, arrays)
