"""Recorded asynchronous runs (`--record`), repeated by `asyncrl replay`: to the bit where updates were whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Run, kill_in_turn, train, wait_for
from safetensors.numpy import load_file

import asyncrl
from asyncrl.cli.main import main
from asyncrl.errors import UserError
from asyncrl.store.checkpoint import newest, read_part, sealed
from asyncrl.topologies.actor_learner.record import BASE, FOLDER, FORMAT, HEAD, LAG, READ, USED


def recorded(folder: Path, env: Any = "CartPole-v1", beside: Any = None, **settings: Any) -> Run:
    usual = {"workers": 2, "mode": "async", "steps": 2000, "t_max": 5, "record": True, "whole": True}
    return train(folder, env, beside, **{**usual, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three workers, with checkpoints on the way."""
    return recorded(tmp_path_factory.mktemp("runs"), workers=3, checkpoint_every=1000, normalize_observations=True, optimizer="adam")


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Path:
    """The run's folder, to be spoilt."""
    shutil.copytree(run.folder, tmp_path / "copy")
    return tmp_path / "copy"


def rows_of(folder: Path, worker: int) -> np.ndarray:
    """The rows of a file, to be written to."""
    numbers = np.memmap(folder / FOLDER / f"{worker}-0.rounds", np.int64, "r+")
    return numbers[len(HEAD) :].reshape(-1, int(numbers[HEAD.index("columns")]))


def updates_of(folder: Path) -> int:
    """Updates that the run has made."""
    return int(read_part(newest(folder), "run")[0]["version"])


def test_the_end_of_a_run_is_repeated_to_the_bit(run):
    updates = updates_of(run.folder)
    assert updates == sum(int(rows_of(run.folder, worker)[:, USED].sum()) for worker in range(3))
    again = asyncrl.replay(run.folder)
    assert (again.version, again.last, again.steps) == (updates, updates, run.summary["steps"])
    assert again.exact and again.drift == 0.0 and again.notes == ()
    assert again.checkpoint == newest(run.folder)
    assert min(len(rows_of(run.folder, worker)) for worker in range(3)) > 0


def test_so_is_any_update_on_the_way_and_it_can_be_saved(run, tmp_path, capsys):
    middle = sealed(run.folder)[0]
    state, arrays = read_part(middle, "run")
    file = tmp_path / "middle.safetensors"
    assert main(["replay", str(run.folder), "--until", str(state["version"]), "--save", str(file)]) == 0
    assert f"the same to the bit as {middle}" in capsys.readouterr().out
    saved = load_file(file)
    size = saved["parameters"].size
    assert (saved["parameters"] == arrays["parameters"][:size]).all() and (saved["statistics"] == arrays["statistics"][:, :size]).all()
    assert (saved["version"], saved["steps"]) == (state["version"], state["steps"])


def test_two_updates_that_change_places_are_not_the_same_and_that_is_told(copy, capsys):
    rows = [rows_of(copy, worker) for worker in range(3)]
    places = {int(one[row, BASE]): (worker, row) for worker, one in enumerate(rows) for row in range(len(one))}
    base = next(base for base in range(len(places) - 1) if places[base][0] != places[base + 1][0])
    for here, there in ((base, base + 1), (base + 1, base)):
        worker, row = places[here]
        rows[worker][row, BASE] = there
    code = main(["replay", str(copy)])
    told = capsys.readouterr()
    assert (code == 1 and "NOT the same" in told.out) or (code == 2 and "contradicts itself" in told.err)


def test_a_round_that_was_computed_from_another_version_makes_another_run_and_that_is_told(copy, capsys):
    late = next(rows for rows in [rows_of(copy, worker) for worker in range(3)] if (rows[:, LAG] > 0).any())
    late[int(np.argmax(late[:, LAG] > 0)), READ] += 1
    assert main(["replay", str(copy)]) == 1
    assert "NOT the same" in capsys.readouterr().out


