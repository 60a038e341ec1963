"""Memory of the processes of `es --head itt` with a million actions: one table of latents, not eight. Usage: python runs/latent_memory.py

Eight workers, d = 20, Pendulum-v1; once with `--lazy 1000`, in whose generations after the first all candidates have the announced action
tower, and once with `--lazy 1`, in which every candidate has one of its own. While each goes on, the memory of all its processes is read
from /proc four times a second. Writes runs/reference/latent-memory.json: in MiB, at the moment at which their sum was what it was in most
(the median), of all processes together the proportional set size that is shared memory (`shared`) and that is their own (`own`), the
largest own part of a worker (`largest_own`), and the resident sets added up, in which what is shared counts for each (`resident`).
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

import asyncrl

WORKERS, ACTIONS, LATENT = 8, 1_000_000, 20
STEPS = 200 * 16 * 6
"""Of six generations."""


def descendants() -> list[int]:
    """The processes below this one."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
    found: list[int] = []
    below = {os.getpid()}
    while below:
        below = {process for process, parent in parents.items() if parent in below}
        found += below
    return found


def sizes(process: int) -> dict[str, float]:
    """Its memory in MiB, by the names of smaps_rollup; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


def measured(lazy: int) -> dict[str, Any]:
    """Of a run with this option, as the module says."""
    samples: list[dict[str, float]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            of_each = [one for one in map(sizes, descendants()) if one]
            own = [one["Pss_Anon"] for one in of_each]
            shared, resident = sum(one["Pss_Shmem"] for one in of_each), sum(one["Rss"] for one in of_each)
            of_all = {"shared": shared, "own": sum(own), "largest_own": max(own, default=0.0), "resident": resident}
            samples.append({"processes": len(own), **of_all})

    watcher = threading.Thread(target=watch)
    watcher.start()
    given = {"head": "itt", "latent": LATENT, "set_size": ACTIONS, "state_layers": 2, "population": 16, "lazy": lazy, "workers": WORKERS}
    with tempfile.TemporaryDirectory() as runs:
        result = asyncrl.train("es", "Pendulum-v1", runs=runs, steps=STEPS, quiet=True, evaluation_episodes=0, **given)  # type: ignore[arg-type]
    over.set()
    watcher.join()
    full = [one for one in samples if one["processes"] == max(other["processes"] for other in samples)]
    last = full[len(full) // 3 :]
    median = sorted(last, key=lambda one: one["shared"] + one["own"])[len(last) // 2]
    return {"lazy": lazy, **{name: round(value, 1) for name, value in median.items()}, "embedded": result.summary["latents_embedded"]}


def main() -> None:
    table = ACTIONS * LATENT * np.dtype(np.float32).itemsize / 2**20
    found = {"workers": WORKERS, "table": round(table, 1), "rows": [measured(lazy) for lazy in (1000, 1)]}
    print(json.dumps(found, indent=1))
    Path(__file__).with_name("reference").joinpath("latent-memory.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
