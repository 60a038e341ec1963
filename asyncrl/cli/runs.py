"""`asyncrl resume RUN`, `asyncrl evaluate RUN` and `asyncrl play RUN`: the commands that take a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncrl.cli.arguments import EXIT_CODES, Run, check_at_least_one, check_writable, write_json
from asyncrl.cli.parsing import parse
from asyncrl.errors import UserError


@dataclass(frozen=True)
class Resume:
    """Go on from the newest whole checkpoint of a run's folder."""

    run: Run
    """The run's folder."""
    steps: int | None = None
    """Environment steps in total, including those before the checkpoint; none for the number that the run was started with."""
    learner_device: str | None = None
    """Device of the learner's networks from now on, as in `asyncrl train td3`; none for the device that the run had."""
    quiet: bool = False
    """No live table in the terminal."""


def resume(args: list[str]) -> int:
    """Go on from the newest whole checkpoint of a run's folder."""
    given = parse(Resume, args, "asyncrl resume")
    check_at_least_one(steps=given.steps)

    from asyncrl.api import resume as resume_run

    return EXIT_CODES[resume_run(given.run, steps=given.steps, quiet=given.quiet, learner_device=given.learner_device).status]


@dataclass(frozen=True)
class Evaluate:
    """Greedy episodes with the newest checkpoint of a run's folder."""

    run: Run
    """The run's folder."""
    episodes: int = 10
    """Greedy episodes."""
    seed: int = 0
    """Seed of the first episode."""
    json: str | None = None
    """File for the result; nothing is written without it."""


def evaluate(args: list[str]) -> int:
    """Greedy episodes with the newest checkpoint of a run's folder."""
    given = parse(Evaluate, args, "asyncrl evaluate")
    check_at_least_one(episodes=given.episodes)
    check_writable(given.json)
    if given.seed < 0:
        raise UserError(f"seed = {given.seed} cannot be used (allowed: whole numbers from 0)")

    from asyncrl.api import evaluate as evaluate_run

    result = evaluate_run(given.run, episodes=given.episodes, seed=given.seed)
    print(_line_of(result))
    write_json(given.json, result)
    return 0


@dataclass(frozen=True)
class Play:
    """Render greedy episodes, or write them to a video."""

    run: Run
    """The run's folder."""
    video: str | None = None
    """File for a video, such as run.mp4; without it a window opens."""
    episodes: int = 1
    """Greedy episodes."""


def play(args: list[str]) -> int:
    """Render greedy episodes, or write them to a video."""
    given = parse(Play, args, "asyncrl play")
    check_at_least_one(episodes=given.episodes)
    check_writable(given.video)

    from asyncrl.api import play as play_run

    print(_line_of(play_run(given.run, video=given.video, episodes=given.episodes)))
    return 0


def _line_of(result: Mapping[str, Any]) -> str:
    """The results of `evaluate` and `play` on one line."""
    names = {"return_mean": "return", "return_std": "deviation", "length_mean": "length"}
    shown = {names.get(key, key): value for key, value in result.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{key} {value:.5g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items())
