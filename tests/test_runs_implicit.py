"""The study of implicit heads, runs/implicit.py: what it makes in its own process is what a run makes."""

from __future__ import annotations

import dataclasses
import itertools
import runpy
from pathlib import Path

import pytest

import asyncrl
from asyncrl.experiment.experiment import RunOptions
from asyncrl.store.checkpoint import newest, read_part

IMPLICIT = runpy.run_path(str(Path(__file__).parents[1] / "runs" / "implicit.py"))


@pytest.mark.parametrize(("env", "head"), [("CartPole-v1", "iot"), ("MountainCarContinuous-v0", "itt")])
def test_its_parameters_are_those_of_a_run(tmp_path, env, head):
    """Bit for bit, after equally many iterations; the second draws a set of actions at each transition."""
    experiment = IMPLICIT["experiment_of"](env, head, seed=100)
    made = list(itertools.islice(IMPLICIT["iterations_of"](experiment), 3))
    run = RunOptions(runs=str(tmp_path), quiet=True, evaluation_episodes=0)
    result = asyncrl.run(dataclasses.replace(experiment, workers=2, steps=sum(one.steps for one in made), run=run))
    assert result.summary["updates"] == 2
    found = read_part(newest(result.folder), "run")[1]["parameters"]
    assert found[: experiment.options.population // 2].tobytes() == made[-1].parameters.tobytes()


def test_its_figures():
    """Of two runs: means over seeds of the maximum and of the last ten, and the iteration that is best on average."""
    rows = [{"maximum": 3.0, "last_10": 1.0, "scores": "1.0 3.0 2.0"}, {"maximum": 4.0, "last_10": 3.0, "scores": "1.0 2.0 4.0"}]
    table = IMPLICIT["aggregate"](rows)
    assert (table["maximum"]["mean"], table["last_10"]["mean"], table["seeds"]) == (3.5, 2.0, 2)
    assert table["maximum"]["interval_95"] == [3.0, 4.0]
    assert table["best_iteration"] == {"iteration": 3, "mean": 3.0, "interval_95": [2.0, 4.0], "std": 1.0}
