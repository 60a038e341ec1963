"""The Python API: train, run, resume, evaluate and play. (`minimize` is in `asyncrl.minimization`.)"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from asyncrl.algos import ALGORITHMS, head_named, unknown_algorithm
from asyncrl.envs import closed_environments, kept_generators, seed_generators
from asyncrl.envs.make import EnvSource
from asyncrl.envs.offscreen import has_screen
from asyncrl.envs.video import function_hint, record
from asyncrl.errors import UserError, unknown
from asyncrl.experiment.checks import check_named, check_number
from asyncrl.experiment.experiment import Experiment, Result, RunOptions
from asyncrl.fields import COUNT, STEPS
from asyncrl.heads.choice import heads_with_options, of_other_heads, options_type_of
from asyncrl.heads.options import NetworkOptions
from asyncrl.landscapes.evaluated import Pictures
from asyncrl.session.folder import read_experiment
from asyncrl.session.loading import check_checkpoint, load
from asyncrl.session.session import Session
from asyncrl.store.checkpoint import newest, read_part
from asyncrl.topologies import essential_part
from asyncrl.topologies.players import player_of, policy_of
from asyncrl.topologies.simulation import simulated
from asyncrl.workers.player import Evaluation, GreedyPlayer


def train(algo: str, env: EnvSource, **settings: Any) -> Result:
    """Train, as `asyncrl train ALGO ENV` does: ``train("a3c", "CartPole-v1", workers=4, mode="async", steps=200_000)``.

    `settings` are the fields of `Experiment`, of `RunOptions`, of `NetworkOptions`, and of the algorithm's and the head's options, by
    name; `env` may be a function that makes an environment, and `network_function` one that makes a torch network. Both
    are sent to the workers by cloudpickle. A CPU tensor that they capture is shared with all workers if it was moved to shared memory
    (`tensor.share_memory_()`), and copied into each otherwise; one on another device is refused.

    Raises UserError for input that cannot be used, WorkerFailed if workers kept failing.
    """
    return run(experiment_of(algo, env, **settings))


def experiment_of(algo: str, env: EnvSource, **settings: Any) -> Experiment:
    """The experiment that `train` runs when it is called like this. Raises UserError for settings that nothing has."""
    if not isinstance(algo, str) or algo not in ALGORITHMS:
        raise unknown_algorithm(algo, env)
    entry, head = ALGORITHMS[algo], settings.get("head", "auto")
    of_head = options_type_of(head_named(algo, head))
    kinds = {"options": entry.options_type, "head_options": of_head, "network": NetworkOptions, "run": RunOptions}
    parts = _by_owner(kinds, settings, head)
    top = {"mode": entry.default_mode, **parts.pop("experiment")}
    parts["network"]["head_options"] = of_head(**parts.pop("head_options"))
    made = {name: kinds[name](**given) for name, given in parts.items()}
    check_named(made["options"], [name for name, value in settings.items() if value is not False])
    return Experiment(algo, env, **top, **made)


def _by_owner(kinds: dict[str, type[Any]], settings: dict[str, Any], head: str) -> dict[str, dict[str, Any]]:
    """The settings of each of `kinds`, and those of the experiment itself. Raises UserError for what none of them has."""
    owners = {field.name: "experiment" for field in dataclasses.fields(Experiment) if field.name not in kinds}
    for owner, kind in kinds.items():
        owners |= {field.name: owner for field in dataclasses.fields(kind) if field.name not in {*kinds, *owners}}
    parts: dict[str, dict[str, Any]] = {owner: {} for owner in ("experiment", *kinds)}
    of_heads = heads_with_options()
    for name, value in settings.items():
        if name in owners:
            parts[owners[name]][name] = value
        elif name in of_heads:
            raise UserError(f"{name} {of_other_heads(name, head)}")
        else:
            raise unknown("setting", name, [*owners, *of_heads])
    return parts


def run(experiment: Experiment) -> Result:
    """Run an experiment. Raises UserError for input that cannot be used, WorkerFailed if workers kept failing."""
    return Session(experiment, artist=Pictures).run()


def resume(
    run_folder: str | Path,
    steps: int | None = None,
    quiet: bool = False,
    env: EnvSource | None = None,
    network_function: Any = None,
    learner_device: str | None = None,
    trust: bool = False,
    engine: str | None = None,
    address: str | None = None,
    sites: int | None = None,
    site_workers: int | None = None,
) -> Result:
    """Continue from the newest complete checkpoint of a run's folder, up to the run's number of steps or to `steps` in total.

    The run's limit of seconds applied to its first session only. `env` and `network_function` must be given if the run was started
    with functions. `learner_device`: for this session, if it is not the run's. `trust`: whether code that the folder names may be run (an
    environment in a file or a module, wrappers). `engine`, `address`, `sites`, `site_workers`: as in `RunOptions`, for what of the run's is
    to change. Raises UserError, WorkerFailed.
    """
    folder = Path(run_folder)
    experiment = read_experiment(folder, env, network_function, trust)
    checkpoint = newest(folder, essential_part(experiment.algo))
    check_checkpoint(checkpoint, experiment)
    saved = read_part(checkpoint, "run")[0]
    done = int(saved["steps"])
    if steps is not None:
        check_number("steps", steps, STEPS)
    target = int(saved["target_steps"]) if steps is None else steps
    if target <= done:
        raise UserError(f"run {str(folder)!r} has done {done:,} of {target:,} steps already; go further with --steps")
    machines = {"engine": engine, "address": address, "sites": sites, "site_workers": site_workers}
    changed: dict[str, Any] = {name: value for name, value in machines.items() if value is not None}
    if engine == "local":
        changed |= {"address": "", "sites": None, "site_workers": None}
    options = dataclasses.replace(experiment.run, quiet=quiet or experiment.run.quiet, **changed)
    learning = _on_device(experiment, learner_device)
    going_on = dataclasses.replace(experiment, steps=target, seconds=None, run=options, options=learning)
    return Session(going_on, folder, checkpoint, Pictures).run()


def evaluate(
    run_folder: str | Path,
    episodes: int = 10,
    seed: int = 0,
    env: EnvSource | None = None,
    network_function: Any = None,
    simulator: str = "auto",
    trust: bool = False,
) -> dict[str, Any]:
    """Run greedy episodes with the newest checkpoint; returns return_mean, return_std, length_mean, episodes, returns and steps.

    `seed`: of the first episode; `steps` in the result: those of the checkpoint; `simulator`: as in `RunOptions`; `trust`: as in
    `resume`. Raises UserError.
    """
    check_number("episodes", episodes, COUNT)
    task, snapshot = load(Path(run_folder), env, network_function, trust=trust)
    task = simulated(task, policy_of(task), simulator)
    with kept_generators(), closed_environments():
        seed_generators(seed)
        return _outcome(player_of(task, seed).play(snapshot, episodes))


def play(
    run_folder: str | Path,
    video: str | Path | None = None,
    episodes: int = 1,
    seed: int = 0,
    env: EnvSource | None = None,
    network_function: Any = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Show greedy episodes in a window, or write them to a video file (.gif, or .mp4 with the extra `video`).

    Returns what `evaluate` does. Raises UserError, for example if there is no screen.
    """
    check_number("episodes", episodes, COUNT)
    task, snapshot = load(Path(run_folder), env, network_function, trust=trust)
    if video is None and not has_screen():
        raise UserError("there is no screen to play on; write a video instead, such as --video run.gif")
    with kept_generators(), closed_environments():
        seed_generators(seed)
        if video is None:
            return _outcome(_shown(player_of(task, seed, render_mode="human")).play(snapshot, episodes))
        with record(task.env, Path(video)) as environment:
            return _outcome(player_of(task, seed, environment=environment).play(snapshot, episodes))


def _shown(player: GreedyPlayer) -> GreedyPlayer:
    """The player itself; raises UserError if its environment does not render to a window."""
    mode = player.environment.render_mode
    if mode != "human":
        player.environment.close()
        raise UserError(f"the environment cannot be shown: its render mode is {mode}, not human{function_hint(mode)}")
    return player


def _on_device(experiment: Experiment, learner_device: str | None) -> Any:
    """The algorithm's options, with `learner_device` if one is given. Raises UserError if the algorithm has no such option."""
    if learner_device is None:
        return experiment.options
    if not experiment.options.has("learner_device"):
        having = ", ".join(name for name, entry in ALGORITHMS.items() if entry.options_type.has("learner_device"))
        raise UserError(f"learner_device = {learner_device!r} cannot be used with {experiment.algo} (algorithms that have one: {having})")
    return dataclasses.replace(experiment.options, learner_device=learner_device)


def _outcome(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "return_mean": evaluation.mean,
        "return_std": float(np.std(evaluation.returns)),
        "length_mean": float(np.mean(evaluation.lengths)),
        "episodes": len(evaluation.returns),
        "returns": evaluation.returns,
        "steps": evaluation.steps,
    }
