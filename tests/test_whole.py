"""Whole updates (`--whole`): one compare-and-swap each, whoever dies; and the runs that are made of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import Any

import numpy as np
import pytest
from running import bits, children, kill_in_turn, resume, train, wait_for

from asyncrl.errors import UserError
from asyncrl.shared.arrays import SharedArrays, prefixed
from asyncrl.shared.atomics import load_acquire, store_release
from asyncrl.shared.whole import WholeParameters

SIZE, WORKERS = 3000, 3


def made(workers: int = WORKERS) -> tuple[SharedArrays, WholeParameters]:
    layout = WholeParameters.layout(SIZE, 2, workers, True)
    memory = SharedArrays.allocate({**prefixed("whole", layout), "done": ((8 * workers,), np.int64), "stop": ((1,), np.int64)})
    return memory, WholeParameters(memory.part("whole"), True)


def step(whole: WholeParameters, worker: int) -> bool:
    """An update by which every number of a version is the version."""
    draft = whole.draft(worker)
    for rows in (draft.vector, draft.statistics, draft.target):
        assert (rows == draft.version).all(), "what was copied is not of one version"
        rows += 1
    return whole.swap(draft, draft.steps + 10)


def update(memory: SharedArrays, worker: int) -> None:
    """Process: updates without end, and counts them."""
    whole = WholeParameters(memory.part("whole"), True)
    while not load_acquire(memory["stop"], 0):
        if step(whole, worker):
            store_release(memory["done"], 8 * worker, memory["done"][8 * worker] + 1)


def check_copies(whole: WholeParameters, versions: int) -> None:
    """Read until so many versions were seen."""
    vector, target, statistics = (np.zeros(shape, np.float32) for shape in (3008, 3008, (2, 3008)))
    newest, seen, deadline = -1, 0, time.monotonic() + 60
    while seen < versions:
        version, steps = whole.copy(vector, target, statistics)
        assert steps == 10 * version
        assert all((rows == version).all() for rows in (vector, target, statistics))
        assert version >= newest
        newest, seen = version, seen + (version > newest)
        assert time.monotonic() < deadline


def begun(memory: SharedArrays, worker: int) -> Any:
    process = multiprocessing.get_context("fork").Process(target=update, args=(memory, worker), daemon=True)
    process.start()
    return process


def test_a_version_is_whole_for_all_and_made_from_the_one_before_whoever_is_killed():
    memory, whole = made()
    workers = [begun(memory, worker) for worker in range(WORKERS)]
    generator = np.random.default_rng(0)
    for turn in range(6):
        check_copies(whole, 20)
        victim = turn % WORKERS
        time.sleep(generator.uniform(0, 0.003))
        os.kill(workers[victim].pid, signal.SIGKILL)
        workers[victim].join()
        before = whole.version
        wait_for(lambda before=before: whole.version > before + 10)  # nobody waits for the dead
        workers[victim] = begun(memory, victim)
    store_release(memory["stop"], 0, 1)
    for process in workers:
        process.join(30)
        assert process.exitcode == 0
    counted = int(memory["done"].sum())
    assert counted <= whole.version <= counted + 6  # a killed one may have swapped and not counted
    memory.close()


def test_whoever_was_overtaken_does_it_over():
    memory, whole = made(2)
    slow = whole.draft(0)
    assert step(whole, 1)
    assert not whole.swap(slow, 10)
    assert (whole.current()[0] == 1).all() and whole.version == 1
    assert step(whole, 0) and whole.version == 2
    memory.close()


def test_a_copy_that_was_overwritten_is_made_again():
    """A worker's spare buffer is one that others may still copy: its stamp says so before it is written to."""
    memory, whole = made(2)
    for _ in range(3):
        assert step(whole, 0)
    head, stamps = memory["whole/head"], memory["whole/stamps"]
    current = int(head[0]) & 0xFFFF
    draft = whole.draft(0)
    assert draft.index not in (0, current)
    assert stamps[8 * draft.index] == whole.version + 1, "a reader of the old version there would not see that it goes"
    assert stamps[8 * current] == whole.version
    memory.close()


def test_one_worker_learns_the_same_and_goes_on_so(tmp_path):
    """`nq`, so that the target network is in it."""
    usual = {"algo": "nq", "workers": 1, "mode": "async", "target_every": 300, "optimizer": "adam", "t_max": 10}
    usual |= {"anneal": "constant", "explore": "epsilon:0.1"}  # what depends on the length of a run, which the resumed one has later
    plain = train(tmp_path / "plain", "CartPole-v1", steps=2000, **usual)
    whole = train(tmp_path / "whole", "CartPole-v1", steps=1500, whole=True, **usual)
    assert whole.summary["updates"] == 150
    whole.check_books(10)
    assert bits(plain.folder) == bits(resume(whole.folder, steps=2000).folder)


def test_a_run_goes_on_whoever_is_killed(tmp_path):
    run = train(tmp_path, "CartPole-v1", lambda run: kill_in_turn(run, (0,)), workers=2, mode="async", whole=True, steps=40_000, t_max=5)
    assert run.error is None and run.summary["restarts"] == 1
    assert 0 <= run.summary["updates"] - sum(run.column("updates")) <= 1  # killed between the swap and the books
    assert children() == []


@pytest.mark.parametrize(
    ("algo", "settings", "words"),
    [
        ("a3c", {"mode": "sync"}, ["mode sync", "bounded:K, async"]),
        ("a3c", {"mode": "async@0,sync@1000"}, ["async@0,sync@1000"]),
        ("a3c", {"mode": "async", "statistics": "private"}, ["statistics", "shared"]),
        ("a3c", {"mode": "async", "simulate": "exponential:1"}, ["simulate"]),
        ("impala", {"mode": "async"}, ["impala", "a3c, a2c, q1, sarsa, nq"]),
        ("es", {"mode": "async"}, ["es,", "a3c"]),
    ],
)
def test_what_it_does_not_go_with(tmp_path, algo, settings, words):
    run = train(tmp_path, "CartPole-v1", algo=algo, workers=2, steps=2000, whole=True, **settings)
    assert isinstance(run.error, UserError)
    assert "\n" not in str(run.error) and all(word in str(run.error) for word in words), run.error
    assert list(tmp_path.iterdir()) == []
