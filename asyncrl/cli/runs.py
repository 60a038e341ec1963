"""`asyncrl resume RUN`, `evaluate RUN`, `play RUN`, `export RUN FILE` and `landscape RUN`: the commands that take a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncrl.cli.arguments import EXIT_CODES, File, Run, check_at_least_one, check_run, check_seed, check_writable, write_json
from asyncrl.cli.parsing import parse
from asyncrl.fields import Engine, Simulator


@dataclass(frozen=True)
class Again:
    """How the run's environment is made again."""

    env: str | None = None
    """Environment instead of the run's, as for `asyncrl train`; its spaces must fit."""
    trust: bool = False
    """Run code that the folder names: an environment in a file or a module, wrappers."""


@dataclass(frozen=True)
class Resume:
    """Go on from the newest whole checkpoint of a run's folder."""

    run: Run
    """The run's folder."""
    steps: int | None = None
    """Environment steps in total, including those before the checkpoint; none for the number that the run was started with."""
    learner_device: str | None = None
    """Device of the learner's networks from now on, as in `asyncrl train td3`; none for the device that the run had."""
    environment: Again = field(default_factory=Again)
    engine: Engine | None = None
    """What carries the workers from now on, as in `asyncrl train`; none for what the run had. So the next three."""
    address: str | None = None
    """Of the cluster, for engine ray."""
    sites: int | None = None
    """Nodes that work for this run at most, for engine ray."""
    site_workers: int | None = None
    """Processes of each site, for engine ray."""
    quiet: bool = False
    """No live table in the terminal."""


def resume(args: list[str]) -> int:
    """Go on from the newest whole checkpoint of a run's folder."""
    given = parse(Resume, args, "asyncrl resume")
    check_at_least_one(steps=given.steps, sites=given.sites, site_workers=given.site_workers)
    check_run(given.run)

    from asyncrl.api import resume as resume_run

    machines = {name: getattr(given, name) for name in ("engine", "address", "sites", "site_workers")}
    more = {"learner_device": given.learner_device, **vars(given.environment), **machines}
    return EXIT_CODES[resume_run(given.run, steps=given.steps, quiet=given.quiet, **more).status]


@dataclass(frozen=True)
class Evaluate:
    """Greedy episodes with the newest checkpoint of a run's folder."""

    run: Run
    """The run's folder."""
    episodes: int = 10
    """Greedy episodes."""
    seed: int = 0
    """Seed of the first episode."""
    environment: Again = field(default_factory=Again)
    simulator: Simulator = "auto"
    """What steps the environment: gymnasium, or a compiled simulator that gives the same numbers; auto takes one where there is one."""
    json: str | None = None
    """File for the result; nothing is written without it."""


def evaluate(args: list[str]) -> int:
    """Greedy episodes with the newest checkpoint of a run's folder."""
    given = parse(Evaluate, args, "asyncrl evaluate")
    check_at_least_one(episodes=given.episodes)
    check_writable(given.json)
    check_seed(given.seed)
    check_run(given.run)

    from asyncrl.api import evaluate as evaluate_run

    more = {"simulator": given.simulator, **vars(given.environment)}
    result = evaluate_run(given.run, episodes=given.episodes, seed=given.seed, **more)
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
    environment: Again = field(default_factory=Again)


def play(args: list[str]) -> int:
    """Render greedy episodes, or write them to a video."""
    given = parse(Play, args, "asyncrl play")
    check_at_least_one(episodes=given.episodes)
    check_writable(given.video)
    check_run(given.run)

    from asyncrl.api import play as play_run

    print(_line_of(play_run(given.run, video=given.video, episodes=given.episodes, **vars(given.environment))))
    return 0


@dataclass(frozen=True)
class Export:
    """Write the greedy policy to a file for other programs: .onnx, or .pt2 for torch. Normaliser and bounds are in it."""

    run: Run
    """The run's folder."""
    file: File
    """File to write: policy.onnx (pip install 'asyncrl[export]'), or policy.pt2, which torch.export.load reads."""
    checkpoint: int | None = None
    """Steps of the checkpoint, as in its folder's name; none for the newest."""


def export(args: list[str]) -> int:
    """Write the greedy policy to a file for other programs."""
    given = parse(Export, args, "asyncrl export")
    check_writable(given.file)

    from asyncrl.session.exporting import OBSERVATIONS
    from asyncrl.session.exporting import export as export_run

    made = export_run(given.run, given.file, given.checkpoint)
    print(f"{made.file}: observation {made.observation} -> action {made.action}, of the checkpoint at step {made.steps:,}")
    print(f"checked at {OBSERVATIONS} observations: actions differ by {made.difference:.1g} at most")
    return 0


@dataclass(frozen=True)
class Landscape:
    """Draw what the policy prefers at states along a greedy episode, as an image for TensorBoard too: the energies of actions, of which the
    head takes the least; of ddpg, td3 and sac the values of actions, surrogates of head savo among them, with what every actor proposes."""

    run: Run
    """The run's folder."""
    checkpoint: int | None = None
    """Steps of the checkpoint, as in its folder's name; none for the newest."""
    states: int = 6
    """States, evenly along one episode."""
    seed: int = 0
    """Seed of the episode."""
    points: int | None = None
    """Points of each continuous component; none for 201 of one, and 61 of two."""
    axes: tuple[int, ...] = ()
    """One or two components of the action to draw, counted from 0, such as 0,2: the others are held at the chosen action. By default the
    first two."""
    environment: Again = field(default_factory=Again)
    out: str | None = None
    """File for the picture, a .png; none for landscape.png in the run's folder."""


def landscape(args: list[str]) -> int:
    """Draw the energies or values of actions at states along an episode."""
    given = parse(Landscape, args, "asyncrl landscape")
    check_at_least_one(states=given.states)
    check_writable(given.out)
    check_seed(given.seed)

    from asyncrl.landscapes.landscape import landscape as draw
    from asyncrl.landscapes.telling import told

    chosen = given.out, given.states, given.seed, given.points, given.axes, given.checkpoint
    print(told(draw(given.run, *chosen, **vars(given.environment))))
    return 0


def _line_of(result: Mapping[str, Any]) -> str:
    """The results of `evaluate` and `play` on one line."""
    names = {"return_mean": "return", "return_std": "deviation", "length_mean": "length"}
    shown = {names.get(key, key): value for key, value in result.items() if isinstance(value, int | float | str)}
    return ", ".join(f"{key} {value:.5g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items())
