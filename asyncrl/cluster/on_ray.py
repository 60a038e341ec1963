"""Ray as an engine: a site is an actor, of which a node has one. Nothing else of this package uses Ray but `asking`.

Actors alone are used, without restarts and retries: what becomes of a ticket is the business of the place that has claimed it.
"""

from __future__ import annotations

import importlib
import os
import pickle
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncrl import __version__
from asyncrl.cluster.engine import Begun, Engine, Node, Offer, Site, SiteLost, SiteTask
from asyncrl.errors import Hopeless, UserError

LOOK_SECONDS, BUILD_SECONDS = 60.0, 300.0
"""How long a node may take to start a process, and a site to build its workers (the first on a machine compiles the kernels)."""
KNOCK_SECONDS = 5.0
"""How long whoever listens at an address may take to take a call."""
LOOPBACK = ("127.", "localhost")
CALLS = 8
"""Calls that an actor may be in at the same time; a place has three at most."""


@dataclass(frozen=True)
class Address:
    """Where a cluster is, and how its nodes are shared out."""

    address: str
    """HOST:PORT of its head."""
    shared_by: int = 0
    """Of a Ray of this machine's own: sites on its one node; 0: a cluster, with a site on each node but this one."""


def connect(address: str) -> Any:
    """The module ray, connected to a cluster as a driver of this process. Raises what Ray raises."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address.startswith(LOOPBACK):  # otherwise Ray takes the machine's own address instead, where nobody may listen
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if "RAY_AUTH_MODE" not in os.environ and has_token():  # Ray itself turns it on for `ray start`, but not for whoever connects
        os.environ["RAY_AUTH_MODE"] = "token"
    import ray

    random.seed()  # Ray names a subscriber by this generator: two processes with a run's seed would take each other's place for ever
    if not ray.is_initialized():
        ray.init(address=address, namespace="asyncrl", log_to_driver=False, configure_logging=False)
    return ray


def has_token() -> bool:
    """Whether this user has a token of Ray's, where Ray looks for one."""
    told = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return told or (Path.home() / ".ray" / "auth_token").exists()


def nodes_of(ray: Any) -> list[Node]:
    """The nodes that are alive, with cores, in an order that is always the same: without the one that this process is on."""
    here = ray.get_runtime_context().get_node_id()
    found = [
        Node(one["NodeID"], one["NodeManagerHostname"], int(one["Resources"].get("CPU", 0)))
        for one in ray.nodes()
        if one["Alive"] and one["NodeID"] != here
    ]
    return sorted((node for node in found if node.cores), key=lambda node: node.key)


