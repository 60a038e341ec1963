"""Durations by the name of their distribution, and the delays of workers' rounds that are spelled with them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from asyncrl.errors import UserError
from asyncrl.scheduler.board import HEARTBEAT, OPENED, REQUEST, Board
from asyncrl.scheduler.delays import Delay, parse_delays
from asyncrl.scheduler.durations import DISTRIBUTIONS, parse_durations

NAMED = {"constant": "constant:0.5", "exponential": "exponential:0.5", "lognormal": "lognormal:0.5:0.8", "pareto": "pareto:0.5:3.5"}


def drawn(text, seed, count):
    return parse_durations(text).draw(np.random.default_rng(seed), count)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_distribution_has_the_mean_that_it_is_named_with(name):
    text, count = NAMED[name], 100_000
    found = drawn(text, 0, count)
    assert (found >= 0).all()
    assert found.mean() == pytest.approx(0.5, abs=5 * max(found.std(), 1e-9) / count**0.5)
    assert np.array_equal(found[:9], drawn(text, 0, 9))
    assert (name == "constant") == np.array_equal(found[:9], drawn(text, 1, 9))


def test_the_tails_are_those_of_the_definitions():
    """P(longer than t): exponential e^(-t/m); lognormal by its logarithm's deviation; Pareto (m (a - 1) / a / t)^a."""
    count = 100_000
    assert (drawn("exponential:2", 0, count) > 6.0).mean() == pytest.approx(np.exp(-3.0), rel=0.1)
    assert np.log(drawn("lognormal:2:0.7", 0, count)).std() == pytest.approx(0.7, rel=0.02)
    pareto = drawn("pareto:3:1.5", 0, count)
    assert pareto.min() == pytest.approx(1.0, rel=1e-3)
    assert (pareto > 4.0).mean() == pytest.approx(4.0**-1.5, rel=0.1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("expontial:1", ["unknown distribution of durations 'expontial'", "did you mean 'exponential'?", "pareto:MEAN:SHAPE"]),
        ("exponential", ["'exponential' cannot be used", "exponential:MEAN, MEAN finite numbers above 0"]),
        ("exponential:0", ["'exponential:0'", "above 0"]),
        ("exponential:1:2", ["'exponential:1:2'"]),
        ("constant:-1", ["'constant:-1'", "S finite numbers from 0"]),
        ("constant:inf", ["'constant:inf'"]),
        ("lognormal:1", ["lognormal:MEAN:SIGMA"]),
        ("pareto:1:1", ["SHAPE finite numbers above 1"]),
        ("pareto:a:2", ["'pareto:a:2'"]),
    ],
)
def test_durations_that_cannot_be_read(text, parts):
    with pytest.raises(UserError) as caught:
        parse_durations(text)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_which_workers_are_delayed():
    def named(text, workers=4):
        return [one and f"{one.name}:{one.numbers[0]:g}" for one in parse_delays(text, workers)]

    assert named("") == [None] * 4
    assert named("constant:0.1") == ["constant:0.1"] * 4
    assert named("exponential:2@0") == ["exponential:2", None, None, None]
    assert named("exponential:2@0,3") == ["exponential:2", None, None, "exponential:2"]
    assert named("exponential:2@1..3 + pareto:1:1.5@0") == ["pareto:1", *["exponential:2"] * 3]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("constant:1@4", ["'constant:1@4' cannot be used", "4 workers", "from 0 to 3"]),
        ("constant:1@2..9", ["from 0 to 3"]),
        ("constant:1@3..2", ["from 0 to 3"]),
        ("constant:1@a", ["DURATIONS@0..3"]),
        ("constant:1@", ["DURATIONS@0..3"]),
        ("constant:1@0+constant:2", ["worker 0 has two"]),
        ("0.01", ["unknown distribution of durations '0.01'"]),
    ],
)
def test_delays_that_cannot_be_used(text, parts):
    with pytest.raises(UserError) as caught:
        parse_delays(text, 4)
    assert all(part in str(caught.value) for part in parts), caught.value


def board():
    return Board({name: np.zeros(shape, dtype) for name, (shape, dtype) in Board.layout(2).items()})


def test_a_delay_sleeps_and_says_for_how_long():
    sleep = Delay.of("constant:0.02@1", 2, board(), 0, 1, 0)
    assert sleep is not None and Delay.of("constant:0.02@1", 2, board(), 0, 0, 0) is None
    began = time.perf_counter()
    told = sleep()
    assert 0.02 <= told <= time.perf_counter() - began


def test_a_delay_ends_where_the_gate_is_asked_for_and_gives_signs_of_life(monkeypatch):
    ours, naps = board(), []

    def nap(seconds):
        naps.append((seconds, ours.stands(1, HEARTBEAT)))
        if len(naps) == 5:
            ours.set_order(REQUEST, ours.order(OPENED) + 1)

    monkeypatch.setattr(time, "sleep", nap)
    sleep = Delay.of("constant:3600", 2, ours, 0, 1, 0)
    assert sleep is not None and sleep() < 60.0
    assert len(naps) == 5 and max(seconds for seconds, _ in naps) <= 0.1
    beats = [beat for _, beat in naps]
    assert beats == sorted(set(beats)) and beats[0] > 0
