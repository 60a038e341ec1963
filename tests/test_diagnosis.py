"""`--diagnose`: what the age of parameters does, told without changing a bit of what is learned."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from running import Run
from tiny import STEPWISE, everything, tiny

from asyncrl import train
from asyncrl.algos import ALGORITHMS
from asyncrl.errors import UserError
from asyncrl.topologies.actor_learner.diagnosis import Diagnosis, cosine


def test_a_cosine():
    one, generator = np.array([3.0, 0.0, 4.0], np.float32), np.random.default_rng(0)
    assert cosine(one, one) == pytest.approx(1.0) and cosine(one, -2 * one) == pytest.approx(-1.0)
    assert cosine(one, np.array([0.0, 9.0, 0.0], np.float32)) == 0.0
    assert np.isnan(cosine(one, 0 * one)) and np.isnan(cosine(one, np.full(3, np.inf, np.float32)))
    a, b = generator.standard_normal((2, 1000)).astype(np.float32)
    assert cosine(a, b) == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-6)


class Told(dict[str, list[float]]):
    """Books that keep every value."""

    def sampled(self, name: str, value: float) -> None:
        self.setdefault(name, []).append(value)

    def add(self, name: str, value: float) -> None:
        assert name == "learn_seconds" and value >= 0.0


class Square:
    """Its gradient is twice the parameters."""

    def __init__(self, local: Any) -> None:
        self.local, self.gradient, self.calls = local, np.zeros_like(local), 0

    def __call__(self, trajectory: Any, weight: float) -> None:
        self.gradient[:] = 2.0 * self.local
        self.calls += 1


class Moved:
    """A pace whose parameters are now these."""

    def __init__(self, now: Any) -> None:
        self.now = now

    def present(self, local: Any) -> None:
        local[:] = self.now


def test_every_so_many_rounds_a_gradient_is_compared_with_a_fresh_one_and_put_back():
    local = np.array([3.0, 4.0], np.float32)
    learner, books = Square(local), Told()
    diagnosis = Diagnosis(3, learner, local)
    for _ in range(7):
        learner(None, 0.0)
        diagnosis(Moved(np.array([0.0, 4.0], np.float32)), None, 0.0, books)  # type: ignore[arg-type]
        assert local.tolist() == [3.0, 4.0] and learner.gradient.tolist() == [6.0, 8.0]
    assert learner.calls == 7 + 2
    assert books == {"gradient_cosine": [pytest.approx(0.8)] * 2, "parameter_drift": [pytest.approx(3.0)] * 2}


def told(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = run.summary["diagnosis"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("algo", STEPWISE)
def test_it_changes_no_bit_and_tells_the_same_again(tmp_path, algo):
    for mode in ("sync", "pipelined"):
        if mode not in ALGORITHMS[algo].modes:
            continue
        plain = tiny(tmp_path, algo, mode=mode)
        one, two = (tiny(tmp_path, algo, mode=mode, diagnose=2, delay=delay) for delay in ("", "exponential:0.003@0"))
        assert everything(plain.folder) == everything(one.folder) == everything(two.folder)
        assert "diagnosis" not in plain.summary
        ages = {name for name in told(one) if name.startswith("lag_")}  # when a unit is handed over is a question of timing
        assert {name: value for name, value in told(one).items() if name not in ages} == {
            name: value for name, value in told(two).items() if name not in ages
        }
        assert told(one)["worker_shares"] == [0.5, 0.5]
        late = mode == "pipelined"
        assert (told(one)["parameter_drift"] > 0.0) == late
        if "gradient_cosine" in told(one):
            assert (told(one)["gradient_cosine"] < 0.99999) == late


def test_the_older_the_parameters_the_further_they_are_and_the_less_their_gradient_agrees(tmp_path):
    found = [told(tiny(tmp_path, "a2c", mode="sync", steps=4000, staleness=n, diagnose=3)) for n in (0, 1, 8)]
    drifts, cosines = ([one[name] for one in found] for name in ("parameter_drift", "gradient_cosine"))
    assert drifts[0] == 0.0 < drifts[1] < drifts[2]
    assert cosines[0] == pytest.approx(1.0) and cosines[0] > cosines[1] > cosines[2] > -1.0


@pytest.mark.parametrize("algo", ["impala", "td3"])
def test_a_streams_lag_is_divided_into_in_flight_and_in_queue(tmp_path, algo):
    run = tiny(tmp_path, algo, mode="async", diagnose=5)
    flight, queue = told(run)["lag_in_flight"], told(run)["lag_in_queue"]
    assert flight["mean"] + queue["mean"] == pytest.approx(run.summary["lag"]["mean"])
    assert min(flight["mean"], queue["mean"]) >= 0.0 and flight["max"] <= run.summary["lag"]["max"]
    assert sum(told(run)["worker_shares"]) == pytest.approx(1.0)


def test_what_a_slow_actor_is_late_by_is_in_flight_and_its_share_is_small(tmp_path):
    run = tiny(tmp_path, "impala", mode="async", diagnose=5, steps=3000, report_seconds=0.05, delay="constant:0.05@0")
    slow = told(run)
    assert slow["lag_in_flight"]["max"] >= 5.0 > slow["lag_in_queue"]["mean"]
    assert slow["worker_shares"][0] < 0.5
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line}
    wanted = {"lag/in_flight_mean", "lag/in_flight_p95", "lag/in_queue_mean", "lag/in_queue_p95", "learn/parameter_drift"}
    assert wanted | {"worker/0/share", "worker/1/share"} <= names


def test_it_is_refused_where_it_says_nothing(tmp_path):
    for algo, every, part in [("es", 5, "diagnose = 5 cannot be used with es"), ("a3c", -1, "whole numbers from 0")]:
        with pytest.raises(UserError, match=part):
            train(algo, "CartPole-v1", diagnose=every, runs=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
