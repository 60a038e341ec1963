"""Environments by name, with arguments and wrappers, and folders that would have code run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import asyncrl
from asyncrl.cli.main import main
from asyncrl.envs import make_env
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.sources import Described, arguments_of, described, name_of

SOURCE = '''
import gymnasium
import numpy as np
import helper_beside

OPENED = open(__file__ + ".opened", "a").write("x")


class Walk(gymnasium.Env):
    """A walk to the right end of a line."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, size=5, slow=False, render_mode=None):
        self.size, self.slow, self.render_mode = size, slow, render_mode
        self.observation_space = gymnasium.spaces.Box(0, size, (1,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.array([0.0], np.float32), {}

    def step(self, action):
        self.place = max(self.place + (1 if action else -1) * helper_beside.STRIDE, 0)
        return np.array([self.place], np.float32), float(self.place >= self.size), self.place >= self.size, False, {}


class Halved(gymnasium.RewardWrapper):
    def reward(self, reward):
        return reward / 2


def make(size=5):
    return gymnasium.wrappers.TimeLimit(Walk(size), 20)


def needs(size):
    return Walk(size)


def gives():
    return 3


LENGTH = 3
'''
SHORT: dict[str, Any] = {"workers": 1, "steps": 200, "quiet": True, "evaluation_episodes": 1, "mode": "sync"}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The folder of my_walk.py, in which the caller stands."""
    (tmp_path / "my_walk.py").write_text(SOURCE)
    (tmp_path / "helper_beside.py").write_text("STRIDE = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_function_in_a_file_makes_it(file):
    environment = make_env("./my_walk.py:make")
    assert type(environment.unwrapped).__name__ == "Walk" and environment.unwrapped.size == 5
    assert make_env(Described(str(file / "my_walk.py:Walk"), {"size": 9})).unwrapped.size == 9  # type: ignore[attr-defined]
    assert (file / "my_walk.py.opened").read_text() == "x"  # loaded once in a process


def test_a_function_in_a_module_makes_it(file, monkeypatch):
    monkeypatch.syspath_prepend(file)
    assert make_env("my_walk:make").unwrapped.size == 5  # type: ignore[attr-defined]
    assert make_env("gymnasium.envs.classic_control:CartPoleEnv").observation_space.shape == (4,)


def test_wrappers_go_around_it_in_their_order(file):
    made = make_env(Described("my_walk.py:make", {}, ("my_walk.py:Halved", "gymnasium.wrappers:RecordEpisodeStatistics")))
    layers = []
    while isinstance(made, gymnasium.Wrapper):
        layers.append(type(made).__name__)
        made = made.env
    assert layers == ["RecordEpisodeStatistics", "Halved", "TimeLimit"]


def test_arguments_of_an_id(file):
    assert make_env(Described("CartPole-v1", {"sutton_barto_reward": True, "max_episode_steps": 7})).spec.max_episode_steps == 7  # type: ignore[union-attr]
    assert make_env(Described("asyncrl/MiningExpedition-v0", {"n_tools": 20})).unwrapped is not None


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["size=5", "render=false", "name=north", "place=(1,2.5)", "none=None"], [5, False, "north", (1, 2.5), None]),
        (["a='5'", "b=[1, 2]", "c=1e-3", "d=x=y", "e="], ["5", [1, 2], 1e-3, "x=y", ""]),
    ],
)
def test_arguments_are_literals_or_text(words, values):
    assert list(arguments_of(words).values()) == values


@pytest.mark.parametrize(
    ("source", "arguments", "wrappers", "message"),
    [
        ("my_walk.py:mak", {}, (), "environment 'my_walk.py:mak': my_walk.py has no function 'mak'; did you mean 'make'?"),
        ("my_walk.py:LENGTH", {}, (), "environment 'my_walk.py:LENGTH': my_walk.py has no function 'LENGTH'"),
        ("other.py:make", {}, (), "environment 'other.py:make': there is no file '{}/other.py'"),
        ("nowhere.to_be:make", {}, (), "environment 'nowhere.to_be:make': there is no module named 'nowhere'"),
        ("my_walk.py:make", {"sise": 3}, (), "environment 'my_walk:make' does not take 'sise'; did you mean 'size'? (allowed: size)"),
        ("my_walk.py:needs", {}, (), "environment 'my_walk:needs' needs 'size' ("),
        ("my_walk.py:gives", {}, (), "environment 'my_walk:gives' made an object of type int, which is not a gymnasium.Env"),
        ("CartPole-v1", {"sutton_reward": 1}, (), "environment 'CartPole-v1' does not take 'sutton_reward'; did you mean 'sutton_barto_"),
        ("my_walk.py:make", {}, ("Halved",), "wrapper 'Halved' cannot be used (allowed: module:class or file.py:class, "),
        ("my_walk.py:make", {}, ("my_walk.py:Halve",), "wrapper 'my_walk.py:Halve': my_walk.py has no function 'Halve'; did you mean "),
        ("my_walk.py:make", {}, ("my_walk.py:gives",), "wrapper 'my_walk.py:gives' "),
    ],
)
def test_a_slip_gets_one_line(file, source, arguments, wrappers, message):
    with pytest.raises((UserError, TypeError)) as caught:
        make_env(Described(source, arguments, wrappers))
    if wrappers != ("my_walk.py:gives",):
        assert str(caught.value).startswith(message.format(file)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [["size"], ["=3"], ["2x=3"], ["size=1", "size=2"]])
def test_words_that_are_no_arguments_are_told(words):
    with pytest.raises(UserError, match=r"^env_kwargs "):
        arguments_of(words)


def test_names_are_short_and_sources_plain():
    assert name_of("/home/me/my_env.py:make") == "my_env:make" and name_of("CartPole-v1") == "CartPole-v1"
    assert described("CartPole-v1", {}, ()) == "CartPole-v1"
    assert isinstance(described("CartPole-v1", {"a": 1}, ()), Described)


def command(*words: str) -> tuple[int, str]:
    """Exit code and the last line of errors of `asyncrl WORDS`, as from a shell."""
    done = subprocess.run([sys.executable, "-m", "asyncrl", *words], capture_output=True, text=True, timeout=200)
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def trained(folder: Path) -> Path:
    words = ["--env-kwargs", "size=4", "--wrapper", "my_walk.py:Halved", "--steps", "400", "--workers", "1", "--mode", "sync"]
    code, error = command("train", "a3c", "./my_walk.py:make", *words, "--runs", str(folder / "runs"), "--quiet")
    assert code == 0, error
    return next((folder / "runs").iterdir())


@pytest.mark.slow  # its parts are tested in test_own_environments
def test_from_the_command_line_and_back(file):
    """Train, evaluate and resume by the folder alone, once the user says that it may name code; from another folder too."""
    run = trained(file)
    settings = json.loads((run / "experiment.json").read_text())["settings"]
    assert settings["env"] == str(file / "my_walk.py:make") and settings["env_kwargs"] == {"size": 4}
    assert run.name.startswith("a3c-my_walk-make-sync")
    summary = json.loads((run / "summary.json").read_text())
    assert 0.0 <= summary["evaluation_return"] <= 0.5  # halved
    (file / "elsewhere").mkdir()
    for words in (["evaluate"], ["resume", "--steps", "600"]):
        code, error = command(words[0], str(run), *words[1:])
        assert code == 2 and error.startswith(f"asyncrl: run {str(run)!r} names code that would be run: {file}/my_walk.py:make, ")
        assert "--trust" in error and "--env" in error
        code, error = command(words[0], str(run), *words[1:], "--trust")
        assert code == 0, error
    assert command("evaluate", str(run), "--env", "my_walk.py:make")[0] == 0
    assert command("evaluate", str(run), "--env", "CartPole-v1")[0] == 2


def test_a_folder_made_to_run_something_runs_nothing(file, monkeypatch, capsys):
    """Nothing of it is imported by any command, nor by `load`, which needs no environment."""
    run = Path(asyncrl.train("a3c", "CartPole-v1", runs=str(file / "runs"), **SHORT).folder)
    (file / "evil.py").write_text(f"open({str(file / 'ran')!r}, 'w').write('x')\n")
    monkeypatch.syspath_prepend(file)
    told = json.loads((run / "experiment.json").read_text())
    for env, wrapper in (("evil:make", []), (str(file / "evil.py:make"), []), ("evil:Env-v0", []), ("CartPole-v1", ["evil:make"])):
        settings = {**told["settings"], "env": env, "wrapper": wrapper}
        (run / "experiment.json").write_text(json.dumps({**told, "settings": settings}))
        for words in (["evaluate"], ["resume", "--steps", "400"], ["play", "--video", "x.gif"]):
            assert main([words[0], str(run), *words[1:]]) == 2
            assert "names code that would be run" in capsys.readouterr().err
        assert asyncrl.load(run).act(np.zeros(4, np.float32)) in (0, 1)
    assert not (file / "ran").exists()


def test_arguments_that_cannot_be_kept_are_told(file):
    with pytest.raises(UserError, match=r"^env_kwargs: size = .* cannot be kept \(allowed: "):
        asyncrl.train("a3c", "CartPole-v1", env_kwargs={"size": object()}, runs=str(file / "runs"), **SHORT)


def test_a_wrapper_is_named_by_a_text(file):
    assert Experiment("a3c", "CartPole-v1", wrapper="my_walk.py:Halved").wrapper == (str(file / "my_walk.py:Halved"),)
    with pytest.raises(UserError, match=r"^wrapper = <class .* cannot be used \(allowed: module:class as a text"):
        asyncrl.train("a3c", "CartPole-v1", wrapper=[gymnasium.Wrapper], runs=str(file / "runs"), **SHORT)


def test_from_python_too(file):
    run = asyncrl.train("a3c", "my_walk.py:make", env_kwargs={"size": 3}, runs=str(file / "runs"), **SHORT)
    assert asyncrl.evaluate(run.folder, episodes=1, trust=True)["episodes"] == 1
    resumed = asyncrl.resume(run.folder, steps=300, trust=True, quiet=True)
    assert resumed.summary["steps"] >= 300
