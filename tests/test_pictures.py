"""Pictures with evaluations (`--pictures`): small videos, what the policy prefers, and nothing that stops or slows a run."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from environments import CountingEnv
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_evaluations import Evaluator, Played

import asyncrl
from asyncrl.envs.clips import FRAMES_PER_SECOND, MOST_BYTES, SECONDS, SIDE, Clip
from asyncrl.envs.video import Filmed
from asyncrl.errors import UserError
from asyncrl.landscapes.evaluated import FOLDER, Pictures
from asyncrl.session.evaluations import MOST_DEATHS, PICTURES_SECONDS, SHARE, START_SECONDS, Evaluations
from asyncrl.workers.messages import Drawn
from asyncrl.workers.player import Evaluation, Snapshot

RUN = {"workers": 1, "quiet": True, "steps": 600, "evaluate_every": 300, "evaluation_episodes": 1, "pictures": True}


class DrawingEnv(CountingEnv):
    """Draws how many frames it has drawn, at 40 frames a second, and ends after 2000 steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 40}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, render_mode: str | None = None):
        super().__init__(length=2000)
        self.render_mode, self.drawn = render_mode, 0

    def render(self) -> Any:
        self.drawn += 1
        return np.full((30, 600, 3), self.drawn % 256, np.uint8)


class BrokenEnv(DrawingEnv):
    """Cannot draw."""

    def render(self) -> Any:
        raise OSError("no ink")


def frames_of(gif: bytes) -> list[Image.Image]:
    with Image.open(io.BytesIO(gif)) as image:
        assert image.format == "GIF"
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(image.copy())
            frames[-1].info["duration"] = image.info["duration"]
    return frames


def images_in(folder: Path) -> dict[str, list[Any]]:
    found = EventAccumulator(str(folder / FOLDER), size_guidance={"images": 0})
    found.Reload()
    return {tag: found.Images(tag) for tag in found.Tags()["images"]}


# The clip.


@pytest.mark.parametrize("fps", [1, 4, 15, 50, 125])
def test_a_clip_has_some_seconds_at_the_episodes_own_speed(fps):
    clip, steps = Clip(fps), 0
    while not clip.full:
        if steps % clip.every == 0:
            clip.add(np.full((20, 30, 3), steps % 256, np.uint8))
        steps += 1
    assert steps / fps == pytest.approx(SECONDS, abs=2 * clip.every / fps)
    frames = frames_of(clip.encoded()[0])
    assert sum(frame.info["duration"] for frame in frames) == pytest.approx(1000 * SECONDS, rel=0.15)
    assert len(frames) <= SECONDS * FRAMES_PER_SECOND * 1.5


