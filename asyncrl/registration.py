"""The ids of asyncrl's own environments, which gymnasium knows as soon as both are imported, in whatever order.

`import asyncrl` does not import gymnasium, which takes a third of a second. So where gymnasium is not there yet, its registry is
waited for: an import hook registers the ids right after gymnasium has loaded it, and is gone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_REGISTRY = "gymnasium.envs.registration"
_FOLDER = "asyncrl.envs.local_optima"


@dataclass(frozen=True)
class Registered:
    """One id: `NAME` in ``asyncrl/NAME-v0``, where it is made (``module:function``), its time limit in steps, and arguments."""

    name: str
    entry_point: str
    steps: int
    arguments: dict[str, Any] = field(default_factory=dict)


def _restricted(task: str) -> list[Registered]:
    place = f"{_FOLDER}.restricted_mujoco:restricted_mujoco"
    words = {"": "code", "Hard": "hard", "Harder": "harder"}
    return [Registered(f"Restricted{task}{word}", place, 1000, {"task": task, "difficulty": words[word]}) for word in words]


_TASKS = ("InvertedPendulum", "InvertedDoublePendulum", "Hopper", "Walker2d", "HalfCheetah", "Ant")
OURS = [
    *(one for task in _TASKS for one in _restricted(task)),
    Registered("MiningExpedition", f"{_FOLDER}.mining:MiningExpedition", 100),
    Registered("MiningExpedition104", f"{_FOLDER}.mining:MiningExpedition", 100, {"n_tools": 100, "kinds": 20, "extra_dims": 5}),
    Registered("RecSim", f"{_FOLDER}.recsim:RecSim", 20, {"n_items": 10_000}),
    Registered("RecSim100k", f"{_FOLDER}.recsim:RecSim", 20, {"n_items": 100_000}),
    Registered("RecSim500k", f"{_FOLDER}.recsim:RecSim", 20, {"n_items": 500_000}),
    Registered("RecSimData", f"{_FOLDER}.recsim_data:RecSimData", 80),
    Registered("RecSimDataSynthetic", f"{_FOLDER}.recsim_data:RecSimData", 80, {"synthetic": True}),
]


def register_environments() -> None:
    """Register the ids, now if gymnasium is imported, else as soon as it is."""
    loaded = sys.modules.get(_REGISTRY)
    if loaded is not None:
        _register(loaded)
    elif not any(isinstance(one, _Waiting) for one in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


def _register(registration: ModuleType) -> None:
    for one in OURS:
        if f"asyncrl/{one.name}-v0" not in registration.registry:
            registration.register(f"asyncrl/{one.name}-v0", one.entry_point, max_episode_steps=one.steps, kwargs=one.arguments)


class _Waiting:
    """Finds gymnasium's registry as it would be found without this, and has the ids registered once it is loaded."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own specification, for the registry; None for every other module: others look for it."""
        if name != _REGISTRY:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        found = importlib.util.find_spec(name)
        if found is not None and found.loader is not None:
            _then(found.loader, _register)
        return found


def _then(loader: Any, after: Callable[[ModuleType], None]) -> None:
    """Have `after` called with the module when `loader` has loaded it."""
    load = loader.exec_module

    def load_and_register(module: ModuleType) -> None:
        load(module)
        after(module)

    loader.exec_module = load_and_register
