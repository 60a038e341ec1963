"""A search on two machines with a cable between them that is pulled, and with a far machine that freezes: slow, and as root."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import networks
import pytest
from clusters import figure, held_env
from running import Run, wait_for, watched
from test_search_runs import SMALL, check_books, learned

import asyncrl
from asyncrl.cluster.place import SILENT_SECONDS

pytest.importorskip("ray", reason="the extra `ray` is not installed: pip install '.[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not networks.can_be_made(), reason="network namespaces can be made by root alone"),
]

SEARCH = {**SMALL, "algo": "es", "mode": "sync", "steps": 10_000, "seed": 3}
EPISODE = 0.2
"""Seconds of an episode while the run is held."""


class Stalls:
    """Measures, beside a run, for how long there was no update."""

    def __init__(self, run: Run):
        self._run, self._ends, self.longest = run, False, 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        ground = self._run.launcher._ground  # type: ignore[union-attr]
        last, version = time.monotonic(), -1
        while not self._ends:
            if ground.version != version:
                last, version = time.monotonic(), ground.version
            self.longest = max(self.longest, time.monotonic() - last)
            time.sleep(0.02)

    def since_last(self) -> float:
        """The longest stall so far, which is forgotten."""
        longest, self.longest = self.longest, 0.0
        return longest

    def close(self) -> None:
        self._ends = True
        self._thread.join()


@pytest.fixture(scope="module")
def machines():
    with networks.two_machines() as made:
        yield made


def searched(folder: Path, held: Path, beside: Any = None, **more: Any) -> Run:
    with watched(beside) as run:
        run.result = asyncrl.train(env=held_env(held), runs=str(folder), quiet=True, evaluation_episodes=0, **SEARCH, **more)
    check_books(run, SEARCH["population"])
    return run


def test_the_same_bits_through_a_pulled_cable_and_a_frozen_machine(tmp_path, machines):
    held = tmp_path / "held"
    alone = searched(tmp_path / "alone", held, workers=2)
    stalls: dict[str, float] = {}

    def works(patience: float = 60) -> None:
        before = figure(run_, "evaluations")
        wait_for(lambda: figure(run_, "up") == 1 and figure(run_, "evaluations") > before + 2, patience)

    def disturb(run: Run) -> None:
        nonlocal run_
        run_ = run
        measured = None
        try:
            works(100)
            measured = Stalls(run)
            time.sleep(2.0)
            stalls["undisturbed"] = measured.since_last()
            machines.signal_far(signal.SIGSTOP)  # shorter than Ray takes to give a node up
            time.sleep(SILENT_SECONDS + 1.0)
            machines.signal_far(signal.SIGCONT)
            works()
            stalls["frozen for four seconds"] = measured.since_last()
            machines.pull()
            time.sleep(SILENT_SECONDS + 1.0)
            machines.plug()
            works()
            stalls["cable out for four seconds"] = measured.since_last()
            for name, lose, give_back in (
                ("frozen", partial(machines.signal_far, signal.SIGSTOP), partial(machines.signal_far, signal.SIGCONT)),
                ("cable out", machines.pull, machines.plug),
            ):
                before = figure(run, "deaths")
                lose()
                wait_for(lambda: figure(run, "deaths") > before, 120)  # noqa: B023 - it is done with when the next one begins
                give_back()
                machines.begin_far()
                works(120)
                stalls[f"{name} until the node was given up"] = measured.since_last()
        finally:
            if measured is not None:
                measured.close()
            held.unlink()

    run_: Any = None  # what `works` looks at
    held.touch()
    run = searched(tmp_path / "sites", held, disturb, workers=1, engine="ray", address=machines.address, sites=1)
    print("\nthe longest time without an update, in seconds:", {name: round(one, 2) for name, one in stalls.items()})
    assert learned(run) == learned(alone)
    generation = SEARCH["population"] * EPISODE  # where one local worker does all of it
    assert max(stalls.values()) < SILENT_SECONDS + generation + 1.0, stalls
