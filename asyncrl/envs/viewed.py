"""Images of an environment of one's own, shrunk and stacked: `--resize` and `--frame-stack`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from asyncrl.envs.images import Shrinking
from asyncrl.envs.spec import is_image_space
from asyncrl.errors import UserError

_shrinking = functools.cache(Shrinking)  # beside the wrapper, since a checkpoint keeps what is in it


@dataclass(frozen=True)
class View:
    """What makes an environment, and how its images are seen. It travels like an environment's id or function, in whose place it stands."""

    source: str | Callable[..., Any]
    frame_stack: int
    resize: str
    """HEIGHTxWIDTH; "": as they are."""


class Viewed(gymnasium.Wrapper[NDArray[np.uint8], Any, NDArray[np.uint8], Any]):
    """Observations uint8 [frame_stack * channels, height, width], the newest image last; a new episode fills them with its first."""

    def __init__(self, env: gymnasium.Env[Any, Any], view: View):
        """Raises UserError where observations are no images, or would have to be enlarged."""
        super().__init__(env)
        space = env.observation_space
        if not (is_image_space(space) and space.shape is not None):
            given = f"frame_stack = {view.frame_stack}" if view.frame_stack > 1 else f"resize = {view.resize!r}"
            raise UserError(f"{given} cannot be used: observations are no images (allowed: uint8 Boxes of three dimensions)")
        channels, *before = space.shape
        self._before, self._after = (before[0], before[1]), _size(view.resize, (before[0], before[1]))
        self._channels = channels
        self._images = np.zeros((view.frame_stack * channels, *self._after), np.uint8)
        self.observation_space = spaces.Box(0, 255, self._images.shape, np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """As the environment's own."""
        image, info = self.env.reset(seed=seed, options=options)
        self._see(image)
        for at in range(0, len(self._images), self._channels):
            self._images[at : at + self._channels] = self._images[-self._channels :]
        return self._images.copy(), info

    def step(self, action: Any) -> tuple[NDArray[np.uint8], Any, bool, bool, dict[str, Any]]:
        """As the environment's own."""
        image, *rest = self.env.step(action)
        self._images[: -self._channels] = self._images[self._channels :]
        self._see(image)
        return self._images.copy(), *rest  # type: ignore[return-value]

    def _see(self, image: NDArray[np.uint8]) -> None:
        shrunk = _shrinking(self._before, self._after)
        for plane, out in zip(image, self._images[-self._channels :]):
            shrunk(plane, plane, out)


def _size(resize: str, before: tuple[int, int]) -> tuple[int, int]:
    """Height and width after `resize` of images of `before`."""
    if not resize:
        return before
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", resize)
    height, width = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (0 < height <= before[0] and 0 < width <= before[1]):
        largest = f"{before[0]}x{before[1]}"
        raise UserError(f"resize = {resize!r} cannot be used (allowed: HEIGHTxWIDTH up to {largest}, which the images are; as in 84x84)")
    return height, width
