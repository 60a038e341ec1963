"""What a minimisation asks its function, and what it makes of the answers: calls, missing values, types, endings."""

from __future__ import annotations

import os
import time
from fractions import Fraction

import numpy as np
import pytest
from running import Run, children, kill_and_see, wait_for, watched

import asyncrl
from asyncrl.errors import UserError

pytestmark = pytest.mark.filterwarnings(*(f"ignore:{line}:UserWarning" for line in ("all ", "none ", ".* came too late", ".* was killed")))


def sphere(x):
    return float(((x - 1.0) ** 2).sum())


def beyond_half(x):
    """The sphere, without a value for x[0] < 0.5."""
    return np.nan if x[0] < 0.5 else sphere(x)


class Counted:
    """A function that writes a byte to a file at each call, in whatever process."""

    def __init__(self, function, path):
        self.function, self.path = function, path

    def __call__(self, x):
        with open(self.path, "ab", buffering=0) as file:
            file.write(b".")
        return self.function(x)

    @property
    def calls(self):
        return os.path.getsize(self.path)


def value_here(x):
    """No value in three quarters of the plane."""
    return sphere(x) if x[0] > 0 and x[1] > 0 else np.nan


@pytest.mark.parametrize(
    ("algo", "mode", "workers", "options"),
    [
        ("nes", "sync", 2, {}),
        ("cma-es", "sync", 3, {}),
        ("es", "pipelined", 2, {}),
        ("es", "bounded:2", 3, {"population": 10}),
        ("es", "async", 3, {"population": 10}),
        ("tres", "async", 2, {"population": 8, "account": "arrival"}),
        ("ars", "async", 2, {"population": 8, "episodes": 3}),
        ("cem", "async", 1, {"population": 1000}),
    ],
)
def test_evaluations_are_a_bound_on_calls(tmp_path, algo, mode, workers, options):
    """Whatever has no value, is in flight, or is left after the last whole generation; and none is kept back."""
    function, calls = Counted(value_here, tmp_path / "calls"), options.get("episodes", 1)
    found = asyncrl.minimize(function, np.full(2, 0.5), algo, 301, workers, mode, sigma=0.5, **options)
    assert function.calls == found.evaluations == 301 // calls * calls
    assert found.stopped == "evaluations"
    assert found.best_value == sphere(found.best_x)


@pytest.mark.parametrize("evaluations", [1, 2, 21])
def test_few_evaluations_are_used_too(tmp_path, evaluations):
    """The start; and what does not make a generation of 20."""
    function = Counted(sphere, tmp_path / "calls")
    found = asyncrl.minimize(function, np.zeros(2), "es", evaluations, 1, population=20)
    assert function.calls == found.evaluations == evaluations
    assert found.updates == (evaluations - 1) // 20
    assert found.best_value <= 2.0 and (evaluations > 1 or found.best_x.tolist() == [0.0, 0.0])


def test_a_point_without_a_value_is_asked_for_once(tmp_path):
    found = asyncrl.minimize(Counted(lambda x: np.nan, tmp_path / "calls"), np.zeros(2), "nes", 61, 1, population=20)
    assert os.path.getsize(tmp_path / "calls") == 61
    assert np.isnan(found.value) and np.isnan(found.best_value) and found.updates == 0


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_nes_leaves_a_region_without_values(seed):
    """Whole generations have none: nothing is raised, and other points are drawn."""
    found = asyncrl.minimize(beyond_half, np.zeros(5), "nes", 3000, 1, seed=seed, sigma=0.3)
    assert found.best_value == sphere(found.best_x) < 1e-8
    assert found.value < 1e-8


@pytest.mark.parametrize("algo", ["es", "ars", "tres", "cem", "cma-es"])
def test_every_search_leaves_a_region_without_values(algo):
    """Only one point in twenty has a value at first."""
    found = asyncrl.minimize(beyond_half, np.zeros(5), algo, 4000, 1, sigma=0.3)
    assert found.value < 0.1 and found.best_value == sphere(found.best_x)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite_rank_worst(value):
    found = asyncrl.minimize(lambda x: value if x[0] > 0.9 else float((x**2).sum()), np.ones(3), "nes", 2000, 1, sigma=0.3)
    assert found.best_value == (found.best_x**2).sum() < 1e-8


def ending_at(kind):
    def function(x):
        rest = np.round(100 * ((x - 1.0) ** 2).sum())
        return kind(rest) if kind is not np.bool_ else kind(rest > 20)

    return function


@pytest.mark.parametrize("kind", [np.uint64, np.bool_, lambda rest: Fraction(int(rest), 3)])
def test_values_of_any_type_are_numbers_before_anything_is_done_with_them(kind):
    function = ending_at(kind)
    found = asyncrl.minimize(function, np.full(2, 0.5), "nes", 600, 1, sigma=0.2)
    assert found.best_value == float(function(found.best_x)) and found.value == float(function(found.x))
    assert 0 <= found.best_value <= 5


