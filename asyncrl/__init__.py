"""asyncrl: asynchronous reinforcement learning on one multicore workstation.

``train``, ``run``, ``resume``, ``evaluate``, ``play`` and ``Experiment`` are the Python API; they load when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Experiment", "Result", "evaluate", "play", "resume", "run", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'asyncrl' has no attribute {name!r}")
    module = "asyncrl.experiment" if name in ("Experiment", "Result") else "asyncrl.api"
    return getattr(import_module(module), name)