def test_what_is_lost_of_a_record_is_told(copy):
    path = copy / FOLDER / "1-0.rounds"
    path.write_bytes(path.read_bytes()[:-100])
    again = asyncrl.replay(copy, until=0)
    assert "1-0.rounds" in again.notes[0] and "in part" in again.notes[0]
    assert again.version == 0 and again.last < updates_of(copy) and again.checkpoint is None
    assert f"the record ends with version {again.last}" in again.notes[-1].replace(",", "")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda head: head.__setitem__(1, FORMAT + 1), [f"format {FORMAT + 1}", f"allowed: {FORMAT}"]),
        (lambda head: head.__setitem__(0, 0), ["does not begin as one"]),
        (lambda head: head.__setitem__(3, 7), ["of another run"]),
        (lambda head: head.__setitem__(len(HEAD), 10**6), ["contradicts itself", "round 0 of worker 1"]),
    ],
)
def test_a_record_that_is_none_is_refused(copy, spoil, words):
    spoil(np.memmap(copy / FOLDER / "1-0.rounds", np.int64, "r+"))
    with pytest.raises(UserError) as error:
        asyncrl.replay(copy)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"algo": "impala"}, ["impala", "a3c, a2c, q1, sarsa, nq"]),
        ({"algo": "es"}, ["made of es"]),
        ({"mode": "sync"}, ["sync", "the same bits", "bounded:K, async"]),
        ({"mode": "async@0,sync@1000"}, ["async@0,sync@1000"]),
        ({"simulate": "exponential:1.0"}, ["simulated", "the same bits"]),
        ({"record": False}, ["was not recorded", "--record"]),
    ],
)
def test_a_run_of_another_kind_is_refused(copy, settings, words):
    """By what experiment.json says, before anything is made."""
    path = copy / "experiment.json"
    described = json.loads(path.read_text())
    if "algo" in settings:
        described["settings"]["options"] = {"learning_rate": 0.001}
    for name, value in settings.items():
        (described["settings"]["run"] if name in ("simulate", "record") else described["settings"])[name] = value
    path.write_text(json.dumps(described))
    with pytest.raises(UserError) as error:
        asyncrl.replay(copy)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("files", "words"), [(["2-1"], "worker 2 was replaced"), (["0-1", "1-1", "2-1"], "it was resumed"), (None, "no record")]
)
def test_so_is_one_that_had_other_processes_or_whose_record_is_gone(copy, files, words):
    if files is None:
        shutil.rmtree(copy / FOLDER)
    for name in files or ():
        (copy / FOLDER / f"{name}.rounds").touch()
    with pytest.raises(UserError, match=words):
        asyncrl.replay(copy)


@pytest.mark.parametrize("until", [-1, 10**6, 1.5])
def test_a_version_that_there_is_not_is_refused(run, until):
    with pytest.raises(UserError, match=r"until = .* cannot be used"):
        asyncrl.replay(run.folder, until=until)


def test_target_networks_are_repeated_and_so_is_a_last_epsilon(tmp_path):
    run = recorded(tmp_path, algo="nq", target_every=200, optimizer="rmsprop", steps=1500)
    assert "target" in read_part(newest(run.folder), "run")[1]
    assert asyncrl.replay(run.folder).exact


@pytest.mark.slow  # the fast ones have Adam, RMSProp, a target network, scaled returns and normalised observations in them
@pytest.mark.parametrize(
    ("algo", "env", "settings"),
    [
        ("a3c", "Pendulum-v1", {"optimizer": "sgd", "momentum": 0.9, "normalize_observations": True, "mode": "bounded:2"}),
        ("a3c", "Pendulum-v1", {"simulator": "gymnasium", "workers": 3, "staleness": 3, "rate_by_lag": "inverse", "diagnose": 7}),
        ("a3c", "CartPole-v1", {"normalize_returns": False, "envs_per_worker": 3, "delay": "exponential:0.001"}),
        ("sarsa", "CartPole-v1", {"optimizer": "adam"}),
        ("q1", "CartPole-v1", {"optimizer": "sgd", "momentum": 0.9, "steps": 20_000}),
    ],
)
def test_others_are_repeated_to_the_bit(tmp_path, algo, env, settings):
    run = recorded(tmp_path, env, algo=algo, **settings)
    assert asyncrl.replay(run.folder).exact


def test_a_run_whose_updates_were_not_whole_is_repeated_by_its_times_and_drifts(tmp_path, capsys):
    run = recorded(tmp_path, whole=False)
    assert main(["replay", str(run.folder)]) == 0
    told = capsys.readouterr().out
    assert "updates were not whole" in told or "the same to the bit" in told


@pytest.mark.slow
def test_whoever_was_replaced_is_named_and_the_lost_rounds_are_told(tmp_path):
    def kill_one_that_has_learned(run: Run) -> None:
        wait_for(lambda: run.launcher and run.column("rounds")[1] > 5)
        kill_in_turn(run, (1,))

    run = recorded(tmp_path, beside=kill_one_that_has_learned, steps=100_000)
    assert any("lacks rounds of worker 1" in note for note in run.notes)
    with pytest.raises(UserError, match="worker 1 was replaced"):
        asyncrl.replay(run.folder)


@pytest.mark.slow  # a replay that is the same to the bit comes of paces that are not recorded
def test_recorded_and_not_recorded_learn_the_same(tmp_path):
    """One worker, so that there is but one order."""
    with_it, without = (recorded(tmp_path / str(one), workers=1, steps=1000, record=one) for one in (True, False))
    theirs = [read_part(newest(one.folder), "run")[1]["parameters"] for one in (with_it, without)]
    assert (theirs[0] == theirs[1]).all()
    assert not (without.folder / FOLDER).exists()
