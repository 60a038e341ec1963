"""`--rate-by-lag`: the learning rate of an update by its lag."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from running import files_are_closed, parkings
from test_in_place import Crew
from test_traces import ENVS, STEPS, acted, policy_for, task
from tiny import everything, having, tiny

from asyncrl.algos import ALGORITHMS
from asyncrl.algos.a3c import A3COptions
from asyncrl.algos.appo import AppoOptions, AppoUpdater
from asyncrl.algos.impala import ImpalaOptions, ImpalaUpdater
from asyncrl.experiment.experiment import Experiment
from asyncrl.learners.rules import rate_by_lag
from asyncrl.scheduler.board import MARK
from asyncrl.scheduler.modes import Pipelined
from asyncrl.scheduler.pace import Books
from asyncrl.scheduler.staleness import OldCopies
from asyncrl.topologies.actor_learner.in_place import InPlacePace
from asyncrl.topologies.actor_learner.rounds import RoundsPace
from asyncrl.topologies.actor_learner.topology import ActorLearnerTopology

__all__ = ["files_are_closed"]
pytestmark = pytest.mark.usefixtures("files_are_closed")

FACTORS = {"constant": lambda lag: 1.0, "inverse": lambda lag: 1 / (1 + lag), "inverse-sqrt": lambda lag: (1 + lag) ** -0.5}
HAVING = having("rate_by_lag")


@pytest.mark.parametrize("kind", FACTORS)
def test_what_it_makes_of_a_lag(kind):
    factor = rate_by_lag(A3COptions(rate_by_lag=kind))
    if kind == "constant":
        assert factor is None, "nothing is computed"
        return
    assert [factor(lag) for lag in (0, 1, 2.5, 99)] == pytest.approx([FACTORS[kind](lag) for lag in (0, 1, 2.5, 99)])


@pytest.mark.parametrize("kind", FACTORS)
def test_in_place_an_update_counts_by_its_own_lag(kind):
    """Worker 0 begins a round; others make so many updates meanwhile."""
    crew = Crew("sgd")
    ground = crew.topology.ground
    ground = replace(ground, rule=replace(ground.rule, by_lag=rate_by_lag(A3COptions(rate_by_lag=kind))))
    crew.paces = [InPlacePace(ground, worker, Books(ground.ledger, worker)) for worker in range(3)]
    local = np.zeros(crew.topology.size, np.float32)
    for others in (0, 1, 5):
        crew.paces[0].start_round(local)
        assert [crew.step(1 + turn % 2) for turn in range(others)] == pytest.approx([1.0] * others, rel=1e-3)
        before = float(crew.topology.current()[0])
        crew.paces[0].finish_round(crew.gradient)
        moved = (before - float(crew.topology.current()[0])) / 0.01
        assert moved == pytest.approx(FACTORS[kind](others), rel=1e-3)


@pytest.mark.parametrize("kind", FACTORS)
@pytest.mark.parametrize("staleness", [0, 2])
def test_in_rounds_an_update_counts_by_the_lag_of_its_round(kind, staleness):
    """Pipelined, one worker, gradients of ones: round k acted on version k - 1 - staleness, or on the first."""
    how: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.01, "anneal": "constant", "max_gradient_norm": 0.0}
    options = A3COptions(rate_by_lag=kind, **how)  # type: ignore[arg-type]
    topology = ActorLearnerTopology(Experiment("a3c", "CartPole-v1", "pipelined", workers=1, steps=10**6, options=options))
    parkings.append(topology.ground.parking)
    topology.begin()
    topology.estate.open(Pipelined(), [True])
    topology.ground.board.set_mode(Pipelined())
    topology.ground.board.set_order(MARK, 10**6)
    pace = RoundsPace(topology.ground, 0, Books(topology.ground.ledger, 0), OldCopies.of(staleness, topology.size))
    local, found = np.zeros(topology.size, np.float32), []
    for _ in range(8):
        pace.start_round(local)
        before = float(topology.current()[0])
        pace.finish_round(np.ones(topology.size, np.float32))  # the update of the round before
        found.append((before - float(topology.current()[0])) / 0.01)
    expected = [0.0, *(FACTORS[kind](min(k, 1 + staleness)) for k in range(7))]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("kind", FACTORS)
@pytest.mark.parametrize(("updater_type", "options_type"), [(ImpalaUpdater, ImpalaOptions), (AppoUpdater, AppoOptions)])
@pytest.mark.parametrize("minibatch", [0, 9])
def test_of_a_streams_batch_the_mean_lag_counts(kind, updater_type, options_type, minibatch):
    policy, _ = policy_for("CartPole-v1")
    more = {"minibatch": minibatch, "epochs": 1} if options_type is AppoOptions else {}
    moved = {}
    for name in ("constant", kind):
        options = options_type(
            t_max=STEPS, optimizer="sgd", learning_rate=1e-4, value_learning_rate=1e-4, anneal="constant", rate_by_lag=name, **more
        )
        updater = updater_type(task(options, policy), policy)
        before = updater.state()["vector"].copy()
        for seed, version in ((0, 4), (10, 7)):  # at version 8: lags 4 and 1
            trajectory, log_prob = acted("CartPole-v1", policy, before.copy(), seed)
            trajectory.version = version
            updater.take(0, trajectory, log_prob, np.zeros(ENVS, np.uint8))
        updater.update(8, 0)
        moved[name] = updater.state()["vector"] - before
    assert np.abs(moved["constant"]).max() > 0
    np.testing.assert_allclose(moved[kind], moved["constant"] * FACTORS[kind](2.5), rtol=0.02, atol=2e-7)


@pytest.mark.parametrize("algo", HAVING)
def test_without_lag_it_changes_no_bit_and_with_lag_it_does(tmp_path, algo):
    """The lag of a run in sync is 0, in pipelined 1."""
    for mode in ("sync", "pipelined"):
        if mode not in ALGORITHMS[algo].modes:
            continue
        one, other = (tiny(tmp_path, algo, mode=mode, rate_by_lag=kind) for kind in ("constant", "inverse-sqrt"))
        assert (everything(one.folder) == everything(other.folder)) == (mode == "sync")


def test_every_algorithm_that_updates_by_a_rate_and_has_a_lag_has_it():
    found = {name for name, entry in ALGORITHMS.items() if entry.options_type.has("rate_by_lag")}
    assert found == {name for name, entry in ALGORITHMS.items() if entry.options_type.has("optimizer") and not entry.searches}
    assert {"a3c", "a2c", "q1", "sarsa", "nq", "impala", "appo", "ppo"} <= found
