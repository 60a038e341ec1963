"""Defaults that depend on how long a run is planned to be: settled once, as it begins, and written down with its other settings.

So a run that is resumed with more steps keeps what it began with.
"""

from __future__ import annotations

import dataclasses

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.entries import ValueBased
from asyncrl.algos.off_policy import OffPolicyOptions
from asyncrl.experiment.experiment import Experiment


def settled(experiment: Experiment) -> tuple[Experiment, list[str]]:
    """The experiment without defaults that are left open, and a line for each that was shortened because the run is short.

    What the user has named stays as it is.
    """
    notes: list[str] = []
    options, steps = experiment.options, experiment.steps
    if isinstance(options, OffPolicyOptions) and options.warm_up is None:
        warm_up, usual = options.warm_up_for(steps), options.usual_warm_up
        if warm_up != usual:
            notes.append(
                f"the warm-up is shortened to {warm_up:,} of {steps:,} steps: after the usual {usual:,} the run would come to no update "
                "(--warm-up sets another)"
            )
        experiment = dataclasses.replace(experiment, options=dataclasses.replace(options, warm_up=warm_up))
    entry = ALGORITHMS[experiment.algo]
    if isinstance(entry, ValueBased) and not experiment.explore:
        values, _, usual_steps = entry.default_explore.partition("@")
        explore = entry.default_explore
        if usual_steps and steps < int(usual_steps):
            explore = f"{values}@{max(steps // 2, 1)}"
            notes.append(
                f"exploration is annealed over {max(steps // 2, 1):,} steps, half of the run: the usual {int(usual_steps):,} are more "
                "than it has (--explore sets another)"
            )
        experiment = dataclasses.replace(experiment, explore=explore)
    return experiment, notes
