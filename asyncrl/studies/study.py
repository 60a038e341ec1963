"""What a study is: one experiment, the axes along which it varies, and seeds."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from asyncrl.errors import UserError

Settings = dict[str, Any]
SEEDS = 5
"""Of a study that names none."""


@dataclass(frozen=True)
class Trial:
    """One run of a study."""

    labels: dict[str, str]
    """Axis -> label of its value."""
    seed: int
    repeat: int
    settings: Settings
    """Arguments of `asyncrl.train` but for its seed and folder."""

    @property
    def name(self) -> str:
        """Of its folder: ``mode=sync,workers=2,seed=0``."""
        parts = {**self.labels, "seed": str(self.seed), **({"repeat": str(self.repeat)} if self.repeat else {})}
        return ",".join(f"{axis}={re.sub(r'[^A-Za-z0-9_.-]+', '-', label)}" for axis, label in parts.items())


@dataclass(frozen=True)
class Rule:
    """Settings of those runs whose settings have certain values."""

    conditions: Settings
    settings: Settings

    def holds(self, settings: Settings) -> bool:
        """Whether a run with these settings is one of them."""
        return all(settings.get(name) == value for name, value in self.conditions.items())


@dataclass(frozen=True)
class Study:
    """One experiment, the axes along which it varies, and seeds."""

    name: str
    """Of its folder."""
    experiment: Settings
    """What all runs are given: arguments of `asyncrl.train` by name."""
    vary: dict[str, dict[str, Settings]] = field(default_factory=dict)
    """Axis -> label of a value -> the settings that it stands for."""
    seeds: tuple[int, ...] = tuple(range(SEEDS))
    repeats: int = 1
    """Runs of every seed."""
    where: tuple[Rule, ...] = ()
    baseline: dict[str, str] = field(default_factory=dict)
    """Axis -> label of the value that others are compared with; axes that are left out are compared with their first."""
    threshold: dict[str, float] = field(default_factory=dict)
    """Environment -> return of which the report tells when it is reached."""
    measure: str = "training"
    """Of which returns the report is made: training (the last 100 episodes) or evaluation (greedy, in the course of it)."""
    title: str = ""

    def trials(self) -> list[Trial]:
        """All runs. Repeats and seeds go round the outside, so that at any moment all variants have nearly equally many."""
        made = [
            self._trial(dict(zip(self.vary, labels)), seed, repeat)
            for repeat, seed in itertools.product(range(self.repeats), self.seeds)
            for labels in itertools.product(*self.vary.values())
        ]
        for name, count in Counter(trial.name for trial in made).items():
            if count > 1:
                raise UserError(f"two values of the study have one name, {name!r}: give them names of their own, as in [vary.mode]")
        return made

    def _trial(self, labels: dict[str, str], seed: int, repeat: int) -> Trial:
        settings = dict(self.experiment)
        for axis, label in labels.items():
            settings |= self.vary[axis][label]
        for rule in self.where:
            if rule.holds(settings):
                settings |= rule.settings
        return Trial(labels, seed, repeat, settings)

    def described(self) -> dict[str, Any]:
        """The same as `files.study_of` takes, for study.json."""
        rules = [{"is": rule.conditions, "set": rule.settings} for rule in self.where]
        report = {"baseline": self.baseline, "threshold": self.threshold, "measure": self.measure}
        parts = {"experiment": self.experiment, "vary": self.vary, "where": rules, "report": report}
        return {"title": self.title, "seeds": list(self.seeds), "repeats": self.repeats, **parts}
