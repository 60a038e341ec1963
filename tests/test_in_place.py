"""Optimizer statistics of their own for each worker: how many updates they have seen, through deaths, resumed runs and changes of mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import bits, files_are_closed, parkings, resume, train

from asyncrl.algos.a3c import A3COptions
from asyncrl.experiment.experiment import Experiment
from asyncrl.scheduler.board import MARK
from asyncrl.scheduler.modes import parse_mode
from asyncrl.scheduler.pace import Books
from asyncrl.topologies.actor_learner.in_place import InPlacePace
from asyncrl.topologies.actor_learner.rounds import RoundsPace
from asyncrl.topologies.actor_learner.topology import ActorLearnerTopology

WORKERS, RATE = 8, 0.01


__all__ = ["files_are_closed"]
pytestmark = pytest.mark.usefixtures("files_are_closed")


class Crew:
    """The paces of eight workers on a run's real shared memory, with gradients of ones; a step is told in units of the rate."""

    def __init__(self, optimizer: str = "adam", mode: str = "async", **more: Any):
        settings = {"statistics": "private", "learning_rate": RATE, "anneal": "constant", "max_gradient_norm": 0.0, **more}
        options = A3COptions(optimizer=optimizer, **settings)  # type: ignore[arg-type]
        self.topology = ActorLearnerTopology(Experiment("a3c", "CartPole-v1", mode, workers=WORKERS, steps=10**6, options=options))
        parkings.append(self.topology.ground.parking)
        self.topology.begin()
        self.gradient = np.ones(self.topology.size, np.float32)
        self.begin(mode)

    def begin(self, mode: str) -> None:
        """An epoch of this mode, which nobody ends."""
        topology = self.topology
        board, estate = topology.ground.board, topology.estate
        estate.open(parse_mode(mode), [True] * WORKERS)
        board.set_mode(parse_mode(mode))
        board.set_order(MARK, 10**6)
        self.kind = InPlacePace if parse_mode(mode).delay is None else RoundsPace
        self.paces = [self.pace(worker) for worker in range(WORKERS)]

    def pace(self, worker: int) -> Any:
        """As a process begins, be it the slot's first or a successor: from what is published."""
        return self.kind(self.topology.ground, worker, Books(self.topology.ground.ledger, worker))

    def step(self, worker: int) -> float:
        """A round of this worker's; how far the first parameter went."""
        local = np.zeros(self.topology.size, np.float32)
        self.paces[worker].start_round(local)
        self.paces[worker].finish_round(self.gradient)
        return float(local[0] - self.topology.current()[0]) / RATE


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_a_constant_gradient_makes_the_same_steps_whoever_else_updates(optimizer):
    """Worker 0 makes one update in ten of worker 1's; each walks as it would alone."""
    crew = Crew(optimizer)
    often = [[crew.step(1) for _ in range(10)] for _ in range(5)]
    alone = Crew(optimizer)
    np.testing.assert_allclose(np.ravel(often), [alone.step(1) for _ in range(50)], rtol=1e-3)
    seldom = [crew.step(0)]
    for _ in range(4):
        seldom.append(crew.step(0))
        for worker in range(1, WORKERS):
            crew.step(worker)
    alone = Crew(optimizer)
    np.testing.assert_allclose(seldom, [alone.step(0) for _ in range(5)], rtol=1e-3)
    if optimizer == "adam":
        np.testing.assert_allclose([*np.ravel(often), *seldom], 1.0, rtol=1e-3)


def test_a_successor_and_a_resumed_run_go_on_with_the_workers_count():
    crew = Crew()
    for worker in range(WORKERS):
        for _ in range(3):
            crew.step(worker)
    crew.paces[2] = crew.pace(2)
    np.testing.assert_allclose([crew.step(2) for _ in range(5)], 1.0, rtol=1e-3)
    state, arrays = crew.topology.gather()
    arrays = {name: array.copy() for name, array in arrays.items()}
    resumed = Crew()
    resumed.topology.restore(state, arrays, Path())
    resumed.begin("async")
    np.testing.assert_allclose([resumed.step(worker) for worker in (0, 2, 0, 7)], 1.0, rtol=1e-3)


def test_an_update_is_counted_as_by_its_parts():
    ledger = Crew().topology.ground.ledger
    at_once, apart = Books(ledger, 0), Books(ledger, 0)
    for lag, length, scale in ((3, 0.5, 1.0), (0, 2.0, 0.25), (10**6, 1e-3, 1.0), (2, 0.1, 0.3)):
        at_once.updated(lag, length, scale)
        apart.lag(lag)
        apart.add("updates", 1)
        apart.applied(length, scale)
    np.testing.assert_array_equal(at_once.draft, apart.draft)
    assert at_once["lag_max"] == 10**6 and at_once["updates"] == 4


def test_rounds_after_updates_in_place_begin_with_statistics_that_have_seen_none():
    crew = Crew()
    for worker in range(WORKERS):
        for _ in range(20):
            crew.step(worker)
    crew.begin("sync")
    ground, before = crew.topology.ground, crew.topology.current()[0]
    for pace in crew.paces:
        slot = ground.parameters.gradients[pace.worker, 0]
        slot[: crew.gradient.size] = crew.gradient
        pace.books.put("weight", 1.0)
        ground.ledger.publish(pace.worker, pace.books.draft)
    while any(pace.stand_in() for pace in crew.paces if pace.handed > pace.applied):
        continue
    assert (before - crew.topology.current()[0]) / RATE == pytest.approx(1.0, rel=1e-3)


def test_private_statistics_of_one_worker_are_the_shared_ones_bit_for_bit(tmp_path):
    """A whole run and a resumed one: the worker's own count is everybody's."""
    runs = {}
    for kind in ("shared", "private"):
        options = {"optimizer": "adam", "statistics": kind, "workers": 1, "mode": "async", "anneal": "constant"}
        run = train(tmp_path / kind, "CartPole-v1", steps=1000, **options)
        runs[kind] = bits(resume(run.folder, steps=2000).folder)["parameters"]
    assert runs["shared"] == runs["private"]
