"""Wrappers that keep running statistics inside the environment are found, and told of."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from environments import CountingEnv
from gymnasium import wrappers
from running import train

from asyncrl.algos import ALGORITHMS
from asyncrl.envs import make_env, spec_of
from asyncrl.envs.statistics import advice


class RunningMeanStd:
    """As many a project has one of its own."""


class Home(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper of the user's own, which names things in its own way."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.scale = RunningMeanStd()


class OfSeveral(CountingEnv):
    """One environment out of a vector environment with statistics, as adapters have them."""

    def __init__(self) -> None:
        super().__init__()
        several = gymnasium.vector.SyncVectorEnv([CountingEnv])
        self.venv = gymnasium.wrappers.vector.NormalizeReward(gymnasium.wrappers.vector.NormalizeObservation(several))


class Derived(wrappers.NormalizeObservation):
    """What it keeps has another name than its class."""


def fixed() -> Any:
    env = wrappers.NormalizeObservation(CountingEnv())
    env.update_running_mean = False
    return env


FOUND = {
    "none": (lambda: wrappers.TimeLimit(CountingEnv(), 5), ()),
    "observations": (lambda: wrappers.NormalizeObservation(CountingEnv()), (("NormalizeObservation", "observations"),)),
    "within": (
        lambda: wrappers.TimeLimit(wrappers.NormalizeReward(wrappers.NormalizeObservation(CountingEnv())), 5),
        (("NormalizeReward", "rewards"), ("NormalizeObservation", "observations")),
    ),
    "derived": (lambda: wrappers.FlattenObservation(Derived(CountingEnv())), (("Derived", "observations"),)),
    "one's own": (lambda: Home(CountingEnv()), (("Home", "observations or rewards"),)),
    "of several": (OfSeveral, (("NormalizeReward", "rewards"), ("NormalizeObservation", "observations"))),
    "fixed": (fixed, ()),
}


@pytest.mark.parametrize("name", FOUND)
def test_they_are_found_anywhere_in_the_chain(name):
    make, expected = FOUND[name]
    assert spec_of(make_env(make)).statistics == expected


@pytest.mark.parametrize(
    ("algo", "make", "names"),
    [
        ("a2c", FOUND["within"][0], ["NormalizeReward and NormalizeObservation", "--normalize-observations and --reward-scale"]),
        ("es", FOUND["observations"][0], ["NormalizeObservation", "--normalize-observations"]),
        ("a2c", FOUND["fixed"][0], []),
    ],
)
def test_a_run_says_it_once_and_names_what_to_use_instead(tmp_path, algo, make, names):
    run = train(tmp_path, make, algo=algo, workers=1, steps=100, **({"population": 4} if algo == "es" else {}))
    said = [note for note in run.notes if "running statistics" in note]
    assert len(said) == bool(names), run.notes
    for note in said:
        assert all(name in note for name in names)
        assert "evaluation begins with empty ones" in note


@pytest.mark.parametrize(
    ("algo", "what", "named"), [("td3", "observations", ""), ("td3", "rewards", "--reward-scale"), ("es", "rewards", "")]
)
def test_what_an_algorithm_does_not_have_is_not_named(algo, what, named):
    said = advice((("Home", what),), ALGORITHMS[algo].options_type())
    assert said is not None
    assert named in said if named else "--" not in said


def test_statistics_do_not_make_spaces_differ():
    assert spec_of(make_env(FOUND["fixed"][0])) == spec_of(make_env(FOUND["observations"][0]))
    assert np.isfinite(spec_of(make_env(CountingEnv)).observation_size)