def test_a_clip_is_small_whatever_it_shows():
    clip, generator = Clip(8), np.random.default_rng(0)
    while not clip.full:
        clip.add(generator.integers(0, 255, (400, 300, 3), np.uint8))
    gif, size = clip.encoded()
    frames = frames_of(gif)
    assert len(gif) <= MOST_BYTES and len(frames) > 1
    assert size == frames[0].size == (SIDE * 3 // 4, SIDE)
    assert sum(frame.info["duration"] for frame in frames) == pytest.approx(1000 * SECONDS, rel=0.15), "fewer frames are shown for longer"


def test_frames_that_are_not_shown_are_not_drawn_and_what_nobody_films_is_not_played():
    environment = DrawingEnv("rgb_array")
    clip = Clip(40)
    filmed = Filmed(environment, clip)
    filmed.reset()
    steps, over = 0, False
    while not over:
        _, _, terminated, over, _ = filmed.step(0)
        steps += 1
        assert not terminated
    frames = math.ceil(40 * SECONDS / clip.every)
    assert (steps, environment.drawn) == ((frames - 1) * clip.every, frames)


# In a run.


def test_a_run_with_pictures_is_the_run_without(tmp_path):
    settings = {**RUN, "mode": "sync", "runs": str(tmp_path)}
    drawn = asyncrl.train("a2c", "CartPole-v1", **settings)
    plain = asyncrl.train("a2c", "CartPole-v1", **{**settings, "pictures": False})
    videos = images_in(drawn.folder)["video"]
    reports = [json.loads(line) for line in (drawn.folder / "metrics.jsonl").read_text().splitlines()]
    assert [video.step for video in videos] == sorted({one["step"] for one in reports if "evaluation/return" in one})
    frames = frames_of(videos[-1].encoded_image_string)
    assert len(frames) > 1 and any(frame.tobytes() != frames[0].tobytes() for frame in frames), "something moves"
    assert (videos[-1].width, videos[-1].height) == frames[0].size
    assert not (plain.folder / FOLDER).exists()
    for figure in ("steps", "evaluation_return", "return"):
        assert drawn.summary.get(figure) == plain.summary.get(figure), figure


@pytest.mark.parametrize(
    ("algo", "settings", "tag"),
    [
        ("a2c", {}, "landscape"),
        ("q1", {}, "landscape"),
        ("td3", {"env": "Pendulum-v1", "warm_up": 50, "batch": 16, "hidden": (8,), "replay_ratio": 0.1}, "values of actions"),
    ],
)
def test_what_the_policy_prefers_is_drawn(tmp_path, algo, settings, tag):
    pytest.importorskip("matplotlib")
    settings = {"env": "CartPole-v1", **settings}
    result = asyncrl.train(algo, **{**RUN, **settings, "runs": str(tmp_path), "steps": 400, "checkpoint_every": 200})
    images = images_in(result.folder)
    assert set(images) == {"video", tag}
    assert Image.open(io.BytesIO(images[tag][-1].encoded_image_string)).format == "PNG"
    assert images[tag][-1].step >= 400


def test_a_search_is_filmed(tmp_path):
    result = asyncrl.train("es", DrawingEnv, **{**RUN, "runs": str(tmp_path), "population": 4, "steps": 16_000, "evaluate_every": 0})
    assert set(images_in(result.folder)) == {"video"}


@pytest.mark.parametrize(
    ("env", "said"),
    [(CountingEnv, "its render mode is None, not rgb_array"), (BrokenEnv, "render() raised OSError: no ink")],
)
def test_what_cannot_be_drawn_is_told_once_and_the_run_goes_on(tmp_path, capsys, env, said):
    result = asyncrl.train("a2c", env, **{**RUN, "runs": str(tmp_path), "head": "auto", "evaluate_every": 100})
    lines = [line for line in capsys.readouterr().err.splitlines() if "'video'" in line]
    assert len(lines) == 1 and said in lines[0]
    assert result.status == "completed" and result.summary["evaluation_return"] is not None


def test_pictures_need_evaluations():
    with pytest.raises(UserError, match="evaluation_episodes = 0"):
        asyncrl.train("a2c", "CartPole-v1", pictures=True, evaluation_episodes=0)


# What they cost, and who draws them.


class Draftsman(Evaluator):
    """After every evaluation it draws, which takes `drawing` processor seconds."""

    drawing = 2.0

    def send(self, snapshot: Any) -> None:
        super().send(snapshot)
        self.spent += self.drawing
        self.messages.append(Drawn([], self.spent))


def test_their_time_counts(monkeypatch):
    plain = Played(monkeypatch, cost=0.1, steps=10**6, seconds=200.0, workers=4)
    monkeypatch.setattr("test_evaluations.Evaluator", Draftsman)
    drawn = Played(monkeypatch, cost=0.1, steps=10**6, seconds=200.0, workers=4, artist=lambda task, seed: None)
    assert drawn.spent <= SHARE * 4 * 200.0 + PICTURES_SECONDS
    assert len(drawn.evaluated) < len(plain.evaluated)
    assert len(drawn.evaluated) == pytest.approx((SHARE * 4 * 200.0 - START_SECONDS) / 2.1, abs=2)


def test_who_is_killed_while_drawing_costs_pictures_alone(monkeypatch):
    """Three times in a row, and evaluations go on without."""
    task: Any = SimpleNamespace(workers=1, algo="a3c", target_steps=100)
    tried = Evaluations(None, task, 1, 0, artist=lambda task, seed: None)  # type: ignore[arg-type]
    told: list[str] = []
    reports: Any = SimpleNamespace(evaluated=lambda evaluation: told.append("evaluated"), note=told.append)
    gone: Any = SimpleNamespace(lost=False, is_alive=lambda: False, join=lambda seconds: None, close=lambda: None)
    for death in range(MOST_DEATHS):
        tried._process, tried._under_way = gone, Snapshot(None, None, 1)  # type: ignore[arg-type]
        tried._connection = Dying([Evaluation(1, [1.0], [1], processor_seconds=1.0)])  # type: ignore[assignment]
        tried._receive(reports)
        assert tried._ended == death, "until it is drawn it is not done"
        tried._receive(reports)
        assert tried._ended == death + 1 and tried._under_way is None
    assert tried._artist is None
    assert told.count("evaluated") == MOST_DEATHS and "there are no more" in told[-1] and "are left out" in told[1]


class Dying:
    """A connection with some messages, and then nobody at the other end."""

    def __init__(self, messages: list[Any]):
        self._messages = messages

    def poll(self) -> bool:
        return True

    def recv(self) -> Any:
        if not self._messages:
            raise EOFError
        return self._messages.pop(0)

    def close(self) -> None:
        """Nothing."""


def test_an_artist_leaves_out_what_it_cannot_draw(tmp_path, monkeypatch):
    """Whatever is raised, it is told once; the other kinds are drawn on."""
    artist = Pictures.__new__(Pictures)
    calls: list[str] = []

    def fails(snapshot: Snapshot) -> None:
        calls.append("fails")
        raise RuntimeError("the pen broke")

    artist._folder = tmp_path
    artist._kinds = {"video": fails, "landscape": lambda snapshot: calls.append("landscape")}  # type: ignore[dict-item]
    snapshot = Snapshot(None, None, 1)  # type: ignore[arg-type]
    (note,) = artist.draw(snapshot)
    assert "'video'" in note and "the pen broke" in note
    assert artist.draw(snapshot) == []
    assert calls == ["fails", "landscape", "landscape"]
