"""Frames per second of Sample Factory 2.1.1's APPO on HalfCheetah beside impala's, on the same cores and one after the other.

It needs an environment of its own, since it wants gymnasium < 1.0 and numpy < 2.0:

    python -m venv sf
    sf/bin/pip install torch==2.13.0 sample-factory==2.1.1 mujoco==3.17.0 imageio
    python runs/peers/sample_factory.py sf/bin/python        # in asyncrl's environment; about 7 minutes on a quiet machine,
                                                             # less with names of SETTINGS behind

Each row is its own example, `python -m sf_examples.mujoco.train_mujoco --env=mujoco_halfcheetah --device=cpu --num_workers=2`,
with the example's settings (8 environments a worker, 64-64 tanh units for policy and value together) but for what SETTINGS adds:
its asynchronous mode, and two towers, which is our network. It steps HalfCheetah-v4, since gymnasium 0.29 has no v5. The figure is
the mean over 60 seconds that it logs itself, from the last line before it is stopped; its --train_for_seconds has no effect, so
this script interrupts it. After each row follows what `asyncrl bench throughput HalfCheetah-v5 --workers 2 --only impala:async
--t-max 5 20 32` measures (32 is impala's default; Sample Factory's rollouts have 64 steps).

Prints both figures of every row and writes runs/reference/peers-sample-factory.json. `ratio` is, for each t_max, the least impala
figure of all rows by the greatest of Sample Factory. `load` is the machine's load average before and after each row: who else ran
takes more from three processes than from Sample Factory's six, so the ratio holds for a quiet machine only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from asyncrl.bench.throughput import bench_throughput

SECONDS = 85.0  # about 12 for the processes to start, 60 for the figure, and one line of the log every 5
EXAMPLE = ["-m", "sf_examples.mujoco.train_mujoco", "--env=mujoco_halfcheetah", "--device=cpu", "--num_workers=2"]
ENDLESS = ["--train_for_env_steps=1000000000", "--restart_behavior=overwrite"]
SEPARATE, ASYNC = "--actor_critic_share_weights=False", "--async_rl=True"
SETTINGS = {"the example": [], "asynchronous": [ASYNC], "asynchronous, two towers": [ASYNC, SEPARATE]}
T_MAX = (5, 20, 32)
PACKAGES = ("sample-factory", "gymnasium", "mujoco", "torch", "numpy")
LINE = re.compile(r"Fps is \(10 sec: ([\d.]+|nan), 60 sec: ([\d.]+|nan)")


def frames_per_second(python: str, arguments: list[str], log: Path) -> float:
    """Run the example for SECONDS; returns the last mean over 60 seconds that it logged. RuntimeError where there is none."""
    with tempfile.TemporaryDirectory() as folder, log.open("w") as lines:
        command = [python, *EXAMPLE, *ENDLESS, *arguments, f"--train_dir={folder}", "--experiment=bench"]
        process = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            time.sleep(SECONDS)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20.0)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing of its processes is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    found = LINE.findall(log.read_text())
    if not found:
        raise RuntimeError(f"no figure in what it printed:\n{log.read_text()[-2000:]}")
    return float(found[-1][1])


def versions_of(python: str) -> dict[str, str]:
    """Versions of what is installed in its environment."""
    code = f"from importlib.metadata import version; print({{name: version(name) for name in {PACKAGES}}})"
    printed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(printed.replace("'", '"')))


def measured(python: str, name: str, arguments: list[str], log: Path) -> dict[str, Any]:
    """One row: its figure, and right after it impala's with the rollouts of `bench throughput`."""
    load = [round(os.getloadavg()[0], 1)]
    theirs = frames_per_second(python, arguments, log)
    bench = bench_throughput("HalfCheetah-v5", workers=2, seconds=7.0, only=["impala:async"], t_max=T_MAX)
    load.append(round(os.getloadavg()[0], 1))
    ours = {str(row["t_max"]): round(row["steps_per_second"], 1) for row in bench["rows"]}
    row = {"setting": name, "command": " ".join(["python", *EXAMPLE, *arguments]), "sample_factory_fps": theirs}
    row |= {"impala_steps_per_second": ours, "limit_steps_per_second": round(bench["limit_steps_per_second"], 1), "load": load}
    print(f"{name}: Sample Factory {theirs:,.0f}, impala {ours} (by t_max)", flush=True)
    return row


def main(python: str, names: list[str]) -> None:
    """Measure these settings and write the file."""
    path = Path(__file__).parents[1] / "reference" / "peers-sample-factory.json"
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(python, name, SETTINGS[name], Path(folder) / "log") for name in names]
    fastest = max(row["sample_factory_fps"] for row in rows)
    least = {t: min(row["impala_steps_per_second"][t] for row in rows) for t in map(str, T_MAX)}
    ratio = {t: round(figure / fastest, 2) for t, figure in least.items()}
    data = {"env": "HalfCheetah", "workers": 2, "seconds": SECONDS, "versions": versions_of(python), "rows": rows}
    data |= {"sample_factory_fps": fastest, "impala_steps_per_second": least, "ratio": ratio}
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(f"ratio by t_max {ratio}: {path}")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(SETTINGS):
        sys.exit(f"usage: python runs/peers/sample_factory.py PYTHON_OF_ITS_ENVIRONMENT [SETTING ...], of {', '.join(SETTINGS)}")
    main(sys.argv[1], sys.argv[2:] or list(SETTINGS))
