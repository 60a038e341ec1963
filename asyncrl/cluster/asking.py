"""Who is in a cluster of Ray? Asked by a process of its own, since Ray may wait for minutes, and changes the process that it is used in."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from asyncrl.cluster.engine import Node
from asyncrl.cluster.on_ray import KNOCK_SECONDS, Address, connect, nodes_of, one_line
from asyncrl.errors import UserError
from asyncrl.processes.fork_server import Context
from asyncrl.processes.interrupts import held, interruptible
from asyncrl.processes.starting import leave_signals_to_main, settle_in, start, stop_all, usable_cores

ANSWER_SECONDS, OWN_SECONDS = 15.0, 90.0
"""How long a cluster may take to answer, and a Ray of this machine's own to start."""
HOW = "allowed: auto, for the Ray of this machine, or HOST:PORT of a cluster's head, as `ray start` says it; without it a Ray of its own"


@dataclass(frozen=True)
class Found:
    """What answered."""

    address: str
    """HOST:PORT of its head."""
    nodes: tuple[Node, ...] = ()
    """Those that could have a site, without this machine's."""
    cores: tuple[int, ...] = ()
    """Of every node, with this machine's."""
    problem: str = ""
    """Why nothing can be done with it."""


class Cluster:
    """A cluster of Ray as the main process knows it. Of a Ray of our own: it lives as long as this."""

    def __init__(self, process: Any, connection: Connection, found: Found):
        self._process, self._connection, self.found = process, connection, found

    def close(self) -> None:
        """End a Ray of our own. Idempotent."""
        if self._process is not None:
            self._connection.close()  # which is how it is told
            stop_all([self._process], 5.0)
            self._process = None


def ask(context: Context, address: str) -> Cluster:
    """Find the cluster at `address` ("": begin a Ray on this machine). Raises UserError: what was tried, within ANSWER_SECONDS."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("engine = ray needs the package ray: pip install 'asyncrl[ray]' (allowed: local; or with it)")
    if address not in ("", "auto"):
        _knock(address)
    with held():
        process, connection = start(context, run_asking, "asyncrl-ray", (address, usable_cores()))
    cluster = Cluster(process, connection, Found(address))
    try:
        cluster.found = _answer(connection, address)
        if cluster.found.problem:
            raise UserError(f"address = {address!r} cannot be used: {cluster.found.problem} ({HOW})")
    except BaseException:
        process.kill()
        cluster.close()
        raise
    return cluster


def _knock(address: str) -> None:
    """Is there anybody? Ray itself would try for longer, and say it in many lines."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"address = {address!r} cannot be used ({HOW})")
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except OSError as error:
        said = error.strerror or str(error)
        tried = f"{said}; waited for at most {KNOCK_SECONDS:g} s"
        raise UserError(f"address = {address!r} cannot be used: nobody answers there ({tried}; {HOW})") from error


def _answer(connection: Connection, address: str) -> Found:
    seconds = ANSWER_SECONDS - KNOCK_SECONDS if address else OWN_SECONDS
    deadline = time.monotonic() + seconds
    with interruptible():
        while not connection.poll(0.1):
            if time.monotonic() > deadline:
                return Found(address, problem=f"what listens there does not answer as Ray does (tried for {seconds:g} s)")
    try:
        found: Found = connection.recv()
    except (EOFError, ConnectionResetError):
        return Found(address, problem="Ray ended the process that asked it; its log is in /tmp/ray/session_latest/logs")
    return found


def run_asking(address: str, cores: int, connection: Connection) -> None:
    """Process body. With a Ray of its own it stays until the main process hangs up."""
    settle_in(None)
    try:
        ray = _own(cores) if not address else connect(address)
        leave_signals_to_main()  # Ray takes SIGTERM for itself
        gcs = ray.get_runtime_context().gcs_address
        there = tuple(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
        connection.send(Found(gcs if not address or address == "auto" else address, tuple(nodes_of(ray)), there))
    except Exception as error:  # noqa: BLE001 - whatever Ray raises is told
        connection.send(Found(address, problem=f"{_hint(error)}{one_line(error)}"))
        return
    if not address:
        with contextlib.suppress(EOFError, OSError):
            connection.recv()
    ray.shutdown()


def _own(cores: int) -> Any:
    """Ray on this machine alone, with its token authentication as it is by default."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # as by default, which Ray would say in a line of its own
    import ray

    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False, configure_logging=False, namespace="asyncrl")
    return ray


def _hint(error: Exception) -> str:
    text = str(error)
    if "ersion mismatch" in text:
        return f"it has other versions: {' '.join(text.split())[:300]}; "
    return "no Ray runs on this machine: " if isinstance(error, ConnectionError) and "Could not find any running" in text else ""


def where(found: Found, own: bool, sites: int) -> Address:
    """What the processes of places are told."""
    return Address(found.address, sites if own else 0)