def test_a_mean_of_calls_is_not_summed_in_the_functions_type():
    found = asyncrl.minimize(lambda x: np.uint8(200), np.zeros(2), "es", 90, 1, population=4, episodes=3)
    assert found.value == found.best_value == 200.0


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_minimum_of_zero_is_no_negative_zero(zero):
    found = asyncrl.minimize(lambda x: zero, np.zeros(2), "es", 40, 1, population=4)
    assert (str(found.value), str(found.best_value)) == ("0.0", "0.0")


@pytest.mark.parametrize(("algo", "sigma"), [("cma-es", 0.1), ("sep-cma", 100.0), ("nes", 1000.0)])
def test_a_minimum_is_found_to_all_its_digits(algo, sigma):
    found = asyncrl.minimize(lambda x: float(((x - 3333.33) ** 2).sum()), np.zeros(3), algo, 4000, 1, sigma=sigma)
    assert np.abs(found.best_x - 3333.33).max() < 1e-8 and np.abs(found.x - 3333.33).max() < 1e-8


@pytest.mark.parametrize("algo", ["es", "ars", "tres", "nes", "cem", "cma-es", "sep-cma"])
def test_points_are_float64(algo):
    """A start between two numbers of float32, which are 0.06 apart there, and steps that it would swallow."""
    start = np.full(2, 1e6 + 0.02)
    found = asyncrl.minimize(lambda x: float((x - start).sum()), start, algo, 60, 1, sigma=1e-6)
    assert 0 < np.abs(found.best_x - start).max() < 0.01


@pytest.mark.parametrize(("algo", "function"), [("cma-es", lambda x: -float(x.sum())), ("sep-cma", lambda x: -float(x @ x))])
def test_a_function_without_a_minimum_ends_by_the_librarys_criteria(tmp_path, algo, function):
    counted = Counted(function, tmp_path / "calls")
    found = asyncrl.minimize(counted, np.zeros(5), algo, 20_000, 2)
    assert found.stopped == "tolfacupx"
    assert counted.calls == found.evaluations < 5000
    assert found.best_value == function(found.best_x) < -1e6
    assert children() == []


def test_a_converged_search_ends():
    found = asyncrl.minimize(sphere, np.zeros(3), "cma-es", 10_000, 1, sigma=0.3)
    assert (found.stopped, found.evaluations < 5000) == ("tolx", True)
    assert found.best_value < 1e-20


def test_step_sizes_follow_the_setting_of_sigma():
    """The same search, whether sigma is an option or the exploration's."""
    for algo in ("es", "cem"):
        one = asyncrl.minimize(sphere, np.zeros(3), algo, 400, 1, population=20, sigma=0.7)
        other = asyncrl.minimize(sphere, np.zeros(3), algo, 400, 1, population=20, explore="sigma:0.7")
        assert one.x.tobytes() == other.x.tobytes()


@pytest.mark.parametrize("algo", ["es", "ars", "tres", "nes", "cem"])
def test_one_parameter_will_do(algo):
    found = asyncrl.minimize(sphere, [0.0], algo, 2000, 1, sigma=0.2)
    assert found.best_value < 1e-3 and found.value < 0.1


@pytest.mark.parametrize("algo", ["cma-es", "sep-cma"])
def test_one_parameter_is_refused_by_name_of_what_works(algo):
    with pytest.raises(UserError, match=r"with 1 parameter cannot be used .*nes, es, ars, tres and cem"):
        asyncrl.minimize(sphere, [0.0], algo, 100, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("algo", "bounds"), [("cma-es", (-2.0, 0.9)), ("sep-cma", None)])
def test_killed_processes_change_nothing_that_is_found(tmp_path, algo, bounds):
    """The library's object dies with the learner; its successor goes on from shared memory with the same bits."""
    slow = tmp_path / "slow"
    slow.touch()

    def function(x):
        if slow.exists():
            time.sleep(0.005)
        return sphere(x)

    def kill_some(run: Run) -> None:
        launcher = wait_for(lambda: run.launcher)
        try:
            for worker in (1, 0, 1):  # 1 is the learner
                before = launcher.version()
                wait_for(lambda before=before: launcher.epoch_runs and launcher.version() > before + 1)
                pid = wait_for(lambda worker=worker: run.pids().get(worker) if launcher.slots[worker].granted else None)
                kill_and_see(run, {worker: pid})
        finally:
            slow.unlink()

    settings = {"algo": algo, "evaluations": 500, "workers": 1, "sigma": 0.3, "bounds": bounds}
    with watched(kill_some):
        killed = asyncrl.minimize(function, np.full(4, 0.5), **settings)
    undisturbed = asyncrl.minimize(sphere, np.full(4, 0.5), **settings)
    assert killed.x.tobytes() == undisturbed.x.tobytes()
    assert killed.updates == undisturbed.updates
    assert killed.best_value == undisturbed.best_value
