"""A soak: memory, open files and shared memory stay flat over a long run of every topology in async.

SOAK_SECONDS in the environment shortens it for a trial. Topologies can run at the same time, a process each:
`pytest -m slow tests/test_soak.py -k search -s`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", 1200.0))
WARM_UP = 0.25
"""Share of the time that is left out: kernels are loaded, episodes get as long as they will, replays fill."""
EVERY = max(SOAK_SECONDS / 600, 0.5)
BLOCKS, STUDENT = 10, 2.306
"""The line goes through the means of so many blocks, since neighbouring samples depend on each other; t for 95 % and BLOCKS - 2."""
MOST = {"memory (MiB)": 10.0, "open files": 4.0, "shared memory (MiB)": 4.0}
"""What the line may rise in the time that is looked at: 15 minutes of the 20."""

TOPOLOGIES = {
    "actor-learner": ["a3c", "CartPole-v1"],
    "stream": ["impala", "CartPole-v1"],
    "replay": ["td3", "Pendulum-v1", "--replay", "2000", "--warm-up", "500", "--batch", "64"],
    "search": ["es", "CartPole-v1"],
}


class Sample(NamedTuple):
    """What all processes of a run hold at an instant."""

    seconds: float
    memory: float
    """Proportional set size of the pages that are not a file's, MiB: pages that several of them share count once.

    Pages of libraries are left out, since a process's part of them depends on what other programs have loaded.
    """
    files: int
    shared: float
    """Pages of shared memory, MiB, each process's counted."""


def mebibytes(pid: int, table: str, *rows: str) -> float:
    """The sum of these rows of /proc/pid/table, which are in KiB there."""
    lines = Path(f"/proc/{pid}/{table}").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in rows) / 1024


def sample(main: psutil.Process, began: float) -> Sample | None:
    """None where a process ended while it was looked at."""
    with contextlib.suppress(psutil.Error, OSError):
        processes = [main, *main.children(recursive=True)]
        memory = sum(mebibytes(one.pid, "smaps_rollup", "Pss_Anon", "Pss_Shmem") for one in processes)
        shared = sum(mebibytes(one.pid, "status", "RssShmem") for one in processes)
        return Sample(time.monotonic() - began, memory, sum(one.num_fds() for one in processes), shared)
    return None


def slope(seconds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(change a minute, half of its 95 % interval)"""
    x = np.array([block.mean() for block in np.array_split(seconds, BLOCKS)]) / 60
    y = np.array([block.mean() for block in np.array_split(values, BLOCKS)])
    (rate, start), spread = np.polyfit(x, y, 1), np.sum((x - x.mean()) ** 2)
    deviation = np.sum((y - start - rate * x) ** 2) / (BLOCKS - 2)
    return float(rate), float(STUDENT * np.sqrt(deviation / spread))


def soak(words: list[str], folder: Path) -> list[Sample]:
    """Samples of a run; it is ended by Ctrl-C."""
    command = [sys.executable, "-m", "asyncrl", "train", *words, "--mode", "async", "--workers", "2", "--steps", str(10**9)]
    log = folder / "log"
    with log.open("w") as told:
        process = subprocess.Popen([*command, "--runs", str(folder), "--name", "run"], stdout=told, stderr=subprocess.STDOUT)
        samples: list[Sample] = []
        try:
            metrics, patience = folder / "run" / "metrics.jsonl", time.monotonic() + 240
            while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None and time.monotonic() < patience:
                time.sleep(0.2)
            began = time.monotonic()
            main = psutil.Process(process.pid)
            while time.monotonic() < began + SOAK_SECONDS and process.poll() is None:
                if one := sample(main, began):
                    samples.append(one)
                time.sleep(EVERY)
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=120)
    assert code == 130, log.read_text()
    return samples


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS + 600)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_nothing_grows(topology, tmp_path):
    samples = soak(TOPOLOGIES[topology], tmp_path)
    kept = np.array([one for one in samples if one.seconds >= WARM_UP * SOAK_SECONDS])
    assert len(kept) >= 2 * BLOCKS, f"{len(samples)} samples"
    minutes, grown = (kept[-1, 0] - kept[0, 0]) / 60, []
    for column, (what, most) in enumerate(MOST.items(), start=1):
        rate, half = slope(kept[:, 0], kept[:, column])
        told = f"{rate:+.4f} a minute ({rate - half:+.4f} to {rate + half:+.4f})"
        print(f"{topology}, {minutes:.1f} minutes: {what} {kept[:, column].mean():.1f}, {told}, in all at most {most:+.0f}")
        if rate * minutes > most:
            grown.append(what)
    assert not grown
