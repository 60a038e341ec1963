"""What the runs of a study that are done say, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.studies.study import Study, Trial
from asyncrl.studies.trials import summary_of

Curve = NDArray[np.float64]
VIRTUAL = "simulated/seconds"
"""Of the clock of a simulated run: the seconds that count there."""
OF_AGE = ("effective_samples", "kl_acting", "kl_learning")
"""What streams report of how far the policy that learns is from the one that acted."""
TASK_AXES = ("env", "algo")
"""Axes whose values are told apart rather than compared, where there are others to compare."""


@dataclass(frozen=True)
class RunResult:
    """A run that is done."""

    trial: Trial
    task: str
    """What it is a run of, such as CartPole-v1: runs of one task are compared."""
    variant: str
    """What it is compared as, such as sync, 2 workers."""
    summary: dict[str, Any]
    curve: dict[str, Curve] = field(repr=False)
    """``steps``, ``seconds``, ``updates`` and ``returns`` [P]: at its reports the mean of the last 100 episodes, or its evaluations."""

    age: dict[str, float] = field(default_factory=dict, repr=False)
    """What the age of parameters did, of runs with `--diagnose` and of streams: a name of `tables.AGES` -> its mean over the run."""

    @property
    def final(self) -> float:
        """The last of its returns."""
        return float(self.curve["returns"][-1])

    @property
    def rate(self) -> float:
        """Steps a second; of a simulated run on its virtual clock."""
        return float(self.summary.get("simulated_steps_per_second") or self.summary["steps_per_second"])

    def reached(self, threshold: float, what: str) -> float:
        """The steps, seconds or updates after which the return first was at the threshold; infinite if it never was."""
        at = np.flatnonzero(self.curve["returns"] >= threshold)
        return float(self.curve[what][at[0]]) if len(at) else np.inf

    def returns_at(self, what: str, points: Curve) -> Curve:
        """Returns [G] when so many steps, seconds or updates [G] had been made; before the first report its return, after the last its."""
        return np.interp(points, self.curve[what], self.curve["returns"])


def results_of(study: Study, folder: Path) -> list[RunResult]:
    """The runs of a study that are done, in the study's order. Runs without a finished episode are left out."""
    found = []
    for trial in study.trials():
        summary = summary_of(folder / "runs" / trial.name)
        if summary.get("status") == "completed" and summary.get("return_mean_last_100") is not None:
            task, variant = _names(study, trial)
            lines = (folder / "runs" / trial.name / "metrics.jsonl").read_text().splitlines()
            entries = [json.loads(line) for line in lines]
            found.append(RunResult(trial, task, variant, summary, _curve(entries, summary, study.measure), age_of(entries, summary)))
    return found


def _names(study: Study, trial: Trial) -> tuple[str, str]:
    """(task, variant) of a run. An axis with one value tells nothing and is left out of variants."""
    several = [axis for axis, values in study.vary.items() if len(values) > 1]
    compared = [axis for axis in several if axis not in TASK_AXES] or [axis for axis in several if axis != "env"] or several
    own = "algo" in several or "algo" in study.experiment  # otherwise it is part of what is compared
    told = [trial.settings["algo"]] * (own and "algo" not in compared) + [trial.settings["env"]] * ("env" not in compared)
    variant = ", ".join(_said(axis, trial.labels[axis]) for axis in compared)
    return " on ".join(str(part) for part in told) or study.name, variant or "all"


def _said(axis: str, label: str) -> str:
    """A value in words: modes, algorithms and names of one's own by themselves, numbers with what they are of."""
    return f"{axis.replace('_', ' ')} {label}" if label.replace(".", "").replace("-", "").replace("e", "").isdigit() else label


def baseline_of(study: Study, results: Sequence[RunResult]) -> str | None:
    """The variant that others are compared with; None where it has no run."""
    for result in results:
        if all(result.trial.labels[axis] == label for axis, label in study.baseline.items() if axis not in TASK_AXES):
            return result.variant
    return None


def age_of(entries: list[dict[str, Any]], summary: dict[str, Any]) -> dict[str, float]:
    """What a run's reports and summary say of what age did: a name of `tables.AGES` -> its value, or its mean over the reports."""
    told = dict(summary.get("diagnosis") or {})
    for where in ("in_flight", "in_queue"):
        if f"lag_{where}" in told:
            told |= {f"lag_{where}_{name}": told[f"lag_{where}"][name] for name in ("mean", "p95")}
    for name in OF_AGE:
        reports = [entry[f"learn/{name}"] for entry in entries if f"learn/{name}" in entry]
        told |= {name: float(np.mean(reports))} if reports else {}
    return {name: value for name, value in told.items() if isinstance(value, float | int)}


def _curve(entries: list[dict[str, Any]], summary: dict[str, Any], measure: str) -> dict[str, Curve]:
    end = (summary["steps"], summary.get("simulated_seconds") or summary["seconds"], summary["updates"], summary["return_mean_last_100"])
    rows = [(e["step"], e.get(VIRTUAL, e["seconds"]), e["updates"], e["return/mean"]) for e in entries if "return/mean" in e] or [end]
    steps, seconds, updates, returns = np.array(rows, float).T
    made = {e["step"]: e["evaluation/return"] for e in entries if "evaluation/return" in e}
    if measure == "evaluation" and made:
        at, returns = np.array(list(made), float), np.array(list(made.values()), float)
        steps, seconds, updates = at, np.interp(at, steps, seconds), np.interp(at, steps, updates)
    return {"steps": steps, "seconds": seconds, "updates": updates, "returns": returns}
