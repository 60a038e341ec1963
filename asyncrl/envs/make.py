"""Making an environment from an id or a function, here or in another process; observations are one vector or one image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TransformObservation

from asyncrl.envs.closing import put_down
from asyncrl.envs.faults import not_made
from asyncrl.envs.ids import from_id
from asyncrl.envs.spec import is_image_space
from asyncrl.envs.viewed import View, Viewed
from asyncrl.errors import UserError
from asyncrl.processes.parcels import Parcel, pack, packed
from asyncrl.sources import Described, check_arguments, function_named, name_of, wrapper_named

EnvSource = str | Callable[..., gymnasium.Env[Any, Any]]

def make_env(source: EnvSource | Described | View, render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """Make the environment of a name (`asyncrl.sources`), of a function, of a `Described`, or of a `View` of any of them.

    Observations are vectors [size], or uint8 images [channels, height, width]. Atari's games, ``"ALE/Pong-v5"`` and their like, are
    preprocessed (`asyncrl.envs.atari`). An environment whose observations are vectors
    already gets no further wrapper. ``render_mode`` is passed to a function only if it has an argument of that name. The caller
    must close the environment (`asyncrl.envs.closing`). Raises UserError for an unknown id, a missing package, an object that
    is no environment or has no spaces; EnvironmentFault, from the exception, for whatever the environment's own code raises.
    """
    if isinstance(source, View):
        return Viewed(make_env(source.source, render_mode), source)
    given = source if isinstance(source, Described) else Described(source)
    inner = _inner(given, render_mode)
    _check_spaces(inner, name_of(given))
    env = _wrapped(inner, given.wrappers)
    put_down(env)
    return _plain_observations(env)


def _inner(given: Described, render_mode: str | None) -> gymnasium.Env[Any, Any]:
    """The environment without its wrappers."""
    source, arguments, name = given.source, given.arguments, name_of(given.source)
    if not isinstance(source, str) and not callable(source):
        raise UserError(f"an environment is given as an id or a function that makes one, not as {type(source).__name__}")
    function = _function(source) if isinstance(source, str) else source
    if function is None:
        return from_id(str(source), render_mode, arguments)
    check_arguments(function, arguments, name)
    try:
        env = function(**arguments, **_render_argument(function, render_mode))
    except UserError:
        raise
    except Exception as problem:  # whatever the user's code raises
        raise not_made(name, problem) from problem
    if not isinstance(env, gymnasium.Env):
        raise UserError(f"environment {name!r} made an object of type {type(env).__name__}, which is not a gymnasium.Env")
    return env


def _check_spaces(env: gymnasium.Env[Any, Any], name: str) -> None:
    """Raise UserError where an environment does not say what it observes or what its actions are."""
    for which in ("observation_space", "action_space"):
        found = getattr(env, which, None)
        if not isinstance(found, spaces.Space):
            what, kind = "no" if found is None else f"a {type(found).__name__} as", type(env.unwrapped).__qualname__
            raise UserError(f"environment {name!r} has {what} {which} (allowed: a space of gymnasium's, set in __init__ of {kind})")


def _function(name: str) -> Callable[..., Any] | None:
    """The function that a name says, if it says one; what the file raises is told in one line, and where."""
    try:
        return function_named(name)
    except UserError:
        raise
    except Exception as problem:
        raise not_made(name_of(name), problem, "imported") from problem


def _wrapped(env: gymnasium.Env[Any, Any], wrappers: Sequence[str]) -> gymnasium.Env[Any, Any]:
    for name in wrappers:
        inner, env = env, wrapper_named(name)(env)
        if not isinstance(env, gymnasium.Env):
            inner.close()
            raise UserError(f"wrapper {name!r} made an object of type {type(env).__name__}, which is not a gymnasium.Env")
    return env


def ship(source: EnvSource | Described | View) -> Parcel:
    """An environment's id or function as a parcel, for ``unship`` in another process of this run.

    Tensors that the user has moved to shared memory are shared; see `asyncrl.processes.parcels.pack`.

    Raises UserError that names the variable or attribute which cannot travel.
    """
    given: Any = source
    inner = _innermost(source)
    if not isinstance(inner, str) and not callable(inner):
        raise UserError(f"an environment is given as an id or a function that makes one, not as {type(inner).__name__}")
    return packed(given, "environment function") if callable(inner) else pack(given)


def _innermost(source: Any) -> Any:
    return _innermost(source.source) if isinstance(source, Described | View) else source


def unship(parcel: Parcel) -> EnvSource | Described | View:
    """What ``ship`` was given. Executes code: only for parcels that this run's own processes made, never for a file."""
    source: EnvSource | Described | View = parcel.unpack()
    return source


def _render_argument(source: Callable[..., Any], render_mode: str | None) -> dict[str, str]:
    if render_mode is None:
        return {}
    try:
        accepted = "render_mode" in inspect.signature(source).parameters
    except ValueError:  # some builtins have no signature
        accepted = False
    return {"render_mode": render_mode} if accepted else {}


def _plain_observations(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    space = env.observation_space
    if is_image_space(space):
        return _channels_first(env)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return env
    if not space.is_np_flattenable:
        raise UserError(f"observation space {space} cannot be used: it has no fixed size")
    return FlattenObservation(env)


def _channels_first(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    if space.shape[0] <= space.shape[2]:  # channels are fewer than rows and columns
        return env
    low, high = (np.ascontiguousarray(_transposed(bounds)) for bounds in (space.low, space.high))
    return TransformObservation(env, _transposed, spaces.Box(low, high, dtype=np.uint8))


def _transposed(image: np.ndarray) -> np.ndarray:
    return np.transpose(image, (2, 0, 1))
