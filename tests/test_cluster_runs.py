"""Searches on several machines: real raylets on this one, of one core each."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from clusters import RayCluster, cluster_of, elsewhere, figure, freeze, held_env
from running import Run, bits, command, kill, wait_for, watched
from test_search_runs import SMALL, check_books, learned

import asyncrl
from asyncrl.cluster.place import SILENT_SECONDS
from asyncrl.errors import AsyncrlError

pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install '.[ray]'")

SEARCH = {**SMALL, "algo": "es", "mode": "sync", "steps": 10_000, "seed": 3}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head without cores and two nodes."""
    with cluster_of(2) as made:
        yield made


def searched(folder: Path, held: Path, beside: Any = None, **more: Any) -> Run:
    settings = {"runs": str(folder), "quiet": True, "evaluation_episodes": 0, "report_seconds": 0.2, **SEARCH, **more}
    with watched(beside) as run:
        run.result = asyncrl.train(env=held_env(held), **settings)
    check_books(run, SEARCH["population"])
    return run


def test_the_same_bits_through_every_death(tmp_path, cluster):
    """SIGKILL of an actor, of a place and of a raylet, SIGSTOP of a node's site; and a node that joins is used."""
    held = tmp_path / "held"
    alone = searched(tmp_path / "alone", held, workers=2)

    def disturb(run: Run) -> None:
        try:
            wait_for(lambda: figure(run, "evaluations") > 8, 100)
            kill(cluster.actors()[0].pid)
            wait_for(lambda: figure(run, "deaths") == 1)
            wait_for(lambda: figure(run, "up") == 2 and figure(run, "in_flight", min) > 0, 60)
            freeze(cluster.actors()[0], SILENT_SECONDS + 1.0)
            assert figure(run, "silences") >= 1
            place = run.pids()[2]
            kill(place)
            wait_for(lambda: run.pids().get(2) not in (None, place) and run.launcher.slots[2].granted)
            wait_for(lambda: figure(run, "up") == 2, 60)
            cluster.add()
            kill(cluster.raylets[0].pid)
            wait_for(lambda: figure(run, "deaths") == 2)
            wait_for(lambda: figure(run, "up") == 2, 60)
        finally:
            held.unlink()

    held.touch()
    run = searched(tmp_path / "sites", held, disturb, workers=1, engine="ray", address=cluster.address, sites=2)
    assert learned(run) == learned(alone)
    assert sum(run.column("steps")) == run.summary["steps"]


SUBSCRIBER = """
import random, sys
from asyncrl.cluster.on_ray import connect
random.seed(1)
connect(sys.argv[1])
print("there", flush=True)
input()
"""


def test_processes_with_the_same_seed_are_two_to_ray(cluster):
    """One name for both makes each take the other's place, without end: a third of a core of the head, all the time."""
    ends: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", SUBSCRIBER, cluster.address], **ends) for _ in range(2)]
    assert [one.stdout.readline() if one.stdout else "" for one in both] == ["there\n"] * 2
    before = cluster.head_seconds()
    time.sleep(2.0)
    spent = cluster.head_seconds() - before
    for one in both:
        one.communicate("\n", timeout=60)
    assert before > 0.0 and spent < 0.2, f"{spent} s of a processor in two idle seconds"


def test_a_function_is_minimised_with_the_same_bits(cluster):
    def parabola(x):
        return float(((x - 1.0) ** 2).sum())

    def minimum(**more):
        return asyncrl.minimize(parabola, np.zeros(4), "es", 600, mode="sync", population=20, sigma=0.3, **more)

    here, there = minimum(workers=2), minimum(workers=1, engine="ray", address=cluster.address)
    for one in dataclasses.fields(here):
        if one.name != "seconds":
            assert np.array_equal(getattr(here, one.name), getattr(there, one.name)), one.name


def test_a_study_has_its_runs_made_on_the_nodes(tmp_path, cluster):
    small = {"algo": "a3c", "env": "CartPole-v1", "mode": "sync", "steps": 2000, "workers": 1, "evaluation_episodes": 0}
    tables = {"experiment": small, "vary": {"t_max": [5, 20]}, "seeds": 1}
    made = asyncrl.study(tables, tmp_path / "study", quiet=True, engine="ray", address=cluster.address)
    assert (made.status, made.failures) == ("completed", {})
    alone = asyncrl.train(**{**small, "t_max": 20}, seed=0, runs=str(tmp_path), name="alone", quiet=True)
    there = made.folder / "runs" / "t_max=20,seed=0"
    assert bits(there) == bits(alone.folder)
    times = {path: path.stat().st_mtime_ns for path in there.iterdir()}
    assert asyncrl.study(tables, tmp_path / "study", quiet=True, engine="ray", address=cluster.address).status == "completed"
    assert times == {path: path.stat().st_mtime_ns for path in there.iterdir()}, "what is done is kept"


def refusal(env: Any, folder: Path, cluster: RayCluster, mode: str) -> str:
    with pytest.raises(AsyncrlError) as refused:
        asyncrl.train("es", env, mode=mode, engine="ray", address=cluster.address, sites=1, workers=1, runs=str(folder), quiet=True)
    assert list(folder.iterdir()) == []
    return str(refused.value)


def test_a_node_that_cannot_make_the_environment_says_so(tmp_path, cluster):
    said = refusal(elsewhere("raises"), tmp_path, cluster, "async")
    assert re.match(r"site 0 .*: node \S+: environment .* cannot be made: OSError: no licence on this machine", said), said


def test_a_node_with_other_bits_is_refused_where_bits_count(tmp_path, cluster):
    said = refusal(elsewhere("pays more"), tmp_path, cluster, "sync")
    assert re.match(r"site 0 .*: node \S+ gives other bits than this machine .* cannot be used in sync and pipelined", said), said
    assert "\n" not in said


def test_a_slow_site_keeps_nobody_waiting_in_async(tmp_path, cluster):
    """Its evaluations take as long as many updates, which their lag says; since its bits are others, there is a warning."""
    settings = {**SEARCH, "mode": "async", "late": "as-is", "steps": 1_000, "workers": 1, "sites": 1}
    places = {"runs": str(tmp_path), "quiet": True, "evaluation_episodes": 0, "engine": "ray", "address": cluster.address}
    with watched() as run:
        run.result = asyncrl.train(env=elsewhere("pays more, slowly"), **settings, **places)
    check_books(run, SEARCH["population"])
    assert any("gives other bits than this machine" in note and "results depend on who makes them" in note for note in run.notes)
    (site,) = run.summary["sites"]
    assert site["evaluations"] >= 1 and site["lag"] > 5, site
    assert run.column("steps")[0] > 10 * run.column("steps")[1]


def test_nothing_is_left_when_the_main_process_is_killed(tmp_path, cluster):
    words = ["train", "es", "CartPole-v1", "--engine", "ray", "--address", cluster.address, "--workers", "1", "--steps", "100_000_000_000"]
    with subprocess.Popen(command(tmp_path, *words), stderr=subprocess.PIPE, text=True) as main:
        assert main.stderr is not None
        assert any("steps/s" in line for line in main.stderr)  # until it trains
        theirs = [one for actor in cluster.actors() for one in (actor, *actor.children(recursive=True))]
        ours = psutil.Process(main.pid).children(recursive=True)
        assert len(theirs) >= 6 and len(ours) >= 4
        main.kill()
        _, alive = psutil.wait_procs([*theirs, *ours], 5.0)
    assert not alive, alive
