"""Videos of episodes: GIF without further packages, MP4 with the extra `video`."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from PIL import Image

from asyncrl.envs import closed_environments, make_env, unship
from asyncrl.errors import UserError
from asyncrl.processes.parcels import Parcel

FASTEST_GIF = 25.0
"""The most frames per second in a GIF, since viewers play faster ones slowly; of faster videos, frames are left out."""


class VideoFile(Protocol):
    """A video file that is being written."""

    def add(self, frame: Any) -> None:
        """Add a frame, uint8 [height, width, 3]."""

    def close(self) -> None:
        """Write the rest and close the file."""


class Gif(VideoFile):
    """A GIF, written by `close`; until then frames are kept as palette images, which take a third of their memory."""

    def __init__(self, path: Path, fps: float):
        self._path = path
        self._keep = math.ceil(fps / FASTEST_GIF)
        self._milliseconds = 1000.0 * self._keep / fps
        self._images: list[Image.Image] = []
        self._count = 0

    def add(self, frame: Any) -> None:
        if self._count % self._keep == 0:
            self._images.append(Image.fromarray(frame).quantize(method=Image.Quantize.FASTOCTREE))
        self._count += 1

    def close(self) -> None:
        first, *others = self._images
        first.save(self._path, format="GIF", save_all=True, append_images=others, duration=self._milliseconds, loop=0)


class Mp4(VideoFile):
    """An MP4, whose frames are encoded as they are added. Raises UserError if a package is missing."""

    def __init__(self, path: Path, fps: float):
        missing = [name for name in ("imageio", "imageio_ffmpeg") if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"writing .mp4 needs {missing[0]}; install it with: pip install 'asyncrl[video]' (or write a .gif)")
        import imageio.v2

        self._writer = imageio.v2.get_writer(path, format="FFMPEG", fps=fps, macro_block_size=2)  # type: ignore[arg-type]

    def add(self, frame: Any) -> None:
        self._writer.append_data(frame)

    def close(self) -> None:
        self._writer.close()


FORMATS: dict[str, Any] = {".gif": Gif, ".mp4": Mp4}


class Filmed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that adds a frame to a video after every reset and step."""

    def __init__(self, environment: gymnasium.Env[Any, Any], video: VideoFile):
        super().__init__(environment)
        self._video = video
        self._shape: tuple[int, ...] | None = None

    def reset(self, **options: Any) -> Any:
        """Reset the environment and add a frame. Raises UserError if render() returns none."""
        result = self.env.reset(**options)
        self._film()
        return result

    def step(self, action: Any) -> Any:
        """Step the environment and add a frame. Raises UserError if render() returns none."""
        result = self.env.step(action)
        self._film()
        return result

    def _film(self) -> None:
        try:
            frame: Any = self.env.render()
        except Exception as error:
            raise UserError(f"the environment cannot be filmed: render() raised {type(error).__name__}: {error}") from error
        fault = frame_fault(frame, self._shape)
        if fault is not None:
            raise UserError(f"the environment cannot be filmed: render() gave {fault}; a frame is a uint8 array [height, width, 3]")
        self._shape = frame.shape
        self._video.add(frame)


def frame_fault(frame: object, shape: tuple[int, ...] | None = None) -> str | None:
    """What is wrong with a frame, as the continuation of "render() gave"; None if it is right. `shape`: of earlier frames."""
    if frame is None:
        return "None"
    if not isinstance(frame, np.ndarray):
        return f"an object of type {type(frame).__name__}"
    if frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        return f"an array of shape {frame.shape}"
    if frame.dtype != np.uint8:
        return f"an array of {frame.dtype}"
    return None if shape in (None, frame.shape) else f"a frame of shape {frame.shape} after frames of {shape}"


def function_hint(mode: object) -> str:
    """Advice for an environment without a render mode, as a part of an error message."""
    return " (a function that makes one is told by its argument `render_mode`, if it has one)" if mode is None else ""


def has_screen() -> bool:
    """Whether a window can be opened, or the user has chosen another video driver of SDL."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))


@contextlib.contextmanager
def record(env: Parcel, path: Path) -> Iterator[gymnasium.Env[Any, Any]]:
    """An environment whose frames are recorded; the file appears if the block ends without an exception. Raises UserError."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"video {str(path)!r}: unknown format {path.suffix!r} (allowed: {', '.join(FORMATS)})")
    if not path.parent.is_dir():
        raise UserError(f"video {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not has_screen():
        os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo's default needs a screen even to render images
    with closed_environments(), _recorded(make_env(unship(env), "rgb_array"), path) as filmed:
        yield filmed


@contextlib.contextmanager
def _recorded(environment: gymnasium.Env[Any, Any], path: Path) -> Iterator[gymnasium.Env[Any, Any]]:
    unfinished = path.with_stem(path.stem + ".unfinished")
    try:
        if environment.render_mode != "rgb_array":
            mode = environment.render_mode
            raise UserError(f"the environment cannot be filmed: its render mode is {mode}, not rgb_array{function_hint(mode)}")
        video = FORMATS[path.suffix.lower()](unfinished, float(environment.metadata.get("render_fps") or 30))
        yield Filmed(environment, video)
        video.close()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
