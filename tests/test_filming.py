"""Videos of every environment that is installed, where there is no screen: a film, or one line that says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import asyncrl
from asyncrl.cli.listing import environments

ROOT = Path(__file__).parent.parent

WITHOUT_OPENGL = """
import ctypes, ctypes.util
missing, opened, found = ("EGL", "OSMesa", "libGL.", "libOpenGL"), ctypes.CDLL.__init__, ctypes.util.find_library
def open_none(self, name, *rest, **more):
    if any(word in str(name) for word in missing):
        raise OSError(f"{name}: cannot open shared object file")
    opened(self, name, *rest, **more)
ctypes.CDLL.__init__ = open_none
ctypes.util.find_library = lambda name: None if name in ("EGL", "OSMesa", "GL", "OpenGL") else found(name)
"""
WITHOUT_PYGAME = """
import sys
sys.modules["pygame"] = None
"""
FILM = """
import json, sys
from asyncrl.envs import closed_environments, ship
from asyncrl.envs.clips import Clip
from asyncrl.envs.offscreen import drawing
from asyncrl.envs.video import Filmed, drawn_environment, fps_of
from asyncrl.errors import UserError

found = {}
for name in sys.argv[1:]:
    try:
        with drawing(), closed_environments():
            environment = drawn_environment(ship(name))
            clip = Clip(fps_of(environment))
            filmed = Filmed(environment, clip)
            filmed.reset(seed=0)
            while len(clip._images) < 3:
                if any(filmed.step(environment.action_space.sample())[2:4]):
                    filmed.reset()
            found[name] = len(clip.encoded()[0])
    except UserError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def surroundings(**more: str) -> dict[str, str]:
    """This process's environment variables without anything that draws."""
    without = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER", "MUJOCO_GL", "XDG_RUNTIME_DIR")
    return {**{name: value for name, value in os.environ.items() if name not in without}, "PYTHONPATH": str(ROOT), **more}


def filmed(names: list[str], first: str = "", **more: str) -> tuple[dict[str, int | str], str]:
    """(by id the bytes of a clip, or what was said instead; standard error) of a process that begins with `first`."""
    command = [sys.executable, "-c", first + FILM, *names]
    done = subprocess.run(command, env=surroundings(**more), capture_output=True, text=True, timeout=280, check=True)
    return json.loads(done.stdout), done.stderr


ALL = environments()
OF_MUJOCO = [name for name, family in ALL if family in ("mujoco", "asyncrl: restricted mujoco")]


@pytest.fixture(scope="module")
def here() -> tuple[dict[str, int | str], str]:
    return filmed([name for name, _ in ALL])


@pytest.mark.slow
def test_each_is_filmed_or_one_line_says_why_not(here):
    found, loud = here
    assert loud == ""
    assert all(isinstance(one, int) or "\n" not in one for one in found.values())
    films = {name for name, one in found.items() if isinstance(one, int)}
    assert {"CartPole-v1", "Pendulum-v1", "FrozenLake-v1"} <= films


def test_what_gives_no_frames_says_so(here):
    found, _ = here
    for name in ("asyncrl/RecSim-v0", "asyncrl/MiningExpedition-v0"):
        assert "render" in str(found[name]), found[name]


@pytest.mark.parametrize("chosen", ["", "egl", "osmesa", "glfw"])
def test_without_opengl_a_line_says_what_to_install(chosen):
    pytest.importorskip("mujoco")
    name = OF_MUJOCO[0]
    found, loud = filmed([name], WITHOUT_OPENGL, **({"MUJOCO_GL": chosen} if chosen else {}))
    said = str(found[name])
    assert loud == "" and "\n" not in said
    assert ("apt install" if chosen != "glfw" else "MUJOCO_GL=egl") in said, said


def test_without_pygame_a_line_says_what_to_install():
    found, loud = filmed(["CartPole-v1"], WITHOUT_PYGAME)
    assert loud == "" and "pip install" in str(found["CartPole-v1"])


def test_play_ends_with_that_line_and_exit_code_2(tmp_path):
    pytest.importorskip("mujoco")
    settings = {"workers": 1, "steps": 200, "quiet": True, "evaluation_episodes": 0, "runs": str(tmp_path)}
    run = asyncrl.train("a2c", "InvertedPendulum-v5", **settings).folder
    program = WITHOUT_OPENGL + "from asyncrl.__main__ import main\nmain()"
    command = [sys.executable, "-c", program, "play", str(run), "--video", str(tmp_path / "film.gif")]
    done = subprocess.run(command, env=surroundings(), capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "apt install libegl1" in done.stderr, done.stderr
    assert not (tmp_path / "film.gif").exists()
