"""`--staleness N`: acting and computing on parameters of N versions ago, while updates are of the present ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import Run, files_are_closed, jittery_cartpole, resume
from test_in_place import RATE, Crew
from tiny import STEPWISE, everything, tiny

from asyncrl import train
from asyncrl.algos import ALGORITHMS
from asyncrl.cli.main import main
from asyncrl.errors import UserError
from asyncrl.scheduler.staleness import OldCopies

__all__ = ["files_are_closed"]
pytestmark = pytest.mark.usefixtures("files_are_closed")


def plain(versions: list[int], staleness: int) -> list[int]:
    """Which of the versions read so far acts, each time: the newest that is old enough, else the oldest."""
    return [max([one for one in versions[: i + 1] if one <= now - staleness], default=versions[0]) for i, now in enumerate(versions)]


@given(staleness=st.integers(1, 9), gaps=st.lists(st.integers(0, 5), max_size=60), cut=st.integers(0, 60))
def test_the_ring_gives_the_newest_copy_that_is_old_enough(staleness, gaps, cut):
    """Also where it was saved and taken back in between."""
    versions = np.cumsum([7, *gaps]).tolist()
    copies, found = OldCopies(staleness, 3), []
    for turn, version in enumerate(versions):
        if turn == cut:
            kept = {name: array.copy() for name, array in copies.arrays().items()}
            copies = OldCopies(staleness, 3)
            copies.restore(kept)
        local = np.full(3, version, np.float32)
        found.append(copies.exchange(local, version))
        assert (local == found[-1]).all()
    assert found == plain(versions, staleness)


def test_a_gradient_of_old_parameters_updates_the_present_ones():
    crew, staleness = Crew("sgd"), 3
    worker = crew.kind(crew.topology.ground, 0, crew.paces[0].books, OldCopies(staleness, crew.topology.size))
    local, acted = np.zeros(crew.topology.size, np.float32), []
    first = float(crew.topology.current()[0])
    for turn in range(8):
        assert worker.start_round(local) == turn
        acted.append((first - float(local[0])) / RATE)
        worker.finish_round(crew.gradient)
        assert (first - float(crew.topology.current()[0])) / RATE == pytest.approx(turn + 1, rel=1e-3)
    np.testing.assert_allclose(acted, [0, 0, 0, 0, 1, 2, 3, 4], atol=1e-3)


def lags(run: Run) -> Any:
    assert run.launcher is not None
    ledger = run.launcher._ground.ledger
    return ledger.column(ledger.read_all(), "lag_histogram").sum(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("algo", STEPWISE)
def test_in_sync_and_pipelined_the_lag_is_exactly_that_and_the_bits_are_the_same(tmp_path, algo):
    staleness = 3
    for mode in ("sync", "pipelined"):
        if mode not in ALGORITHMS[algo].modes:
            continue
        delay = 1 if mode == "pipelined" else 0
        settings = {"mode": mode, "staleness": staleness}
        one, two = tiny(tmp_path, algo, **settings), tiny(tmp_path, algo, **settings, delay="exponential:0.003@0")
        found = lags(one)
        total = staleness + delay  # until there is a version that is so old, it is the first one
        assert found[:total].tolist() == [2.0] * total and found[total] > 0 and not found[total + 1 :].any()
        assert everything(one.folder) == everything(two.folder)
        assert everything(one.folder) != everything(tiny(tmp_path, algo, mode=mode).folder)


@pytest.mark.parametrize("algo", ["a3c", "impala"])
def test_in_async_it_comes_on_top_of_the_lag_that_there_is(tmp_path, algo):
    run, plain_run = (tiny(tmp_path, algo, mode="async", steps=6000, staleness=staleness) for staleness in (20, 0))
    found = lags(run)
    assert found[:20].sum() <= 20 * 3, "at the start there is nothing so old"
    assert run.summary["lag"]["mean"] > 20.0 + 0.5 * plain_run.summary["lag"]["mean"]


@pytest.mark.parametrize("algo", ["a3c", "impala"])
def test_a_resumed_run_goes_on_with_its_old_copies(tmp_path, algo):
    settings = {"mode": "sync", "staleness": 4, "anneal": "constant"}
    whole, half = tiny(tmp_path, algo, steps=800, **settings), tiny(tmp_path, algo, steps=400, **settings)
    resume(half.folder, steps=800)
    assert everything(half.folder) == everything(whole.folder)


def test_a_schedule_of_modes_goes_through_under_staleness(tmp_path):
    run = tiny(tmp_path, "nq", env=jittery_cartpole, mode="async@0,sync@1000,pipelined@2000,bounded:1@3000", steps=4000, staleness=5)
    run.check_books(10)
    assert lags(run)[5:].sum() > 0.9 * lags(run).sum()


def test_it_is_refused_where_it_says_nothing_or_does_not_fit(tmp_path, capsys, monkeypatch):
    assert main(["train", "es", "CartPole-v1", "--staleness", "3"]) == 2
    assert "'--staleness' cannot be used with es" in capsys.readouterr().err
    for algo, staleness, part in [("es", 3, "cannot be used with es"), ("a3c", -1, "from 0 to 10,000"), ("a3c", 0.5, "whole numbers")]:
        with pytest.raises(UserError, match=part):
            train(algo, "CartPole-v1", staleness=staleness, runs=str(tmp_path))
    monkeypatch.setattr("asyncrl.topologies.topology.free_bytes", lambda place: 10**8)
    for algo in ("a3c", "impala"):
        with pytest.raises(UserError, match="too little memory"):
            train(algo, "CartPole-v1", workers=2, staleness=9000, runs=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
