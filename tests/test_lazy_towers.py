"""Lazy action towers under search: directions of the state tower alone, a tower that rests, and one table for its latents."""

from __future__ import annotations

import time

import numpy as np
import pytest
from environments import FollowEnv
from running import kill_in_turn, train

import asyncrl
from asyncrl.algos.es import Es, EsOptions
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.search import Evaluations, Setting
from asyncrl.blackbox.space import Lazy, Space
from asyncrl.errors import UserError
from asyncrl.store.checkpoint import newest, read_part

SMALL = {"head": "itt", "latent": 4, "state_layers": 1, "set_size": 5000, "population": 8, "sigma": 0.5, "directions": "orthogonal"}
RUN = {"quiet": True, "evaluation_episodes": 0}


@pytest.mark.parametrize("kind", ["gaussian", "orthogonal", "hadamard", "discrete"])
def test_directions_of_a_resting_generation_lie_in_the_others_space(kind):
    directions = Directions(3, 20, 12, [Setting(1.0, kind)], Lazy(12, 3))
    for generation in range(7):
        block, one = directions.block(generation), np.empty(20, np.float32)
        rests = generation % 3 != 0
        assert (block[:, 12:] == 0).all() == rests and (block[:, :12] != 0).any(1).all()
        fresh = Directions(3, 20, 12, [Setting(1.0, kind)], Lazy(12, 3))
        fresh.direction(generation, 5, one)
        np.testing.assert_array_equal(one, block[5])
        if kind == "orthogonal" and rests:
            products = block.astype(np.float64) @ block.T
            np.testing.assert_allclose(products - np.diag(np.diag(products)), 0.0, atol=1e-4)


def played(tmp_path, algo, workers, lazy, **more):
    resting = {"lazy": lazy} if lazy > 1 else {}
    settings = {**SMALL, **resting, "workers": workers, "mode": "sync", "steps": 800, **RUN, **more}
    result = asyncrl.train(algo, FollowEnv, runs=str(tmp_path), name=f"{algo}-{workers}-{lazy}-{settings['seed']}", **settings)
    return read_part(newest(result.folder), "run")[1], result.summary


@pytest.mark.parametrize(("algo", "lazy"), [("es", 1), ("es", 3), ("tres", 3), ("ars", 3)])
def test_the_same_bits_with_any_number_of_workers(tmp_path, algo, lazy):
    counts = (1, 2, 3) if algo == "es" else (1, 2)
    found = [played(tmp_path, algo, workers, lazy, seed=1)[0] for workers in counts]
    for arrays in found[1:]:
        np.testing.assert_array_equal(arrays["parameters"], found[0]["parameters"])


class SlowFollow(FollowEnv):
    """Slow as long as a file is there."""

    def __init__(self, slow):
        super().__init__()
        self.slow = slow

    def step(self, action):
        if self.slow.exists():
            time.sleep(0.005)
        return super().step(action)


@pytest.mark.stress
@pytest.mark.parametrize(("lazy", "selection"), [(1, "brute"), (3, "brute"), (3, "principal-tree")])
def test_the_same_bits_through_kills_of_workers_and_learner(tmp_path, lazy, selection):
    def kill_some(run):
        try:
            kill_in_turn(run, (0, 2, 1))  # 2 is the learner
        finally:
            slow.unlink()

    slow = tmp_path / "slow"
    slow.touch()
    settings = {**SMALL, "algo": "es", "workers": 2, "mode": "sync", "lazy": lazy, "steps": 4000, "max_failures": 100}
    settings |= {"selection": selection, "scanned": 512}
    killed = train(tmp_path, lambda: SlowFollow(slow), kill_some, **settings)
    assert killed.summary["restarts"] == 3
    found = [read_part(newest(run.folder), "run")[1] for run in (killed, train(tmp_path, FollowEnv, **settings))]
    for name in ("parameters", "state/search/statistics", "tables/features"):
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_a_resting_tower_is_embedded_once(tmp_path):
    """Versions 0, 3, 6, ... are made of generations that vary all; their tower stands for three generations, and is embedded once."""
    summary = played(tmp_path, "es", 2, 3, seed=2, steps=1500)[1]
    generations = int(summary["updates"])
    assert generations > 6
    towers = 1 + (generations + 2) // 3  # the first, and one after each of generations 0, 3, ...
    assert towers - 2 <= summary["latents_embedded"] <= towers
    regular = played(tmp_path, "es", 2, 1, seed=2, steps=1500)[1]
    assert regular["latents_embedded"] == 0  # candidates have towers of their own, which nobody shares


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "clipup"])
def test_a_resting_tower_does_not_move(optimizer):
    """Neither by momentum nor by decay; what varies moves in every generation."""
    search = Es(EsOptions(population=8, optimizer=optimizer, weight_decay=0.1), 6, 0, (), Space(lazy=Lazy(4, 3)))
    generator = np.random.default_rng(0)
    search.begin(generator.standard_normal(6).astype(np.float32))
    numbers = np.arange(8)
    for generation in range(7):
        before = search.theta.copy()
        batch = Evaluations(np.full(8, generation), numbers, np.full(8, generation), generator.standard_normal(8), np.ones(8, np.int64))
        search.update(generation, batch)
        moved = search.theta != before
        assert moved[:4].all() and moved[4:].all() == moved[4:].any() == (generation % 3 == 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algo": "cem"}, r"lazy = 3 cannot be used with cem \(allowed: 1; es, tres, ars have it\)"),
        ({"mode": "async"}, r"lazy = 3 cannot be used in mode 'async' \(allowed: 1; or mode sync\)"),
        ({"head": "iot"}, r"lazy cannot be used with head 'iot'; did you mean 'itt'\? \(it is an option of itt\)"),
        ({"set_size": 0}, r"set_size = 0 cannot be used \(allowed: whole numbers from 1\)"),
        ({"lazy": 0}, r"lazy = 0 cannot be used \(allowed: whole numbers from 1"),
        ({"head": "mlp"}, r"latent cannot be used with head 'mlp' \(it is an option of itt, iot, explicit\)"),
    ],
)
def test_where_a_tower_cannot_rest_is_told(tmp_path, settings, said):
    given = {"algo": "es", "mode": "sync", **SMALL, "lazy": 3, **settings}
    with pytest.raises(UserError, match=said):
        asyncrl.train(given.pop("algo"), FollowEnv, runs=str(tmp_path), workers=1, steps=100, **{**given, **RUN})
