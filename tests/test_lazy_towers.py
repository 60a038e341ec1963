"""Lazy action towers under search: directions of the state tower alone, a tower that rests, and one table for its latents."""

from __future__ import annotations

import time

import numpy as np
import pytest
from environments import FollowEnv
from running import kill_in_turn, resume, train
from searches import batch, candidates, joined

import asyncrl
from asyncrl.algos import ALGORITHMS
from asyncrl.algos.es import Es, EsOptions
from asyncrl.blackbox.directions import Directions
from asyncrl.blackbox.lazy import Lazy
from asyncrl.blackbox.search import Setting
from asyncrl.blackbox.space import Space
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


@pytest.mark.parametrize("half_life", [1, 7, 100])
def test_a_frequency_decays_by_half_in_each_half_life(half_life):
    lazy = Lazy.parse(f"decay:{half_life}", 12)
    varies = np.array([lazy.varied(generation).stop is None for generation in range(12 * half_life)])
    assert varies[0] and varies.sum() <= np.ceil(half_life / np.log(2))
    for halvings in range(12):
        turns = half_life / np.log(2) * (1 - 0.5 ** (halvings + 1))
        assert turns <= varies[: half_life * (halvings + 1)].sum() < turns + 1
    assert lazy.varied(10**9) == slice(0, 12)


def played(tmp_path, algo, workers, lazy, **more):
    """`lazy`: None for a head that has no such option."""
    own = {} if lazy is None else {"lazy": lazy}
    settings = {**SMALL, **own, "workers": workers, "mode": "sync", "steps": 800, **RUN, **more}
    name = f"{algo}-{workers}-{str(lazy).replace(':', '-')}-{settings['seed']}"
    result = asyncrl.train(algo, FollowEnv, runs=str(tmp_path), name=name, **settings)
    return read_part(newest(result.folder), "run")[1], result.summary


SAME_BITS = [
    *[("es", lazy, mode) for lazy in (1, 3, "decay:2") for mode in ("sync", "pipelined")],
    *[(algo, 3, "sync") for algo in ("tres", "ars", "nes", "cem")],
]


@pytest.mark.parametrize(("algo", "lazy", "mode"), SAME_BITS)
def test_the_same_bits_with_any_number_of_workers(tmp_path, algo, lazy, mode):
    counts = (1, 2, 3) if algo == "es" else (1, 2)
    found = [played(tmp_path, algo, workers, lazy, seed=1, mode=mode)[0] for workers in counts]
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


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.parametrize(
    ("algo", "mode", "lazy", "selection"),
    [
        pytest.param("es", "sync", 1, "brute", marks=pytest.mark.slow),
        pytest.param("es", "sync", 3, "brute", marks=pytest.mark.slow),
        ("es", "sync", 3, "principal-tree"),
        ("es", "pipelined", "decay:3", "brute"),
        pytest.param("nes", "sync", 3, "brute", marks=pytest.mark.slow),
        pytest.param("cem", "pipelined", 3, "brute", marks=pytest.mark.slow),
    ],
)
def test_the_same_bits_through_kills_of_workers_and_learner(tmp_path, algo, mode, lazy, selection):
    def kill_some(run):
        try:
            kill_in_turn(run, (0, 2, 1))  # 2 is the learner
        finally:
            slow.unlink()

    slow = tmp_path / "slow"
    slow.touch()
    settings = {**SMALL, "algo": algo, "workers": 2, "mode": mode, "lazy": lazy, "steps": 4000, "max_failures": 100}
    settings |= {"selection": selection, "scanned": 512}
    killed = train(tmp_path, lambda: SlowFollow(slow), kill_some, **settings)
    assert killed.summary["restarts"] == 3
    found = [read_part(newest(run.folder), "run")[1] for run in (killed, train(tmp_path, FollowEnv, **settings))]
    learned = [name for name in found[0] if name.startswith("state/search/")]
    assert len(learned) > 2
    for name in ("parameters", "tables/features", *learned):
        np.testing.assert_array_equal(found[0][name], found[1][name])


