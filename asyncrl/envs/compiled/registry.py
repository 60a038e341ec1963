"""Which environments have a compiled simulator, and why another has none."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import gymnasium
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from asyncrl.envs.compiled.simulator import Simulator

_CLASSIC = "gymnasium.envs.classic_control"
_MUJOCO = "gymnasium.envs.mujoco"
SIMULATORS = {
    f"{_CLASSIC}.cartpole:CartPoleEnv": "cartpole:CartPole",
    f"{_CLASSIC}.pendulum:PendulumEnv": "pendulum:Pendulum",
    f"{_CLASSIC}.acrobot:AcrobotEnv": "acrobot:Acrobot",
    f"{_CLASSIC}.mountain_car:MountainCarEnv": "mountain_car:MountainCar",
    f"{_CLASSIC}.continuous_mountain_car:Continuous_MountainCarEnv": "mountain_car_continuous:MountainCarContinuous",
    f"{_MUJOCO}.half_cheetah_v5:HalfCheetahEnv": "half_cheetah:HalfCheetah",
    f"{_MUJOCO}.half_cheetah_v4:HalfCheetahEnv": "half_cheetah:HalfCheetah",
    f"{_MUJOCO}.swimmer_v5:SwimmerEnv": "half_cheetah:Swimmer",
    f"{_MUJOCO}.swimmer_v4:SwimmerEnv": "half_cheetah:Swimmer",
    f"{_MUJOCO}.hopper_v5:HopperEnv": "hopper:Hopper",
    f"{_MUJOCO}.hopper_v4:HopperEnv": "hopper:Hopper",
    f"{_MUJOCO}.walker2d_v5:Walker2dEnv": "hopper:Hopper",
    f"{_MUJOCO}.walker2d_v4:Walker2dEnv": "hopper:Hopper",
    f"{_MUJOCO}.inverted_pendulum_v5:InvertedPendulumEnv": "inverted_pendulum:InvertedPendulum",
    f"{_MUJOCO}.inverted_pendulum_v4:InvertedPendulumEnv": "inverted_pendulum:InvertedPendulum",
    f"{_MUJOCO}.inverted_double_pendulum_v5:InvertedDoublePendulumEnv": "inverted_double_pendulum:InvertedDoublePendulum",
    f"{_MUJOCO}.reacher_v5:ReacherEnv": "reacher:Reacher",
    f"{_MUJOCO}.pusher_v5:PusherEnv": "pusher:Pusher",
    f"{_MUJOCO}.ant_v5:AntEnv": "ant:Ant",
    f"{_MUJOCO}.humanoid_v5:HumanoidEnv": "humanoid:Humanoid",
    f"{_MUJOCO}.humanoidstandup_v5:HumanoidStandupEnv": "humanoid_standup:HumanoidStandup",
}
"""``module:class`` of an environment -> ``file:class`` of its simulator here. An environment of a user's own names its simulator itself, by
an attribute of its class: `simulator`, a `Simulator`."""

_UNDERSTOOD = (TimeLimit, OrderEnforcing, PassiveEnvChecker)
"""Wrappers whose work is done without them."""


def _layers(environment: gymnasium.Env[Any, Any]) -> Iterator[gymnasium.Env[Any, Any]]:
    while isinstance(environment, gymnasium.Wrapper):
        yield environment
        environment = environment.env
    yield environment


def _named(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_of(environment: Any) -> type[Simulator] | None:
    own = vars(type(environment)).get("simulator")
    if isinstance(own, type) and issubclass(own, Simulator):
        return own
    place = SIMULATORS.get(_named(type(environment)))
    if place is None:
        return None
    file, _, name = place.partition(":")
    found: type[Simulator] = getattr(importlib.import_module(f"asyncrl.envs.compiled.{file}"), name)
    return found


def known() -> list[str]:
    """The names of gymnasium's environments that have one."""
    return sorted({place.rpartition(":")[2].removesuffix("Env") for place in SIMULATORS})


def why_not(environment: gymnasium.Env[Any, Any]) -> str | None:
    """Why an environment that `make_env` made cannot be simulated; None if it can."""
    *wrappers, inner = _layers(environment)
    for wrapper in wrappers:
        if type(wrapper) not in _UNDERSTOOD:
            return f"it is wrapped in {type(wrapper).__name__}"
    if sum(type(wrapper) is TimeLimit for wrapper in wrappers) > 1:
        return "it has two time limits"
    if inner.render_mode is not None:
        return "it is rendered"
    kind = _class_of(inner)
    if kind is None:
        return f"{type(inner).__name__} has no compiled simulator"
    if "step" in vars(inner):
        return "its step was replaced"
    return kind.why_not(inner)


def simulator_of(environment: gymnasium.Env[Any, Any]) -> Simulator:
    """What simulates an environment of which `why_not` says nothing."""
    kind = _class_of(environment.unwrapped)
    assert kind is not None
    return kind(environment.unwrapped)  # type: ignore[call-arg]


def begins(environment: gymnasium.Env[Any, Any]) -> bool:
    """Whether its simulator begins episodes too, as its class's own reset does. That of a class of a user's own is not known."""
    inner = environment.unwrapped
    kind = _class_of(inner)
    return kind is not None and kind.begin is not None and _named(type(inner)) in SIMULATORS and "reset" not in vars(inner)


def time_limit(environment: gymnasium.Env[Any, Any]) -> Any:
    """The wrapper that ends its episodes after some steps, if any."""
    return next((layer for layer in _layers(environment) if type(layer) is TimeLimit), None)
