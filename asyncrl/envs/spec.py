"""The description of an environment's spaces that the rest of the package uses."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from asyncrl.envs.statistics import running_statistics
from asyncrl.errors import UserError
from asyncrl.shared.sealed import SealedArray


@dataclass(frozen=True)
class EnvSpec:
    """Shapes and kinds of observations and actions, as plain values that can be compared, hashed and pickled.

    observation_shape   (size,) for vectors, (channels, height, width) for images
    observation_dtype   "float32", or "uint8" for images: the type in which they are stored; the environment's own may differ
    action_kind         "discrete", "multidiscrete" or "box"
    action_sizes        choices of each component: (n,) for Discrete, nvec for MultiDiscrete, () for box
    action_shape        shape of one action: () for discrete, (components,) for multidiscrete, the space's shape for box
    action_low, _high   bounds of a flattened box action, which may be infinite; () otherwise
    action_start        the number that the environment uses for choice 0 of each component; () for box
    action_dtype        of the actions that the environment gets: that of its space; "" for int64, or float32 of a box
    statistics          (class, "observations" or "rewards") of wrappers that keep running statistics; not compared
    action_features     what the environment itself says of its choices, [choices, F], where it has `action_features`; not compared
    observation_reach   of a vector: the largest magnitude of each number by the space's bounds, which may be infinite; else (); not
                        compared
    """

    observation_shape: tuple[int, ...]
    observation_dtype: str
    action_kind: str
    action_sizes: tuple[int, ...]
    action_shape: tuple[int, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_start: tuple[int, ...]
    action_dtype: str = ""
    statistics: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    action_features: SealedArray | None = field(default=None, compare=False)
    observation_reach: tuple[float, ...] = field(default=(), compare=False)

    def described(self) -> dict[str, Any]:
        """Its fields as plain values, by name; of features their shape, and no reach, which only the start of a run asks for."""
        plain = asdict(replace(self, action_features=None))
        del plain["observation_reach"]
        return {**plain, "action_features": self.action_features and self.action_features.shape}

    @property
    def is_image(self) -> bool:
        """Whether observations are uint8 images, channels first."""
        return self.observation_dtype == "uint8"

    @property
    def observation_size(self) -> int:
        """How many numbers an observation has."""
        return math.prod(self.observation_shape)

    @property
    def action_size(self) -> int:
        """How many components an action has: 1 for discrete."""
        return math.prod(self.action_shape)


def spec_of(env: gymnasium.Env[Any, Any]) -> EnvSpec:
    """Describe an environment that ``make_env`` made. Raises UserError, which names the space, if a space cannot be used."""
    shape, dtype = _observation(env.observation_space)
    kind, sizes, action_shape, low, high, start = _action(env.action_space)
    given = str(np.dtype(env.action_space.dtype))
    features, reach = _features(env) if kind == "discrete" else None, _reach(env.observation_space)
    return EnvSpec(shape, dtype, kind, sizes, action_shape, low, high, start, given, running_statistics(env), features, reach)


def _reach(space: spaces.Space[Any]) -> tuple[float, ...]:
    assert isinstance(space, spaces.Box)
    return () if is_image_space(space) else tuple(np.maximum(np.abs(space.low), np.abs(space.high)).astype(float).tolist())


def _features(env: gymnasium.Env[Any, Any]) -> SealedArray | None:
    """Those of its choices, if they are numbers in two dimensions; whether they can be used, says who uses them."""
    found = getattr(env.unwrapped, "action_features", None)
    if isinstance(found, np.ndarray) and found.ndim == 2 and found.size and found.dtype.kind in "fiu":
        return SealedArray(found)
    return None


def is_image_space(space: spaces.Space[Any]) -> bool:
    """Whether a space holds images: three dimensions of uint8."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def _observation(space: spaces.Space[Any]) -> tuple[tuple[int, ...], str]:
    if not isinstance(space, spaces.Box) or not (is_image_space(space) or len(space.shape) == 1):
        raise UserError(f"observation space {_short(space)} cannot be used (allowed: a Box of one dimension, or a uint8 Box of three)")
    shape = tuple(int(size) for size in space.shape)
    if math.prod(shape) == 0:
        raise UserError(f"observation space {_short(space)} cannot be used: it is empty")
    return shape, "uint8" if is_image_space(space) else "float32"


_Action = tuple[str, tuple[int, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...], tuple[int, ...]]


def _action(space: spaces.Space[Any]) -> _Action:
    """Kind, sizes, shape, low, high, start."""
    if isinstance(space, spaces.Discrete):
        return "discrete", (int(space.n),), (), (), (), (int(space.start),)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and space.nvec.size:
        sizes = tuple(int(size) for size in space.nvec)
        return "multidiscrete", sizes, (len(sizes),), (), (), tuple(int(start) for start in space.start)
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1 and space.shape[0]:
        count = int(space.shape[0])
        return "multidiscrete", (2,) * count, (count,), (), (), (0,) * count
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.low.size:
        low, high = (tuple(float(bound) for bound in bounds.ravel()) for bounds in (space.low, space.high))
        return "box", (), tuple(int(size) for size in space.shape), low, high, ()
    raise UserError(
        f"action space {_short(space)} cannot be used (allowed: Discrete, MultiDiscrete or MultiBinary of one dimension, a Box of floats)"
    )


def _short(space: spaces.Space[Any], most: int = 160) -> str:
    text = " ".join(repr(space).split())
    return text if len(text) <= most else text[: most - 3] + "..."
