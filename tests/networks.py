"""Two machines as the kernel sees them: this one, and a network namespace at the other end of a cable that can be pulled. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from clusters import TUNED
from running import wait_for

SPACE, HERE, THERE = "asyncrl-far", "asyncrl-here", "asyncrl-there"
"""Names of the namespace, and of the two ends of the cable."""
HEAD, FAR, PORT = "10.213.77.1", "10.213.77.2", 6397
RAY = str(Path(sys.executable).parent / "ray")


def ip(*words: str) -> None:
    """A command of `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_be_made() -> bool:
    """Whether this process may make namespaces and cables."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", "asyncrl-try"], check=False, capture_output=True).returncode == 0
    if made:
        ip("netns", "del", "asyncrl-try")
    return made


class TwoMachines:
    """A head of Ray without cores on this machine, and a node of one core in the namespace."""

    address = f"{HEAD}:{PORT}"

    def __init__(self) -> None:
        self._environment = {**os.environ, **TUNED}
        here = ["--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false"]
        self._started: list[subprocess.Popen[bytes]] = [self._ray([], here)]
        self.begin_far()

    def _ray(self, inside: list[str], words: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*inside, RAY, "start", "--block", "--disable-usage-stats", *words],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def begin_far(self) -> None:
        """Begin the far node, which may have been lost."""
        inside = ["ip", "netns", "exec", SPACE]
        self._started.append(self._ray(inside, [f"--address={self.address}", f"--node-ip-address={FAR}", "--num-cpus=1"]))

    def pull(self) -> None:
        """Pull the cable out: nothing is told to anybody."""
        ip("link", "set", HERE, "down")

    def plug(self) -> None:
        """Put the cable in again."""
        ip("link", "set", HERE, "up")

    def far(self) -> list[psutil.Process]:
        """All processes of the far machine."""
        told = subprocess.run(["ip", "netns", "pids", SPACE], check=True, capture_output=True, text=True).stdout
        return [psutil.Process(int(pid)) for pid in told.split() if psutil.pid_exists(int(pid))]

    def signal_far(self, number: signal.Signals) -> None:
        """Send a signal to every process of the far machine."""
        for one in self.far():
            if one.is_running():
                one.send_signal(number)

    def close(self) -> None:
        """End everything on both."""
        self.signal_far(signal.SIGKILL)
        for one in self._started:
            family = psutil.Process(one.pid).children(recursive=True) if one.poll() is None else []
            one.kill()
            one.wait()
            for child in family:
                if child.is_running():
                    child.kill()


@contextmanager
def two_machines() -> Iterator[TwoMachines]:
    """Both, with a cable between them; in an environment in which the head can be reached."""
    before = {name: os.environ.get(name) for name in TUNED}
    ip("netns", "add", SPACE)
    try:
        ip("link", "add", HERE, "type", "veth", "peer", "name", THERE, "netns", SPACE)
        ip("addr", "add", f"{HEAD}/24", "dev", HERE)
        ip("link", "set", HERE, "up")
        for words in (["addr", "add", f"{FAR}/24", "dev", THERE], ["link", "set", THERE, "up"], ["link", "set", "lo", "up"]):
            ip("-n", SPACE, *words)
        made = TwoMachines()
        os.environ.update(TUNED)
        try:
            wait_for(lambda: any("raylet" in one.name() for one in made.far()), 60)
            yield made
        finally:
            made.close()
    finally:
        ip("netns", "del", SPACE)  # the cable goes with it
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
