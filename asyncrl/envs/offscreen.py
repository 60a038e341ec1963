"""Images of an environment where there is no screen: which libraries draw them, and what is said where one is missing."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gymnasium.error import DependencyNotInstalled

from asyncrl.envs.faults import in_one_line

RENDERERS = ("mujoco", "OpenGL", "glfw", "dm_control", "gymnasium/envs/mujoco")
"""Folders of packages that draw by OpenGL. Errors that come from there are of the machine, and not of the user's code."""
GIVES = {
    "egl": "EGL, of which the library or a driver is missing here (on Debian and Ubuntu `apt install libegl1 libgl1-mesa-dri`)",
    "osmesa": "OSMesa, which is missing here (on Debian and Ubuntu `apt install libosmesa6`)",
    "glfw": "GLFW, which needs a screen or is missing here (MUJOCO_GL=egl needs none)",
}
"""What MuJoCo draws by under each value of MUJOCO_GL, and how to get it."""
LOUD = ("glfw", r"mujoco\.", r"gymnasium\.envs\.mujoco", r"OpenGL\.", "pygame")
"""Modules whose warnings say no more than the error that follows, or nothing that concerns an image."""


def has_screen() -> bool:
    """Whether a window can be opened, or the user has chosen another video driver of SDL."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Within the block environments draw images without a screen and without sound, and libraries keep their warnings to themselves.

    What the user has set stays. Afterwards the variables are as they were.
    """
    wanted = {"SDL_AUDIODRIVER": "dummy"}
    if not has_screen():
        wanted |= {"SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": _library()}
    added = [name for name in wanted if not os.environ.get(name)]
    hook = sys.unraisablehook
    os.environ.update({name: wanted[name] for name in added})
    sys.unraisablehook = lambda raised: None if _is_of_renderer(raised.exc_traceback) else hook(raised)
    try:
        with warnings.catch_warnings():
            for module in LOUD:
                warnings.filterwarnings("ignore", module=module)
            yield
    finally:
        sys.unraisablehook = hook
        for name in added:
            os.environ.pop(name, None)


def lacking(problem: BaseException) -> str | None:
    """What is missing for an image where the machine is at fault, and what to install, in one line; None for other exceptions."""
    if isinstance(problem, DependencyNotInstalled):
        return in_one_line(problem)
    if type(problem).__module__.partition(".")[0] == "pygame":
        return f"pygame cannot draw: {in_one_line(problem)} (SDL_VIDEODRIVER=dummy needs no screen)"
    if not _is_of_renderer(problem.__traceback__):
        return None
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip() or "glfw"
    by = GIVES.get(chosen, f"MUJOCO_GL={chosen}, which does not work here (allowed: {', '.join(GIVES)})")
    return f"MuJoCo draws by {by}: {type(problem).__name__}: {in_one_line(problem)[:200]}"


def _library() -> str:
    """What MuJoCo can draw by without a screen: EGL, or OSMesa where only that is there."""
    return "osmesa" if ctypes.util.find_library("EGL") is None and ctypes.util.find_library("OSMesa") is not None else "egl"


def _is_of_renderer(raised_in: Any) -> bool:
    """Whether an exception of this traceback came from a package that draws by OpenGL."""
    last = traceback.extract_tb(raised_in)[-1:]
    return any(f"/{folder}/" in Path(frame.filename).as_posix() for frame in last for folder in RENDERERS)
