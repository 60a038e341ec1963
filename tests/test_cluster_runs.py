"""Searches on several machines: real raylets on this one, of one core each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asyncrl
from asyncrl.cluster.place import SILENT_SECONDS
from tests.clusters import RayCluster, cluster_of, figure, freeze, held_env
from tests.running import Run, kill, wait_for, watched
from tests.test_search_runs import SMALL, check_books, learned

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
