"""Environments: made from ids and functions, described, checked, and shipped to other processes."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import environments
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from asyncrl.envs import EnvSpec, checked_reset, make_env, observation_fault, reward_fault, ship, spec_of, unship
from asyncrl.errors import UserError


class SpacesEnv(environments.CountingEnv):
    """Any spaces; observations are samples."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any] | None = None) -> None:
        super().__init__()
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Discrete(2)

    def observe(self) -> Any:
        return self.observation_space.sample()


VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)


def test_a_vector_environment_gains_no_wrapper() -> None:
    def chain(env: gymnasium.Env[Any, Any]) -> list[str]:
        return [type(env).__name__, *(chain(env.env) if isinstance(env, gymnasium.Wrapper) else [])]

    assert chain(make_env("CartPole-v1")) == ["TimeLimit", "OrderEnforcing", "CartPoleEnv"]
    made = environments.CountingEnv()
    assert make_env(lambda: made) is made


def test_spec_of_discrete_and_box() -> None:
    spec = spec_of(make_env("CartPole-v1"))
    assert spec == EnvSpec((4,), "float32", "discrete", (2,), (), (), (), (0,), "int64")
    assert (spec.is_image, spec.observation_size, spec.action_size) == (False, 4, 1)
    spec = spec_of(make_env("Pendulum-v1"))
    assert spec == EnvSpec((3,), "float32", "box", (), (1,), (-2.0,), (2.0,), (), "float32")
    spec = spec_of(make_env(lambda: SpacesEnv(VECTOR, spaces.Box(-np.inf, np.inf, (2, 3), np.float64))))
    assert (spec.action_shape, spec.action_size, spec.action_low, spec.action_dtype) == ((2, 3), 6, (-np.inf,) * 6, "float64")
    assert len({spec, spec}) == 1  # hashable


@pytest.mark.parametrize(
    ("space", "sizes", "start"),
    [
        (spaces.MultiDiscrete([3, 5]), (3, 5), (0, 0)),
        (spaces.MultiDiscrete([3, 5], start=[1, -1]), (3, 5), (1, -1)),
        (spaces.MultiBinary(3), (2, 2, 2), (0, 0, 0)),
    ],
)
def test_spec_of_multidiscrete(space: spaces.Space[Any], sizes: tuple[int, ...], start: tuple[int, ...]) -> None:
    spec = spec_of(make_env(lambda: SpacesEnv(VECTOR, space)))
    assert (spec.action_kind, spec.action_sizes, spec.action_shape, spec.action_start) == ("multidiscrete", sizes, (len(sizes),), start)
    assert spec_of(make_env(lambda: SpacesEnv(VECTOR, spaces.Discrete(4, start=2)))).action_start == (2,)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2))),
        spaces.Dict({"a": spaces.Discrete(2)}),
        spaces.MultiDiscrete([[2, 2], [3, 3]]),
        spaces.Box(0, 5, (2,), np.int64),
    ],
)
def test_unusable_action_spaces_are_named(space: spaces.Space[Any]) -> None:
    with pytest.raises(UserError, match=rf"action space {type(space).__name__}.*allowed: Discrete"):
        spec_of(make_env(lambda: SpacesEnv(VECTOR, space)))


def test_unusable_observation_spaces_are_named() -> None:
    with pytest.raises(UserError, match=r"observation space Sequence\(Discrete\(3\)"):
        make_env(lambda: SpacesEnv(spaces.Sequence(spaces.Discrete(3))))
    with pytest.raises(UserError, match="observation space Discrete"):
        spec_of(SpacesEnv(spaces.Discrete(3)))
    with pytest.raises(UserError, match="empty"):
        spec_of(SpacesEnv(spaces.Box(0, 1, (0,), np.float32)))


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Discrete(7), 7),
        (spaces.MultiDiscrete([3, 4]), 7),
        (spaces.MultiBinary(5), 5),
        (spaces.Box(-1, 1, (2, 3), np.float64), 6),
        (spaces.Box(-1, 1, (), np.float32), 1),
        (spaces.Dict({"image": spaces.Box(0, 255, (8, 8, 3), np.uint8), "x": VECTOR}), 195),
    ],
)
def test_other_observations_become_one_vector(space: spaces.Space[Any], size: int) -> None:
    env = make_env(lambda: SpacesEnv(space))
    spec = spec_of(env)
    assert (spec.observation_shape, spec.observation_dtype) == ((size,), "float32")
    checked_reset(env, spec, seed=1)
    assert observation_fault(env.step(0)[0], spec) is None


def test_dict_observations_keep_their_values() -> None:
    env = make_env(environments.DictEnv)
    spec = spec_of(env)
    checked_reset(env, spec, seed=1)
    observation = env.step(0)[0]
    assert spec.observation_size == 11
    assert observation.tolist() == [0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1]


