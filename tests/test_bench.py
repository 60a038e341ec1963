"""`asyncrl bench throughput`: what it measures, against a second clock, and what it leaves."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import sys
import time

import gymnasium
import psutil
import pytest
from environments import CountingEnv, HangingEnv, RaisingEnv
from rich.console import Console

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.bench import throughput
from asyncrl.bench.throughput import bench_throughput, measure_limit, print_throughput
from asyncrl.errors import AsyncrlError, UserError


class PacedEnv(CountingEnv):
    """A step takes a millisecond and a half at least, so that its limit is known."""

    def step(self, action):
        time.sleep(0.0015)
        return super().step(action)


class TellsTheTime(PacedEnv):
    """Leaves when its first step began and its newest one ended."""

    def __init__(self, folder):
        super().__init__()
        self.file, self.first = os.path.join(folder, str(os.getpid())), None

    def step(self, action):
        self.first = self.first or time.monotonic()
        result = super().step(action)
        with open(self.file, "w") as file:
            file.write(f"{self.first} {time.monotonic()}")
        return result


@pytest.fixture(scope="module")
def result():
    return bench_throughput("CartPole-v1", workers=2, seconds=0.5, only=["a3c:async", "a2c:sync"], t_max=(5, 20))


def test_the_result_has_the_documented_form(result):
    assert {"env", "workers", "limit_steps_per_second", "rows"} <= result.keys()
    assert (result["env"], result["workers"]) == ("CartPole-v1", 2)
    assert [(row["algo"], row["mode"], row["t_max"]) for row in result["rows"]] == [
        ("a3c", "async", 5),
        ("a3c", "async", 20),
        ("a2c", "sync", 5),
        ("a2c", "sync", 20),
    ]
    for row in result["rows"]:
        told = {"algo", "mode", "head", "simulator", "t_max", "workers", "steps_per_second", "share_of_limit", "share_of_engine"}
        assert row.keys() == told
        assert (row["head"], row["workers"], row["simulator"]) == ("categorical", 2, "compiled")
        assert row["share_of_limit"] == pytest.approx(row["steps_per_second"] / result["limit_steps_per_second"])
    assert json.loads(json.dumps(result)) == result


def test_an_environment_that_a_function_makes_is_measured_beside_its_simulator():
    (row,) = bench_throughput(lambda: gymnasium.make("CartPole-v1"), 1, 0.3, ["a3c:async"], [20])["rows"]
    assert row["simulator"] == "compiled" and 0.0 < row["share_of_engine"] < 1.0


def test_the_limit_is_the_mean_of_before_and_after(result):
    assert result["limit_steps_per_second"] == pytest.approx((result["limit_before"] + result["limit_after"]) / 2)


def test_a_policy_costs_something(result):
    """Beside the simulator alone; gymnasium's limit is below what some rows reach."""
    for row in result["rows"]:
        assert 0.0 < row["share_of_engine"] < 1.0


def test_the_limit_of_an_environment_that_sleeps():
    """The best of several: a machine that stops for a while makes a rate smaller, never larger."""
    one, two = [], []
    while len(one) < 2 or (len(one) < 8 and not 1.4 < max(two) / max(one) < 2.2):
        one.append(measure_limit(PacedEnv, 1, 0.4))
        two.append(measure_limit(PacedEnv, 2, 0.4))
    assert 100 < max(one) < 1 / 0.0015
    assert 1.4 < max(two) / max(one) < 2.2, "the sum of both processes"


def test_what_has_a_replay_learns_while_it_is_measured():
    (row,) = throughput._experiments("Pendulum-v1", 1, 1.0, "td3:async", (1,), "auto")
    assert row.options.warm_up == row.options.batch < ALGORITHMS["td3"].options_type().usual_warm_up


def test_the_table_shows_every_row(result):
    console = Console(file=io.StringIO(), width=120)
    print_throughput(result, console)
    shown = console.file.getvalue()
    for row in result["rows"]:
        assert f"{row['steps_per_second']:,.0f}" in shown
        assert f"{row['share_of_limit']:.2f}" in shown
    assert f"{result['limit_before']:,.0f} before" in shown


