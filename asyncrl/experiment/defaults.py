"""Defaults that depend on how large a run is planned to be, or on its algorithm or environment: settled once, as it begins, and written
down with its other settings.

So a run that is resumed with more steps keeps what it began with.
"""

from __future__ import annotations

import dataclasses

from asyncrl.algos import ALGORITHMS
from asyncrl.envs.atari import is_game
from asyncrl.experiment.experiment import Experiment


def settled(experiment: Experiment) -> tuple[Experiment, list[str]]:
    """The experiment without defaults that are left open, and a line for each that was shortened because the run is short.

    What the user has named stays as it is.
    """
    steps = experiment.steps
    options, notes = experiment.options.settled(steps, experiment.workers * experiment.envs_per_worker)
    if is_game(experiment.env) and options.has("reward_clip") and options.reward_clip is None and options.reward_scale:
        options = dataclasses.replace(options, reward_clip=abs(options.reward_scale))
    network = experiment.network
    network = dataclasses.replace(network, head_options=network.head_options.settled(experiment.algo, steps))
    experiment = dataclasses.replace(experiment, options=options, network=network)
    default = ALGORITHMS[experiment.algo].default_explore
    values, anneals, usual_steps = default.partition("@")
    if anneals and not experiment.explore:
        explore = default
        if steps < int(usual_steps):
            explore = f"{values}@{max(steps // 2, 1)}"
            notes.append(
                f"exploration is annealed over {max(steps // 2, 1):,} steps, half of the run: the usual {int(usual_steps):,} are more "
                "than it has (--explore sets another)"
            )
        experiment = dataclasses.replace(experiment, explore=explore)
    return experiment, notes