def test_images_get_their_channels_first() -> None:
    env = make_env(environments.ImageEnv)
    spec = spec_of(env)
    assert (spec.observation_shape, spec.observation_dtype, spec.is_image) == ((3, 84, 84), "uint8", True)
    image, _ = checked_reset(env, spec, seed=4)
    raw, _ = environments.ImageEnv().reset(seed=4)
    assert image.dtype == np.uint8 and np.array_equal(image, raw.transpose(2, 0, 1))
    assert env.observation_space.contains(image)
    first = make_env(functools.partial(environments.ImageEnv, channels_first=True))
    assert isinstance(first, environments.ImageEnv)  # nothing to transpose
    assert spec_of(first).observation_shape == (4, 84, 84)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("CartPol-v1", "did you mean 'CartPole-v1'"),
        ("cartpole", "did you mean 'CartPole-v1'"),
        ("CartPole-v9", r"did you mean 'CartPole-v1'\? \(allowed: CartPole-v0, CartPole-v1\)"),
        ("Taxi-v1", "did you mean 'Taxi-v"),
        ("NoSpace/CartPole-v1", "nothing is registered under 'NoSpace'.*'module:NoSpace/CartPole-v1'"),
        ("no_such_module:Env-v0", "no module named 'no_such_module'"),
        ("math:CartPol-v1", "unknown environment 'CartPol-v1' in module 'math'.*CartPole-v1"),
        ("math:CartPole-v9", "did you mean 'math:CartPole-v1'"),
        ("a:b:c", "at most one ':'"),
        ("a b c", "'a b c' cannot be made: Malformed"),
        ("", "'' cannot be made: Malformed"),
        ("HalfCheetah-v2", "gymnasium-robotics"),
    ],
)
def test_wrong_ids_get_one_line(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        make_env(name)
    assert "\n" not in str(caught.value)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)  # python's own way to make an import fail
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError, match=r"'LunarLander-v3' needs a package.*pip install.*gymnasium\[box2d\]"):
        make_env("LunarLander-v3")
    gymnasium.register("Missing-v0", "no_such_package.envs:MissingEnv")
    try:
        with pytest.raises(UserError, match="'Missing-v0' needs a package: run `pip install no_such_package`"):
            make_env("Missing-v0")
    finally:
        del gymnasium.registry["Missing-v0"]


def test_module_ids_and_old_versions_work_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_env("math:CartPole-v1").spec is not None
        assert make_env("CartPole-v0").spec is not None
        assert make_env("CartPole").spec is not None


def test_something_else_than_an_environment() -> None:
    sources: list[tuple[Any, str]] = [(lambda: 3, "type int"), (3, "not as int"), (environments.CountingEnv(), "not as CountingEnv")]
    for source, told in sources:
        with pytest.raises(UserError, match=told):
            make_env(source)


