"""The smallest runs of every algorithm, for tests that hold of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import Run, train
from safetensors.numpy import load_file

from asyncrl.algos import ALGORITHMS
from asyncrl.store.checkpoint import newest

_REPLAY = {"hidden": (16, 16), "batch": 16, "warm_up": 40, "replay": 1000, "steps": 200}
_SEARCH = {"population": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"t_max": 20, "minibatch": 16, "epochs": 2},
    "ddpg": _REPLAY,
    "td3": _REPLAY,
    "sac": _REPLAY,
}
QUICK = ("a3c", "impala", "td3", "es")
"""One of each kind; the others are slow tests."""

RUNS = [algo if algo in QUICK else pytest.param(algo, marks=pytest.mark.slow) for algo in ALGORITHMS]
"""All algorithms, to parametrise a test with."""
STEPWISE = [one for one, algo in zip(RUNS, ALGORITHMS) if not ALGORITHMS[algo].searches]
"""Those that learn from single steps."""


def having(option: str) -> list[Any]:
    """Those that have an option of this name."""
    return [one for one, algo in zip(RUNS, ALGORITHMS) if ALGORITHMS[algo].options_type.has(option)]


def tiny(folder: Path, algo: str, beside: Any = None, **settings: Any) -> Run:
    """A run of some rounds, with two workers unless told otherwise."""
    entry = ALGORITHMS[algo]
    usual = _SEARCH if entry.searches else {"t_max": 10}
    env = "CartPole-v1" if "discrete" in entry.action_kinds else "Pendulum-v1"
    given = {"workers": 2, "steps": 400, **usual, **SETTINGS.get(algo, {}), **settings}
    return train(folder, given.pop("env", env), beside, algo=algo, **given)


def everything(folder: Path) -> dict[str, bytes]:
    """All arrays of the newest checkpoint but the ledger, which tells of seconds, and tickets that belong to no version yet."""
    files = sorted(newest(folder).glob("*.safetensors"))
    arrays = {f"{file.name} {name}": array for file in files for name, array in load_file(file).items()}
    return {name: array.tobytes() for name, array in arrays.items() if not name.endswith(" ledger") and " tickets/" not in name}
