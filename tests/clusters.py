"""A cluster of Ray on this machine, with several nodes of one core each, for the tests; and what is done to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import psutil
from running import Run, wait_for

TUNED = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "PYTHONPATH": str(Path(__file__).parent.parent),
}


class RayCluster:
    """A head without cores and nodes of one core, in a process of its own, which begins more of them at a word."""

    def __init__(self, nodes: int):
        environment = {**os.environ, **TUNED}
        code = [sys.executable, __file__, str(nodes)]
        self._process = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.address = self._read()
        self.raylets = [psutil.Process(int(self._read())) for _ in range(nodes)]

    def _read(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # Ray says a thing or two as well
            if line.startswith("told "):
                return line.split()[1]
        raise AssertionError("the cluster has ended")

    def add(self) -> None:
        """Begin another node."""
        assert self._process.stdin is not None
        self._process.stdin.write("add\n")
        self._process.stdin.flush()
        self.raylets.append(psutil.Process(int(self._read())))

    def actors(self) -> list[psutil.Process]:
        """The processes of our sites, on all nodes that live."""
        alive = [raylet for raylet in self.raylets if raylet.is_running() and raylet.status() != psutil.STATUS_ZOMBIE]
        return [one for raylet in alive for one in raylet.children() if "Asyncrl" in " ".join(one.cmdline())]

    def head_seconds(self) -> float:
        """Of a processor, that the head's own server has used."""
        family = psutil.Process(self._process.pid).children(recursive=True)
        return sum(one.cpu_times().user + one.cpu_times().system for one in family if one.name() == "gcs_server")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@contextmanager
def cluster_of(nodes: int) -> Iterator[RayCluster]:
    """A cluster, and an environment in which it can be reached."""
    before = {name: os.environ.get(name) for name in TUNED}
    cluster = RayCluster(nodes)
    os.environ.update(TUNED)
    try:
        yield cluster
    finally:
        cluster.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def serve(nodes: int) -> None:
    """The process of a `RayCluster`."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    print(f"told {cluster.address}", flush=True)
    for _ in range(nodes):
        _tell_new(cluster)
    for _ in sys.stdin:
        _tell_new(cluster)
    cluster.shutdown()


def _tell_new(cluster: Any) -> None:
    (raylet,) = cluster.add_node(num_cpus=1, wait=False).all_processes["raylet"]
    print(f"told {raylet.process.pid}", flush=True)


def words(run: Run) -> Any:
    """The sites' words of a run."""
    launcher = wait_for(lambda: run.launcher)
    return launcher._crew._body_of.__self__._topology._words


def figure(run: Run, name: str, of: Any = sum) -> float:
    """A figure of all sites together, or the least of them."""
    shared = words(run)
    return of(shared.get(site, name) for site in range(shared.sites))


def held_env(held: Path) -> Callable[[], Any]:
    """Five steps that pay the action; as long as the file is there, an episode takes a fifth of a second."""
    path = str(held)

    def make() -> Any:
        class Paying(gymnasium.Env):  # type: ignore[type-arg]
            observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
            action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

            def reset(self, *, seed: Any = None, options: Any = None) -> Any:
                super().reset(seed=seed)
                if os.path.exists(path):
                    time.sleep(0.2)
                self.count = 0
                return self.np_random.normal(size=3).astype(np.float32), {}

            def step(self, action: Any) -> Any:
                self.count += 1
                pays = -float(np.sum((np.asarray(action) - 0.3) ** 2))
                return self.np_random.normal(size=3).astype(np.float32), pays, self.count == 5, False, {}

        return Paying()

    return make


def elsewhere(on_a_node: str) -> Callable[[], Any]:
    """An environment that does something else on a node of Ray: raises, or pays differently, and may take its time for that."""

    def make() -> Any:
        there = "RAY_RAYLET_PID" in os.environ
        if there and on_a_node == "raises":
            raise OSError("no licence on this machine")

        class Paying(gymnasium.Env):  # type: ignore[type-arg]
            observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
            action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

            def reset(self, *, seed: Any = None, options: Any = None) -> Any:
                time.sleep(0.5 if there and on_a_node == "pays more, slowly" else 0.002)
                return np.zeros(1, np.float32), {}

            def step(self, action: Any) -> Any:
                return np.zeros(1, np.float32), float(action[0]) + 1e-12 * there, True, False, {}

        return Paying()

    return make


def freeze(process: psutil.Process, seconds: float) -> None:
    """SIGSTOP of a process and all below it, and SIGCONT after so many seconds."""
    family = [process, *process.children(recursive=True)]
    for one in family:
        one.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    for one in family:
        if one.is_running():
            one.send_signal(signal.SIGCONT)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
