"""Updates a second of TD3's and SAC's learners on each device that is here. Usage: python runs/learner_device.py

Writes runs/reference/learner-device.json: for hidden layers of several widths and batches of several sizes, the updates a second
(median over slices, drawing from the replay and copying the batch included), and each device's rate over the processor's.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asyncrl.algos.devices import names_here, place_of
from asyncrl.algos.sac import Sac, SacOptions
from asyncrl.algos.td3 import Td3, Td3Options
from asyncrl.replay.records import fields_of
from asyncrl.replay.store import Replay

OBSERVATION, ACTION = 17, 6
WIDTHS, BATCHES = (64, 256, 1024), (256, 1024)
SLICES, SLICE_SECONDS = 5, 0.5


def filled_replay() -> Replay:
    """Of random transitions."""
    generator = np.random.default_rng(0)
    replay = Replay.private(100_000, fields_of(((OBSERVATION,), np.float32), ACTION), 0.99)
    views = replay.record.views(replay._rows)
    for name in ("observation", "next_observation", "reward"):
        views[name][...] = generator.standard_normal(views[name].shape)
    views["action"][...] = generator.uniform(-1, 1, views["action"].shape)
    views["discount"][...] = 0.99
    replay._words[:2] = replay.capacity
    return replay


def rate(learner: Any, replay: Replay, batch: int) -> float:
    """Updates a second."""
    generator = np.random.default_rng(0)
    rates = []
    for _ in range(SLICES + 1):
        began, updates = time.perf_counter(), 0
        while time.perf_counter() - began < SLICE_SECONDS or updates < 2:
            learner.update(replay.draw(generator, batch))  # its figures are numbers of the host: it has waited for the device
            updates += 1
        rates.append(updates / (time.perf_counter() - began))
    return float(np.median(rates[1:]))


def measure() -> dict[str, Any]:
    """All rows."""
    replay, rows = filled_replay(), []
    for (name, kind, options), width, batch in itertools.product(
        (("td3", Td3, Td3Options), ("sac", Sac, SacOptions)), WIDTHS, BATCHES
    ):
        row: dict[str, Any] = {"algo": name, "hidden": [width, width], "batch": batch}
        for device in names_here():
            learner = kind(OBSERVATION, ACTION, options(batch=batch), 0, (width, width), place_of(device))
            row[device] = round(rate(learner, replay, batch), 1)
        rows.append(row | {f"{device}_over_cpu": round(row[device] / row["cpu"], 2) for device in names_here()[1:]})
        print(rows[-1], flush=True)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"command": "python runs/learner_device.py", "torch": torch.__version__, "gpu": gpu, "rows": rows}


if __name__ == "__main__":
    torch.set_num_threads(1)
    file = Path(__file__).parent / "reference" / "learner-device.json"
    file.write_text(json.dumps(measure(), indent=1) + "\n")