class RayEngine(Engine):
    """One process's connection to a cluster of Ray."""

    def __init__(self, address: Address):
        self._address = address
        self._ray: Any = None

    def nodes(self) -> list[Node]:
        ray, shared_by = self._connected(), self._address.shared_by
        try:
            (here,) = (one for one in ray.nodes() if one["Alive"] and one["NodeID"] == ray.get_runtime_context().get_node_id())
            found = nodes_of(ray)
        except Exception as error:
            self._ray = None  # who is connected by a part of Ray that has ended stays so: begin anew
            ray.shutdown()
            raise SiteLost(f"the Ray of this machine, or its cluster at {self._address.address}, has ended: {one_line(error)}") from error
        if not shared_by:
            return found
        each = max(int(here["Resources"].get("CPU", 1)) // shared_by, 1)
        return [Node(f"{here['NodeID']}/{i}", here["NodeManagerHostname"], each) for i in range(shared_by)]

    def start(self, node: Node, task: SiteTask, told: Callable[[str, Any], None]) -> Site:
        ray = self._connected()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(node.key.partition("/")[0], soft=False)
        wishes = {"num_cpus": 0 if self._address.shared_by else min(task.workers, node.cores), "scheduling_strategy": where}
        actor = ray.remote(_actor()).options(max_restarts=0, max_task_retries=0, max_concurrency=CALLS, **wishes).remote()
        try:
            check_versions(node.name, _got(ray, actor.versions.remote(), LOOK_SECONDS, node))
            begun = _got(ray, actor.build.remote(task), BUILD_SECONDS, node)
        except BaseException:
            ray.kill(actor)
            raise
        return RaySite(ray, actor, node, begun, told)

    def _connected(self) -> Any:
        if self._ray is None:
            try:
                host, _, port = self._address.address.rpartition(":")
                socket.create_connection((host, int(port)), KNOCK_SECONDS).close()  # Ray would end this process after a minute
                self._ray = connect(self._address.address)
            except Exception as error:
                raise SiteLost(f"the cluster at {self._address.address} does not answer: {one_line(error)}") from error
        return self._ray


class RaySite(Site):
    """An actor of Ray with its workers. Outcomes are told by a thread of Ray's."""

    def __init__(self, ray: Any, actor: Any, node: Node, begun: Begun, told: Callable[[str, Any], None]):
        self._ray, self._actor, self._told = ray, actor, told
        self.node, self.begun = node, begun

    def begin(self, mode: str) -> None:
        self._call("begin", mode)

    def offer(self, offer: Offer) -> None:
        self._call("offer", offer)

    def records(self, seconds: float, gather: float) -> None:
        self._call("records", seconds, gather)

    def withdraw(self) -> None:
        self._call("withdraw")

    def close(self) -> None:
        self._ray.kill(self._actor)  # what it has started ends with it

    def _call(self, name: str, *arguments: Any) -> None:
        future = self._actor.call.remote(pickle.dumps((name, arguments), pickle.HIGHEST_PROTOCOL)).future()
        future.add_done_callback(lambda done: self._told(name, _outcome(done, self.node)))


def _outcome(done: Any, node: Node) -> Any:
    """The result of a call that has ended, or its exception."""
    error = done.exception()
    return pickle.loads(done.result()) if error is None else _translated(error, node)


def _got(ray: Any, reference: Any, seconds: float, node: Node) -> Any:
    try:
        return ray.get(reference, timeout=seconds)
    except ray.exceptions.GetTimeoutError as error:
        raise SiteLost(f"node {node.name} did not answer within {seconds:g} s: are its cores given to others?") from error
    except Exception as error:
        raise _translated(error, node) from error


def _translated(error: BaseException, node: Node) -> Exception:
    """What an exception of Ray's means to us."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Hopeless | UserError):
        return type(cause)(f"node {node.name}: {cause}")
    if cause is not None and not type(error).__name__.startswith("Actor"):
        return RuntimeError(f"node {node.name}: {type(cause).__name__}: {cause}")
    return SiteLost(one_line(error))


def one_line(error: BaseException) -> str:
    """Of an exception of Ray's, which have many lines, the type and the first."""
    said = " ".join(str(error).strip().partition("\n")[0].split())
    return f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__


def versions_here() -> dict[str, str]:
    """What every node must have as it is here."""
    import ray

    return {"Python": ".".join(map(str, sys.version_info[:3])), "ray": ray.__version__, "asyncrl": __version__}


def check_versions(node: str, found: dict[str, str]) -> None:
    """Raise UserError where a node has other versions than this machine."""
    needed = versions_here()
    other = [f"{name} {found[name]} ({version} is needed)" for name, version in needed.items() if found[name] != version]
    if other:
        raise Hopeless(f"node {node} has {', '.join(other)}: install the same on every node")


def _actor() -> type[Any]:
    """The actor's class. A class inside a function travels by value, so that a node with another asyncrl, or none, can still be asked."""
    load = importlib.import_module

    class Asyncrl:
        """A site, as Ray sees it."""

        def versions(self) -> dict[str, str]:
            try:
                ours = load("asyncrl").__version__
            except ImportError:
                ours = "none"
            python = ".".join(map(str, load("sys").version_info[:3]))
            return {"Python": python, "ray": load("ray").__version__, "asyncrl": ours}

        def build(self, task: Any) -> Any:
            self.node = load("asyncrl.cluster.node").Node(task)
            return self.node.begun()

        def call(self, packed: bytes) -> bytes:
            pickle = load("pickle")  # Ray takes twice as long where a message holds a dozen small arrays
            name, arguments = pickle.loads(packed)
            return bytes(pickle.dumps(getattr(self.node, name)(*arguments), pickle.HIGHEST_PROTOCOL))

    return Asyncrl
