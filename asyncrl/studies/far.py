"""A study's runs on the nodes of a cluster of Ray: a task a run, each on one node, whose folder comes back when it is done.

A lane is a process here, as ever (`lanes`), which asks Ray for as many cores as the run keeps busy, waits, and unpacks the run's folder. So
nodes need no folder that all of them see, and a run's bits are those of any run on that node. Nothing is tried twice by Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import sys
import tarfile
import tempfile
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from asyncrl.api import run
from asyncrl.cluster.asking import ask
from asyncrl.cluster.on_ray import connect, one_line, versions_here
from asyncrl.errors import AsyncrlError, UserError
from asyncrl.processes.interrupts import Interrupts
from asyncrl.processes.starting import context
from asyncrl.processes.surroundings import Surroundings
from asyncrl.studies.lanes import Lane, Outcome, main
from asyncrl.studies.trials import cores_of

TURN_SECONDS = 0.2


class OnRay:
    """On the nodes of a cluster (see `running.Where`)."""

    def __init__(self, address: str):
        """Finds it. Raises UserError."""
        self._cluster = ask(context(), address)
        found = self._cluster.found
        self.cores, self.most = sum(found.cores), max(found.cores, default=0)
        if not self.cores:
            self.close()
            raise UserError(f"address = {address!r} cannot be used: no node of the cluster has a core (allowed: a cluster with cores)")

    def lane(self, log: Path) -> Lane:
        """A process here that has runs made there; `log`: the file to which its output goes."""
        return Lane(log, ("asyncrl.studies.far", self._cluster.found.address, str(self.most)))

    def close(self) -> None:
        """End a Ray of our own."""
        self._cluster.close()


def attempt(address: str, most: int, surroundings: Surroundings, pickled: bytes) -> Outcome:
    """Have a pickled experiment run on some node, with at most so many cores, and unpack its folder here."""
    try:
        surroundings.put_up()
        experiment = cloudpickle.loads(pickled)
        ray = connect(address)
        task = ray.remote(_task()).options(num_cpus=cores_of(experiment, most), max_retries=0)
        reference = task.remote(pickled, versions_here())
        with Interrupts() as interrupts:
            while not ray.wait([reference], timeout=TURN_SECONDS)[0]:
                if interrupts.seen:
                    interrupts.answered = True
                    ray.cancel(reference, force=True)
                    return Outcome("interrupted")
        status, problem, archive = ray.get(reference)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises, the other runs go on, and the study names this one
        return Outcome("failed", one_line(error))
    if archive:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(experiment.run.runs, filter="data")
    return Outcome(status, problem)


def run_here(pickled: bytes) -> tuple[str, str, bytes]:
    """Run a pickled experiment on this node: how it ended, why it failed, and its folder as an archive."""
    experiment = cloudpickle.loads(pickled)
    with tempfile.TemporaryDirectory(prefix="asyncrl-") as folder:
        status, problem = "failed", ""
        try:
            status = run(dataclasses.replace(experiment, run=dataclasses.replace(experiment.run, runs=folder))).status
        except AsyncrlError as error:
            problem = str(error)
        except Exception:  # noqa: BLE001 - as in a lane
            problem = traceback.format_exc()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as files:
            for path in Path(folder).iterdir():
                files.add(path, path.name)
    return status, problem, archive.getvalue()


def _task() -> Any:
    """What a node does. A function inside a function travels by value, so that a node with another asyncrl can say so."""
    load = importlib.import_module

    def asyncrl_run(pickled: bytes, needed: dict[str, str]) -> Any:
        try:
            ours = load("asyncrl").__version__
        except ImportError:
            ours = "none"
        if ours != needed["asyncrl"]:
            return "failed", f"node {load('platform').node()} has asyncrl {ours}, {needed['asyncrl']} is needed", b""
        return load("asyncrl.studies.far").run_here(pickled)

    return asyncrl_run


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(int(sys.argv[3]), partial(attempt, sys.argv[1], int(sys.argv[2])))
