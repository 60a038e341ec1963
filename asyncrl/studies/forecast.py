"""How long a study will take, and how much of the disk: before it begins by its environments alone, later by the runs that are done."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asyncrl.envs import closed_environments, kept_generators
from asyncrl.envs.make import make_env
from asyncrl.errors import AsyncrlError, UserError
from asyncrl.experiment.experiment import Experiment
from asyncrl.shared.arrays import free_bytes
from asyncrl.studies.study import Trial
from asyncrl.studies.trials import cores_of, experiment_for

DAY = 86_400.0
PROBE_SECONDS = 0.1
"""For which random actions are played to see how fast an environment is."""


def duration(seconds: float) -> str:
    """As people say it: 50 s, 12 min, 3 h 20 min, 2 days 3 h."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / DAY
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    if hours < 1.5:
        return f"{minutes:.0f} min"
    if days < 1.5:
        return f"{hours // 1:.0f} h {minutes % 60:.0f} min"
    return f"{days // 1:.0f} days {hours % 24:.0f} h"


class Forecast:
    """Remembers how long runs of each kind took: of one algorithm, environment, steps and workers."""

    def __init__(self, trials: Sequence[Trial], runs: Path, cores: int):
        self._runs, self._cores = runs, cores
        self._experiments = {trial.name: experiment_for(trial, runs) for trial in trials}
        self._taken: dict[Any, list[float]] = {}
        self._bytes: list[int] = []
        self._rates: dict[str, float] = {}

    def check(self, yes: bool) -> None:
        """Raise UserError where the study takes a day at least and nobody has said that it may."""
        least = sum(map(self._least, self._experiments.values())) / self._cores
        if least > DAY and not yes:
            raise UserError(
                f"the study has {len(self._experiments):,} runs, whose environments alone take {duration(least)} on {self._cores} cores "
                "(allowed: --yes to run it all the same, or fewer steps, seeds or values)"
            )

    def took(self, trial: Trial, seconds: float) -> None:
        """Remember what a run that has ended took, and what it left on the disk."""
        self._taken.setdefault(self._kind(trial), []).append(seconds)
        self._bytes.append(sum(file.stat().st_size for file in (self._runs / trial.name).rglob("*") if file.is_file()))

    def check_disk(self, left: int) -> None:
        """Raise AsyncrlError where the `left` runs that wait would not fit on the disk, by those that are done."""
        if self._bytes:
            needed, free = int(np.mean(self._bytes)) * left, free_bytes(str(self._runs))
            if needed > free:
                raise AsyncrlError(
                    f"the {left} runs that are left need about {needed:,} bytes on the disk of {str(self._runs)!r}, {free:,} are free"
                )

    def left(self, waiting: Sequence[tuple[Trial, int]]) -> float | None:
        """Seconds until the runs that wait are done, about; None while nothing is known of one of them."""
        work = 0.0
        for trial, cores in waiting:
            taken = self._taken.get(self._kind(trial))
            if not taken:
                return None
            work += float(np.mean(taken)) * cores
        return work / self._cores

    def _kind(self, trial: Trial) -> Any:
        experiment = self._experiments[trial.name]
        return experiment.algo, experiment.env_name, experiment.steps, experiment.seconds, experiment.workers

    def _least(self, experiment: Experiment) -> float:
        """Core seconds that a run takes at least."""
        rate = self._rate_of(experiment.environment)
        stepping = experiment.steps / rate if rate else 0.0
        return stepping if experiment.seconds is None else min(experiment.seconds * cores_of(experiment, self._cores), stepping)

    def _rate_of(self, source: Any) -> float:
        """Steps a second of an environment with random actions, by itself; 0 where that is not known."""
        key = repr(source)
        if key not in self._rates:
            try:
                self._rates[key] = _steps_per_second(source)
            except Exception:  # noqa: BLE001  # the runs will tell what is wrong with it, each with its worker and step
                self._rates[key] = 0.0
        return self._rates[key]


def _steps_per_second(source: Any) -> float:
    with kept_generators(), closed_environments():
        environment = make_env(source)
        environment.reset(seed=0)
        environment.action_space.seed(0)
        steps, began = 0, time.perf_counter()
        while time.perf_counter() < began + PROBE_SECONDS:
            *_, terminated, truncated, _ = environment.step(environment.action_space.sample())
            steps += 1
            if terminated or truncated:
                environment.reset()
        return steps / (time.perf_counter() - began)
