"""The Python API: functions of the user's own, settings by name, resume, evaluate, play."""

from __future__ import annotations

import dataclasses
import functools
import gc
import importlib.util
import json
import subprocess
import sys
import textwrap
import typing
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import psutil
import pytest
import torch
from environments import ContinuousTargetEnv, CountingEnv, DictEnv
from running import watched

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.cli.bench import Queues, Throughput
from asyncrl.cli.runs import Evaluate, Landscape, Play, Resume
from asyncrl.envs.offscreen import has_screen
from asyncrl.errors import UserError
from asyncrl.experiment.experiment import Experiment, RunOptions
from asyncrl.heads import HEADS
from asyncrl.heads.options import NetworkOptions
from asyncrl.session.loading import load
from asyncrl.store.checkpoint import newest, read_part
from asyncrl.topologies.players import player_of

FAST = {"workers": 2, "steps": 400, "quiet": True, "evaluation_episodes": 0}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory) -> asyncrl.Result:
    """A short run that has learned a little."""
    runs = str(tmp_path_factory.mktemp("runs"))
    return asyncrl.train("a3c", "CartPole-v1", **{**FAST, "steps": 20_000, "mode": "sync", "evaluation_episodes": 3}, runs=runs, seed=4)


class Net(torch.nn.Module):
    """A network of the user's own: one layer for both outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.policy, self.value = torch.nn.Linear(inputs, outputs), torch.nn.Linear(inputs, 1)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.policy(observation), self.value(observation).squeeze(-1)


# --- train ---


def test_the_result_is_what_lies_in_the_folder(cartpole):
    assert cartpole.status == "completed"
    assert json.loads((cartpole.folder / "summary.json").read_text()) == cartpole.summary
    assert cartpole.summary["steps"] == 20_000
    assert cartpole.summary["updates"] == 500
    assert cartpole.summary["evaluation_return"] > 20
    settings = json.loads((cartpole.folder / "experiment.json").read_text())["settings"]
    assert (settings["seed"], settings["workers"], settings["options"]["t_max"]) == (4, 2, 20)


def test_environments_from_functions():
    length = 7

    class Local(CountingEnv):
        def __init__(self):
            super().__init__(length)

    def closure():
        return CountingEnv(length)

    for env in (closure, lambda: CountingEnv(length), Local):
        summary = asyncrl.train("a3c", env, **FAST, name=f"run-{getattr(env, '__name__', '')}".strip("<>")).summary
        assert summary["return_mean_last_100"] == 7.0
        assert summary["steps"] >= 400


def test_nested_observations_and_truncation():
    summary = asyncrl.train("a2c", lambda: gymnasium.wrappers.TimeLimit(DictEnv(length=50), 5), **FAST).summary
    assert summary["episode_length_last_100"] == 5.0


def test_box_actions_pick_the_gaussian_head():
    assert asyncrl.train("a3c", ContinuousTargetEnv, **FAST).summary["head"] == "gaussian"


def test_a_network_of_ones_own():
    def network(spec, outputs):
        return Net(spec.observation_size, outputs)

    result = asyncrl.train("a2c", "CartPole-v1", **FAST, network_function=network)
    _, arrays = read_part(newest(result.folder), "run")
    assert np.flatnonzero(arrays["parameters"]).max() < 4 * 2 + 2 + 4 + 1, "4 inputs, 2 logits and a value"
    with pytest.raises(UserError, match="network of this run is a function of yours"):
        asyncrl.evaluate(result.folder)
    assert asyncrl.evaluate(result.folder, episodes=2, network_function=network)["episodes"] == 2
    assert asyncrl.resume(result.folder, steps=800, network_function=network).summary["steps"] == 800


def test_a_network_that_does_not_fit():
    with pytest.raises(UserError, match=r"the network must return \(policy_output\[N, 2\], value\[N\]\)"):
        asyncrl.train("a3c", "CartPole-v1", **FAST, network_function=lambda spec, outputs: torch.nn.Linear(4, 3))
    with pytest.raises(UserError, match=r"must return a torch\.nn\.Module, not int"):
        asyncrl.train("a3c", "CartPole-v1", **FAST, network_function=lambda spec, outputs: 3)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("learning_rat", "learning_rate"), ("worker", "workers"), ("hiden", "hidden"), ("checkpoint_evry", "checkpoint_every")],
)
def test_unknown_settings(name, nearest):
    with pytest.raises(UserError, match=f"unknown setting '{name}'; did you mean '{nearest}'"):
        asyncrl.train("a3c", "CartPole-v1", **{name: 1})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"steps": "many"}, "steps = 'many'"),
        ({"algo": "A3C"}, "unknown algorithm 'A3C'; did you mean 'a3c'"),
        ({"algo": None}, "unknown algorithm None"),
        ({"algo": ["a3c"]}, r"unknown algorithm \['a3c'\]"),
        ({"head": None}, r"head = None cannot be used \(allowed: text, such as 'auto'\)"),
        ({"mode": None}, r"mode = None cannot be used \(allowed: text, such as 'async'\)"),
        ({"explore": 0.1}, "explore = 0.1"),
        ({"runs": Path("runs")}, "such as 'runs'"),
        ({"hidden": "64"}, r"hidden = '64' cannot be used \(allowed: a list of numbers\)"),
        ({"adam_betas": (0.9,)}, r"adam_betas = \(0.9,\) cannot be used \(allowed: 2 numbers\)"),
        ({"optimizer": ["adam"]}, r"unknown optimizer \"\['adam'\]\""),
        ({"algo": "es", "episode_limit": 2.5}, "such as 'none'"),
        ({"algo": "ars", "version": "v1", "normalize_observations": True}, "cannot be used with version = v1"),
    ],
)
def test_a_wrong_type_is_told(settings, line):
    with pytest.raises(UserError, match=line) as caught:
        asyncrl.train(**{"algo": "a3c", "env": "CartPole-v1", **settings})
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()


def test_what_is_natural_in_python_works():
    found = asyncrl.train("es", "CartPole-v1", **FAST, head="mlp", hidden=8, episode_limit=20, population=8)
    settings = json.loads((found.folder / "experiment.json").read_text())["settings"]
    assert (settings["network"]["hidden"], settings["options"]["episode_limit"]) == ([8], "20")
    assert found.summary["episode_length_last_100"] <= 20


def test_a2c_is_sync_unless_told_otherwise():
    assert asyncrl.train("a2c", "CartPole-v1", **FAST).summary["mode"] == "sync"
    assert asyncrl.train("a3c", "CartPole-v1", **FAST).summary["mode"] == "async"
    assert asyncrl.train("a2c", "CartPole-v1", **FAST, mode="pipelined").summary["mode"] == "pipelined"


def test_a_script_without_a_guard(folder):
    """A plain script: its classes and functions are in ``__main__``, and nothing protects it from being run twice."""
    (folder / "script.py").write_text(
        textwrap.dedent("""
        import asyncrl
        from gymnasium.envs.classic_control import CartPoleEnv
        from gymnasium.wrappers import TimeLimit

        print("once")

        class Mine(CartPoleEnv):
            pass

        result = asyncrl.train("a3c", lambda: TimeLimit(Mine(), 50), workers=2, steps=400, quiet=True, evaluation_episodes=1)
        print(result.status, result.summary["steps"] >= 400)
        """)
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\ncompleted True\n", "")


def test_many_runs_in_one_process_keep_nothing_open():
    before = None
    for number in range(3):
        asyncrl.train("a3c", "CartPole-v1", **FAST, name=str(number))
        gc.collect()  # the mapped memory of a run goes with the last object that refers to it
        now = psutil.Process().num_fds()
        assert before is None or now <= before
        before = now


# --- resume ---


def test_resume_goes_on(folder):
    first = asyncrl.train("a2c", "CartPole-v1", **FAST)
    second = asyncrl.resume(first.folder, steps=1200)
    assert second.folder == first.folder
    assert second.summary["steps"] == 1200
    assert json.loads((first.folder / "summary.json").read_text())["steps"] == 1200
    with pytest.raises(UserError, match=r"done 1,200 of 1,200 steps already"):
        asyncrl.resume(first.folder, steps=1200)


def test_resume_needs_the_function():
    first = asyncrl.train("a2c", CountingEnv, **FAST)
    with pytest.raises(UserError, match="env of this run is a function of yours"):
        asyncrl.resume(first.folder, steps=800)
    assert asyncrl.resume(first.folder, steps=800, env=CountingEnv).summary["steps"] == 800
    with pytest.raises(UserError, match="CountingEnv"):
        asyncrl.resume(first.folder, steps=1600, env=ContinuousTargetEnv)


# --- evaluate and play ---


def test_evaluation_is_reproducible(cartpole):
    first, again, other = (asyncrl.evaluate(cartpole.folder, episodes=4, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first["returns"] != other["returns"]
    assert first["episodes"] == len(first["returns"]) == 4
    assert first["return_mean"] == pytest.approx(np.mean(first["returns"]))
    assert first["return_std"] == pytest.approx(np.std(first["returns"]))
    assert first["length_mean"] == first["return_mean"], "a reward of one a step"
    assert first["steps"] == 20_000
    with pytest.raises(UserError, match="episodes"):
        asyncrl.evaluate(cartpole.folder, episodes=0)


def test_what_was_learned_is_what_is_evaluated(cartpole):
    """The final evaluation of the run, repeated with its seed."""
    seed = 4 + 1_000_003
    assert asyncrl.evaluate(cartpole.folder, episodes=3, seed=seed)["return_mean"] == cartpole.summary["evaluation_return"]


@pytest.mark.skipif(importlib.util.find_spec("mujoco") is None, reason="needs mujoco")
def test_observation_statistics_come_back(tmp_path):
    result = asyncrl.train("a2c", "HalfCheetah-v5", **{**FAST, "steps": 2000}, normalize_observations=True)
    _, arrays = read_part(newest(result.folder), "run")
    shift, scale, _ = arrays["normaliser"]
    assert np.abs(shift).max() > 0.05
    assert np.abs(scale - 1.0).max() > 0.2
    assert np.isfinite(scale).all()
    with_them = asyncrl.evaluate(result.folder, episodes=1)

    task, snapshot = load(result.folder, None, None)
    assert np.array_equal(snapshot.normaliser, arrays["normaliser"])
    plain = np.zeros_like(snapshot.normaliser)
    without = player_of(task, 0).play(dataclasses.replace(snapshot, normaliser=plain), 1)
    assert without.returns != with_them["returns"], "the statistics make a difference"


def frames_of(path: Path) -> list[np.ndarray]:
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def test_a_gif(cartpole, folder):
    result = asyncrl.play(cartpole.folder, video=folder / "run.gif", seed=1)
    frames = frames_of(folder / "run.gif")
    assert len(frames) > 1
    assert len(frames) <= result["returns"][0] / 2 + 2, "25 of 50 frames a second"
    assert len(frames) >= result["returns"][0] / 4, "equal ones may be joined"
    assert [path.name for path in folder.iterdir()] == ["run.gif"]
    assert frames[0].shape == (400, 600, 3)
    assert any((frames[0] != frame).any() for frame in frames[1:]), "something moves"


def test_videos_that_cannot_be_written(cartpole, folder, monkeypatch):
    with pytest.raises(UserError, match=r"unknown format '\.webm' \(allowed: \.gif, \.mp4\)"):
        asyncrl.play(cartpole.folder, video="run.webm")
    with pytest.raises(UserError, match="no folder 'nowhere'"):
        asyncrl.play(cartpole.folder, video="nowhere/run.gif")
    with pytest.raises(UserError, match="episodes"):
        asyncrl.play(cartpole.folder, video="run.gif", episodes=0)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "imageio_ffmpeg" else find(name, *more))
    with pytest.raises(UserError, match=r"writing .mp4 needs imageio_ffmpeg; install it with: pip install 'asyncrl\[video\]'"):
        asyncrl.play(cartpole.folder, video="run.mp4")
    assert list(folder.iterdir()) == []


def test_without_a_screen(cartpole, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(UserError, match=r"no screen to play on.* --video run\.gif"):
        asyncrl.play(cartpole.folder)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert has_screen()


def test_an_environment_that_draws_nothing():
    result = asyncrl.train("a2c", CountingEnv, **FAST)
    with pytest.raises(UserError, match="rgb_array"):
        asyncrl.play(result.folder, video="run.gif", env=CountingEnv)
    assert not Path("run.gif").exists()


class Drawing(CountingEnv):
    """Draws what it is told to; from the third frame on what comes after it."""

    def __init__(self, frame, later=None):
        super().__init__()
        self.render_mode = "rgb_array"
        self._frames = [frame, frame, frame if later is None else later]

    def render(self):
        frame = self._frames.pop(0) if len(self._frames) > 1 else self._frames[0]
        if isinstance(frame, Exception):
            raise frame
        return frame


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> Path:
    return asyncrl.train("a2c", CountingEnv, **FAST, runs=str(tmp_path_factory.mktemp("runs"))).folder


GOOD = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.filterwarnings("ignore:the run was made with")
@pytest.mark.parametrize(
    ("frames", "line"),
    [
        ((None,), r"render\(\) gave None; a frame is a uint8 array \[height, width, 3\]"),
        (([GOOD],), r"render\(\) gave an object of type list;"),
        ((GOOD / 2,), r"render\(\) gave an array of float64;"),
        ((GOOD[:, :, 0],), r"render\(\) gave an array of shape \(4, 6\);"),
        ((GOOD[:, :, :1],), r"render\(\) gave an array of shape \(4, 6, 1\);"),
        ((GOOD[:0],), r"render\(\) gave an array of shape \(0, 6, 3\);"),
        ((NotImplementedError("nothing to see"),), r"render\(\) raised NotImplementedError: nothing to see"),
        ((GOOD, GOOD[:2]), r"render\(\) gave a frame of shape \(2, 6, 3\) after frames of \(4, 6, 3\);"),
        ((GOOD, GOOD / 2), r"render\(\) gave an array of float64;"),
    ],
)
def test_frames_that_are_none_take_one_line(counted, folder, frames, line):
    with pytest.raises(UserError, match="^the environment cannot be filmed: " + line) as caught:
        asyncrl.play(counted, video="run.gif", env=lambda: Drawing(*frames))
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_an_environment_that_opens_no_window(counted, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.raises(UserError, match="cannot be shown: its render mode is None, not human"):
        asyncrl.play(counted, env=CountingEnv)


# --- another environment ---


def make_short():
    return CountingEnv(5)


@pytest.mark.parametrize("env", [lambda: CountingEnv(), functools.partial(CountingEnv, 10), make_short], ids=["lambda", "partial", "named"])
def test_an_environment_of_another_name_whose_spaces_fit(counted, env):
    with pytest.warns(UserWarning, match="made with environment 'CountingEnv'; it goes on with '.*', whose spaces fit"):
        assert asyncrl.evaluate(counted, episodes=2, env=env)["episodes"] == 2


def test_the_same_environment_takes_no_warning(counted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncrl.evaluate(counted, episodes=1, env=CountingEnv)


def test_an_environment_whose_spaces_do_not_fit(counted):
    for env, what in ((ContinuousTargetEnv, r"observation_shape is \[2\], the run's is \[3\]"), ("CartPole-v1", "observation_shape is")):
        with pytest.raises(UserError, match=f"does not fit run '.*', which was made with 'CountingEnv': {what}") as caught:
            asyncrl.evaluate(counted, env=env)
        assert "\n" not in str(caught.value)


def test_a_run_goes_on_with_another_environment_whose_spaces_fit():
    run = asyncrl.train("a2c", CountingEnv, **FAST)
    with watched() as second:
        second.result = asyncrl.resume(run.folder, steps=800, env=make_short)
    assert second.summary["steps"] == 800
    assert [note for note in second.notes if "it goes on with 'make_short', whose spaces fit" in note]
    assert asyncrl.resume(run.folder, steps=1200, env=CountingEnv, quiet=True).summary["steps"] == 1200, "and back"


# --- options ---


@pytest.mark.parametrize(
    "kind",
    [
        Experiment,
        RunOptions,
        NetworkOptions,
        *dict.fromkeys(entry.options_type for entry in ALGORITHMS.values()),
        *dict.fromkeys(head.options_type for head in HEADS.values()),
        Resume,
        Evaluate,
        Play,
        Landscape,
        Throughput,
        Queues,
    ],
)
def test_every_option_is_explained(kind):
    """tyro takes the help text of an option from the string below the field."""
    from tyro._docstrings import get_field_docstring

    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(typing.get_type_hints(kind).get(field.name)) and field.name not in ("algo", "network_function"):
            text = get_field_docstring(kind, field.name, ())
            assert text and text.strip().endswith((".", ")")), f"{kind.__name__}.{field.name}: {text!r}"
