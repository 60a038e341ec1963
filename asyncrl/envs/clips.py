"""Clips: the beginning of an episode as a GIF of a few seconds, small enough to be sent and kept many times."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

SECONDS, FRAMES_PER_SECOND = 6.0, 6.0
"""Of an episode, at its own speed."""
SIDE, COLOURS = 200, 64
"""The longer side of an image in pixels at most, and how many colours it has."""
MOST_BYTES = 400_000
"""Of a clip; of larger ones every other frame is left out, as often as it takes."""


class Clip:
    """Frames of an episode that is watched at `fps` frames a second, shrunk, as `asyncrl.envs.video.Filmed` adds them.

    every   of so many frames one is added
    """

    def __init__(self, fps: float):
        self.every = max(1, round(fps / FRAMES_PER_SECOND))
        self._milliseconds = 1000.0 * self.every / fps
        self._images: list[Image.Image] = []

    @property
    def full(self) -> bool:
        """Whether it takes no more frames."""
        return len(self._images) * self._milliseconds >= 1000.0 * SECONDS

    def add(self, frame: Any) -> None:
        """Add a frame, uint8 [height, width, 3]."""
        image = Image.fromarray(frame)
        image.thumbnail((SIDE, SIDE))
        self._images.append(image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE))

    def encoded(self) -> tuple[bytes, tuple[int, int]]:
        """(the GIF, its width and height in pixels)."""
        keep = 1
        while len(gif := encoded(self._images[::keep], keep * self._milliseconds)) > MOST_BYTES and keep < len(self._images):
            keep *= 2
        return gif, self._images[0].size


def encoded(images: Sequence[Image.Image], milliseconds: float) -> bytes:
    """A GIF of palette images that begins anew at its end; each is shown for so many milliseconds."""
    file = io.BytesIO()
    first, *others = images
    first.save(file, format="GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return file.getvalue()