def test_render_mode_reaches_functions_that_take_it() -> None:
    assert make_env("CartPole-v1", render_mode="rgb_array").render_mode == "rgb_array"
    assert make_env(functools.partial(gymnasium.make, "CartPole-v1"), render_mode="rgb_array").render_mode is None

    def factory(render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
        return gymnasium.make("CartPole-v1", render_mode=render_mode)

    assert make_env(factory, render_mode="rgb_array").render_mode == "rgb_array"
    assert make_env(environments.CountingEnv, render_mode="rgb_array").render_mode is None


def test_mujoco_is_quiet_while_made_and_not_after(tmp_path: Path) -> None:
    mujoco = pytest.importorskip("mujoco")
    code = (
        "from asyncrl.envs import make_env\n"
        "env = make_env('HalfCheetah-v5')\n"
        "env.reset(seed=1)\n"
        "print('made', flush=True)\n"
        "env.unwrapped.data.qpos[:] = float('nan')\n"
        "env.step(env.action_space.sample())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    assert "deprecated" not in said
    log = tmp_path / "MUJOCO_LOG.TXT"
    assert not log.exists() or "deprecated" not in log.read_text()
    if hasattr(mujoco, "MjLogConfig"):
        assert "unstable" in said  # that is the user's business


@pytest.mark.parametrize(
    ("observation", "told"),
    [
        (np.zeros(4), r"shape \(4,\), declared is \(3,\)"),
        (np.zeros((3, 1)), r"shape \(3, 1\)"),
        (np.array([0.0, np.nan, np.inf]), "nan at index 1 of 3"),
        (np.array([0.0, 0.0, -np.inf], np.float32), "-inf at index 2"),
        (np.array([1e300, 0.0, 0.0]), r"1e\+300 at index 0"),
        (np.array(["a", "b", "c"]), "not a number"),
        (np.array([None, None, None]), "not a number"),
        ({"a": 1}, "type dict"),
        (None, "type NoneType"),
        ([[1.0], [1.0, 2.0], 3.0], "no array of numbers"),
    ],
)
def test_wrong_observations_are_told(observation: Any, told: str) -> None:
    spec = spec_of(environments.CountingEnv())
    fault = observation_fault(observation, spec)
    assert fault is not None
    assert re.search(told, fault), fault


def test_right_observations_pass() -> None:
    spec = spec_of(environments.CountingEnv())
    for good in (np.zeros(3), [1, 2, 3], np.ones(3, bool), np.full(3, np.finfo(np.float32).max), np.arange(3, dtype=np.int8)):
        assert observation_fault(good, spec) is None
    image = spec_of(make_env(environments.ImageEnv))
    assert observation_fault(np.zeros((3, 84, 84), np.uint8), image) is None
    assert "declared is uint8" in str(observation_fault(np.zeros((3, 84, 84), np.float32), image))


def test_wrong_rewards_are_told() -> None:
    assert reward_fault(1) is None and reward_fault(np.float32(-2.0)) is None and reward_fault(np.array(1.0)) is None
    assert "nan" in str(reward_fault(float("nan"))) and "inf" in str(reward_fault(np.inf))
    assert "NoneType" in str(reward_fault(None)) and reward_fault(np.zeros(2)) is not None


class NoInfoEnv(environments.CountingEnv):
    """The old reset, without an info."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed, options=options)[0]


def test_checked_reset() -> None:
    env = environments.CountingEnv()
    observation, info = checked_reset(env, spec_of(env), seed=1)
    assert observation.tolist() == [0, 0, 0] and info == {}
    wrongs = [(environments.NaNEnv(0), "not finite"), (environments.WrongShapeEnv(0), "shape"), (NoInfoEnv(), "returned ndarray")]
    for wrong, told in wrongs:
        with pytest.raises(UserError, match=told):
            checked_reset(wrong, spec_of(wrong), seed=1)


def test_ship_and_unship() -> None:
    length = 4
    assert unship(ship("CartPole-v1")) == "CartPole-v1"
    made = make_env(unship(ship(lambda: environments.CountingEnv(length))))
    assert type(made).__name__ == "CountingEnv" and made.unwrapped.length == 4  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="not as CountingEnv"):
        ship(environments.CountingEnv())  # type: ignore[arg-type]


class _Holder:
    def __init__(self) -> None:
        self.fine = 1
        self.lock = threading.Lock()

    def __call__(self) -> gymnasium.Env[Any, Any]:
        return environments.CountingEnv(int(self.lock.locked()) + 1)


def test_what_cannot_be_shipped_is_named() -> None:
    lock, fine, holder = threading.Lock(), 3, _Holder()

    def closure() -> gymnasium.Env[Any, Any]:
        return environments.CountingEnv(fine + int(lock.locked()))

    def nested() -> gymnasium.Env[Any, Any]:
        return environments.CountingEnv(int(holder.lock.locked()))

    cases: list[tuple[Any, str]] = [
        (closure, r"closure' cannot be sent.*: variable 'lock' \(of type lock\).*create it inside the function"),
        (nested, r"attribute 'lock' of variable 'holder' \(of type lock\)"),
        (holder, "'_Holder' cannot be sent.*: attribute 'lock' "),
        (functools.partial(environments.CountingEnv, lock), "argument 0 "),
        (functools.partial(environments.CountingEnv, truncate={"a": [1, lock]}), "item 1 of entry 'a' of argument 'truncate' "),
    ]
    for source, told in cases:
        with pytest.raises(UserError, match=told) as caught:
            ship(source)
        assert "\n" not in str(caught.value)


def test_a_global_that_cannot_be_shipped_is_named() -> None:
    scope: dict[str, Any] = {"environments": environments, "the_lock": threading.Lock(), "__name__": "__main__"}
    exec("def make():\n    return (lambda: environments.CountingEnv(int(the_lock.locked())))()", scope)
    with pytest.raises(UserError, match="global variable 'the_lock'"):
        ship(scope["make"])


def test_a_shipped_function_works_in_another_process(tmp_path: Path) -> None:
    scope: dict[str, Any] = {"environments": environments, "__name__": "__main__"}
    exec("def make():\n    return environments.CountingEnv(length=7)", scope)
    (tmp_path / "shipped").write_bytes(ship(scope["make"]).data)
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from asyncrl.envs import make_env, unship\n"
        "from asyncrl.processes.parcels import Parcel\n"
        "print(make_env(unship(Parcel(open(sys.argv[1], 'rb').read()))).length)"
    )
    folder = str(Path(environments.__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "shipped"), folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "7"


REGISTER = "import gymnasium\ngymnasium.register"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("broken_syntax:X-v0", "x = = 3", r"SyntaxError: invalid syntax \(broken_syntax.py, line 1\)$"),
        ("broken_name:X-v0", "\nx = undefined", r"NameError: name 'undefined' is not defined \(.*broken_name.py:2\)$"),
        ("broken_maker:X-v0", f"{REGISTER}('X-v0', lambda: 1 / 0)", r"ZeroDivisionError: division by zero \(.*:2\)$"),
        ("broken_entry:Y-v0", f"{REGISTER}('Y-v0', 'broken_entry:No')", "AttributeError: .* has no attribute 'No'"),
        ("./broken:X-v0", "", "'./broken' is no name of a module, as in 'module:Env-v0'"),
        (":CartPole-v1", "", "'' is no name of a module"),
    ],
)
def test_a_module_that_cannot_be_used_takes_one_line(tmp_path, monkeypatch, name, text, line):
    (tmp_path / f"{name.partition(':')[0].strip('./') or 'none'}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    with pytest.raises(UserError, match=f"environment '{re.escape(name)}' cannot be made: {line}") as caught:
        make_env(name)
    assert "\n" not in str(caught.value)