@pytest.mark.parametrize(("lazy", "mode"), [(3, "sync"), (3, "pipelined"), ("decay:2", "sync")])
def test_a_resumed_run_continues_where_the_rhythm_was(tmp_path, lazy, mode):
    settings = {**SMALL, "algo": "es", "workers": 2, "mode": mode, "lazy": lazy, "seed": 4}
    half = train(tmp_path, FollowEnv, **settings, steps=600)
    assert half.summary["updates"] % 3, "the first session ends between two turns of the tower"
    found = [resume(half.folder, steps=2000, env=FollowEnv), train(tmp_path, FollowEnv, **settings, steps=2000)]
    arrays = [read_part(newest(run.folder), "run")[1] for run in found]
    for name in ("parameters", "state/search/statistics"):
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


@pytest.mark.parametrize("mode", ["pipelined", "bounded:1", "async"])
def test_a_resting_tower_is_shared_in_every_mode(tmp_path, mode):
    """Far fewer towers are embedded than there are versions, however many generations are under way at once."""
    summary = played(tmp_path, "es", 2, 4, seed=3, mode=mode, steps=8000)[1]
    assert summary["updates"] > 12 and 0 < summary["latents_embedded"] <= summary["updates"] / 2


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
    for generation in range(7):
        before = search.theta.copy()
        search.update(generation, batch(generator.standard_normal(8), generation))
        moved = search.theta != before
        assert moved[:4].all() and moved[4:].all() == moved[4:].any() == (generation % 3 == 0)


SEARCHES = [name for name, entry in ALGORITHMS.items() if entry.searches]


def of_points(search):
    """The arrays of a search's state that have a number for each parameter: its mean, and its deviations if it has any."""
    return [search.state[name] for name in ("theta", "mean", "sigma", "deviation") if name in search.state]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("algo", SEARCHES)
def test_every_search_lets_parameters_rest_or_says_why_not(algo, late):
    """Candidates have what rests as it is published, bit by bit, and updates leave it, also where some points are of a version with
    another tower. The others vary and move."""
    entry = ALGORITHMS[algo]
    try:
        search = entry.implementation(entry.options_type(population=16), 6, 0, (), Space(lazy=Lazy(4, 3)))
    except UserError as error:
        assert f"lazy cannot be used with {algo}: " in str(error) and "allowed: lazy = 1" in str(error)
        return
    generator = np.random.default_rng(0)
    search.begin(generator.standard_normal(6).astype(np.float32))
    for generation in range(7):
        published, points = np.empty(search.published_size, np.float32), candidates(search, generation)
        search.published(published)
        rests, before = generation % 3 != 0, [array.copy() for array in of_points(search)]
        assert (points[:, 4:] == published[4:6]).all() == rests and (points[:, :4] != published[:4]).all()
        returns = generator.standard_normal(16)
        old = generation - 1 if late and generation else generation
        mixed = joined(batch(returns[:6], generation, np.arange(6), old), batch(returns[6:], generation, np.arange(6, 16), generation))
        figures = search.update(generation, mixed)
        assert not late or not generation or figures["late_used"] == 6
        for array, was in zip(of_points(search), before):
            assert (array[:4] != was[:4]).all() and (array[4:] == was[4:]).all() == rests


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"algo": "sep-cma", "directions": None}, r"lazy cannot be used with sep-cma: the library varies"),
        ({"algo": "nes", "kind": "xnes"}, r"lazy cannot be used with xnes: its matrix varies"),
        ({"algo": "a3c", "directions": None, "population": None, "sigma": None}, r"lazy = 3 cannot be used with a3c \(allowed: 1; it is"),
        ({"mode": "async", "account": "arrival"}, r"lazy = 3 cannot be used with account = arrival: .* \(allowed: dispatch; or lazy = 1\)"),
        ({"head": "iot"}, r"lazy cannot be used with head 'iot'; did you mean 'itt'\? \(it is an option of itt\)"),
        ({"set_size": 0}, r"set_size = 0 cannot be used \(allowed: whole numbers from 1\)"),
        *[
            ({"lazy": wrong}, rf"lazy = {wrong} cannot be used \(allowed: a whole number from 1, .* or decay:G")
            for wrong in (0, -1, "decay:0", "decay:-3", "decay:", "often", "1.5")
        ],
        ({"head": "mlp"}, r"latent cannot be used with head 'mlp' \(it is an option of itt, iot, explicit\)"),
    ],
)
def test_where_a_tower_cannot_rest_is_told(tmp_path, settings, said):
    given = {"algo": "es", "mode": "sync", **SMALL, "lazy": 3, **settings}
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(UserError, match=said):
        asyncrl.train(given.pop("algo"), FollowEnv, runs=str(tmp_path), workers=1, steps=100, **{**given, **RUN})
