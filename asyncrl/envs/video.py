"""Videos of episodes: GIF without further packages, MP4 with the extra `video`."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from PIL import Image

from asyncrl.envs import closed_environments, make_env, unship
from asyncrl.envs.clips import encoded
from asyncrl.envs.offscreen import drawing, lacking
from asyncrl.errors import UserError
from asyncrl.processes.parcels import Parcel

FASTEST_GIF = 25.0
"""The most frames per second in a GIF, since viewers play faster ones slowly; of faster videos, frames are left out."""


class Video(Protocol):
    """Takes the frames of an episode."""

    every: int
    """Of so many frames one is added: the others need not be drawn."""

    @property
    def full(self) -> bool:
        """Whether it takes no more frames; the episode is then cut."""

    def add(self, frame: Any) -> None:
        """Add a frame, uint8 [height, width, 3]."""


class VideoFile(Video, Protocol):
    """A video file that is being written. It takes whole episodes."""

    @property
    def full(self) -> bool:
        return False

    def close(self) -> None:
        """Write the rest and close the file."""


class Gif(VideoFile):
    """A GIF, written by `close`; until then frames are kept as palette images, which take a third of their memory."""

    def __init__(self, path: Path, fps: float):
        self._path = path
        self.every = math.ceil(fps / FASTEST_GIF)
        self._milliseconds = 1000.0 * self.every / fps
        self._images: list[Image.Image] = []

    def add(self, frame: Any) -> None:
        self._images.append(Image.fromarray(frame).quantize(method=Image.Quantize.FASTOCTREE))

    def close(self) -> None:
        self._path.write_bytes(encoded(self._images, self._milliseconds))


class Mp4(VideoFile):
    """An MP4, whose frames are encoded as they are added. Raises UserError if a package is missing."""

    def __init__(self, path: Path, fps: float):
        missing = [name for name in ("imageio", "imageio_ffmpeg") if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(f"writing .mp4 needs {missing[0]}; install it with: pip install 'asyncrl[video]' (or write a .gif)")
        import imageio.v2

        self.every = 1
        self._writer = imageio.v2.get_writer(path, format="FFMPEG", fps=fps, macro_block_size=2)  # type: ignore[arg-type]

    def add(self, frame: Any) -> None:
        self._writer.append_data(frame)

    def close(self) -> None:
        self._writer.close()


FORMATS: dict[str, Any] = {".gif": Gif, ".mp4": Mp4}


class Filmed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that adds frames after resets and steps to a video, and cuts an episode where that is full."""

    def __init__(self, environment: gymnasium.Env[Any, Any], video: Video):
        super().__init__(environment)
        self.film(video)

    def film(self, video: Video) -> None:
        """From now on into this video."""
        self._video, self._count = video, 0
        self._shape: tuple[int, ...] | None = None

    def reset(self, **options: Any) -> Any:
        """Reset the environment and film it. Raises UserError if render() returns no frame."""
        result = self.env.reset(**options)
        self._film()
        return result

    def step(self, action: Any) -> Any:
        """Step the environment and film it. Raises UserError if render() returns no frame."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._film()
        return observation, reward, terminated, truncated or self._video.full, info

    def _film(self) -> None:
        if self._count % self._video.every == 0 and not self._video.full:
            frame = _frame(self.env)
            fault = frame_fault(frame, self._shape)
            if fault is not None:
                raise UserError(f"the environment cannot be filmed: render() gave {fault}; a frame is a uint8 array [height, width, 3]")
            self._shape = frame.shape
            self._video.add(frame)
        self._count += 1


def _frame(environment: gymnasium.Env[Any, Any]) -> Any:
    """What render() gives. Raises UserError where it raises: what is missing on this machine, or the exception itself."""
    try:
        return environment.render()
    except Exception as error:
        lacks = lacking(error)
        if lacks is None:
            raise UserError(f"the environment cannot be filmed: render() raised {type(error).__name__}: {error}") from error
    gc.collect()  # renderers that are half made raise once more when they go, which is to happen where nobody hears it
    raise UserError(f"the environment cannot be filmed: {lacks}")


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


@contextlib.contextmanager
def record(env: Parcel, path: Path) -> Iterator[gymnasium.Env[Any, Any]]:
    """An environment whose frames are recorded; the file appears if the block ends without an exception. Raises UserError."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"video {str(path)!r}: unknown format {path.suffix!r} (allowed: {', '.join(FORMATS)})")
    if not path.parent.is_dir():
        raise UserError(f"video {str(path)!r}: there is no folder {str(path.parent)!r}")
    with drawing(), closed_environments(), _recorded(drawn_environment(env), path) as filmed:
        yield filmed


def drawn_environment(env: Parcel) -> gymnasium.Env[Any, Any]:
    """An environment that draws frames. Raises UserError for one that does not."""
    environment = make_env(unship(env), "rgb_array")
    if environment.render_mode != "rgb_array":
        mode = environment.render_mode
        raise UserError(f"the environment cannot be filmed: its render mode is {mode}, not rgb_array{function_hint(mode)}")
    return environment


def fps_of(environment: gymnasium.Env[Any, Any]) -> float:
    """Frames a second at which an environment is to be watched."""
    return float(environment.metadata.get("render_fps") or 30)


@contextlib.contextmanager
def _recorded(environment: gymnasium.Env[Any, Any], path: Path) -> Iterator[gymnasium.Env[Any, Any]]:
    unfinished = path.with_stem(path.stem + ".unfinished")
    try:
        video = FORMATS[path.suffix.lower()](unfinished, fps_of(environment))
        yield Filmed(environment, video)
        video.close()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