@pytest.fixture
def unmeasured(monkeypatch):
    """In place of measurements the rows that there would be."""
    rows: list[tuple[str, int | None]] = []

    def measure(experiment):
        rows.append((f"{experiment.algo}:{experiment.mode}", getattr(experiment.options, "t_max", None)))
        return {"steps_per_second": 1.0}

    monkeypatch.setattr(throughput, "measure_limit", lambda *_: rows.append(("limit", None)) or 1.0)
    monkeypatch.setattr(throughput, "_measure", measure)
    return rows


@pytest.mark.parametrize(
    ("env", "fitting", "others"),
    [
        ("Pendulum-v1", ["td3:async", "sac:async"], ["q1:async", "sarsa:async", "nq:async"]),
        ("CartPole-v1", ["q1:async", "sarsa:async", "nq:async"], ["td3:async", "sac:async"]),
    ],
)
def test_without_a_choice_all_that_fits_is_measured(unmeasured, env, fitting, others):
    told: list[str] = []
    bench_throughput(env, workers=1, seconds=0.1, t_max=(5, 20), progress=told.append)
    assert unmeasured[0] == unmeasured[-1] == ("limit", None)
    names = [name for name, _ in unmeasured]
    assert {*fitting, "impala:async", "impala:sync", "es:async", "tres:sync", "a3c:bounded:2"} <= set(names)
    assert not set(others) & set(names)
    assert sum(line.startswith("left out: ") for line in told) == len(others)
    assert [t_max for name, t_max in unmeasured if name == "a3c:async"] == [5, 20]
    assert names.count("impala:async") == 1


def test_a_choice_that_does_not_fit_is_refused_before_anything_is_measured(unmeasured):
    with pytest.raises(UserError, match="nq needs Discrete actions"):
        bench_throughput("Pendulum-v1", workers=1, seconds=0.1, only=["td3:async", "nq:async"])
    with pytest.raises(UserError, match="mode 'async' cannot be used with npg"):
        bench_throughput("Pendulum-v1", workers=1, seconds=0.1, only=["td3:async", "npg:async"])
    assert unmeasured == []


def test_what_is_wrong_with_the_environment_ends_it():
    with pytest.raises(UserError, match="unknown environment"):
        bench_throughput("CartPol-v1", workers=1, seconds=0.2)
    with pytest.raises(UserError, match="RuntimeError: raised at step 5"):
        measure_limit(lambda: RaisingEnv(5), 2, 0.2)


def test_a_process_that_says_nothing_ends_it(monkeypatch):
    monkeypatch.setattr("asyncrl.bench.processes.PATIENCE_SECONDS", 0.5)
    with pytest.raises(AsyncrlError, match="said nothing"):
        measure_limit(HangingEnv, 1, 0.2)
    assert len(psutil.Process().children(recursive=True)) <= 2, "the fork server and the tracker of resources"


def test_steps_per_second_holds_against_another_clock(tmp_path):
    """The summary's figure is from first to last step: all the time of training, and nothing of the start."""
    clocks = tmp_path / "clocks"
    clocks.mkdir()
    settings = {"workers": 2, "seconds": 1.0, "steps": 10**9, "quiet": True, "evaluation_episodes": 0, "runs": str(tmp_path / "runs")}
    began = time.monotonic()
    summary = asyncrl.train("a3c", functools.partial(TellsTheTime, str(clocks)), **settings).summary
    whole = time.monotonic() - began
    times = [tuple(map(float, path.read_text().split())) for path in clocks.iterdir() if path.name != str(os.getpid())]
    span = max(last for _, last in times) - min(first for first, _ in times)
    assert len(times) == 2 and span > 0.1
    assert span <= summary["seconds"] <= whole - summary["startup_seconds"], "from first step to last, and nothing of the start"
    assert summary["steps_per_second"] == pytest.approx(summary["steps"] / summary["seconds"])
    assert summary["steps_per_second"] < 2 / 0.0015, "two environments cannot be faster than their sleep"
    rounds = summary["steps"] / 20
    assert rounds == int(rounds)


@pytest.mark.slow
def test_the_command(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    args = "bench throughput CartPole-v1 --workers 2 --seconds 0.3 --only a3c:pipelined --t-max 5 --json out.json"
    done = subprocess.run(
        [sys.executable, "-m", "asyncrl", *args.split()], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert (row["algo"], row["mode"], row["t_max"]) == ("a3c", "pipelined", 5)
    assert "pipelined" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "tmp"]
    assert [path for path in (tmp_path / "tmp").iterdir() if "bench" in path.name] == []
