"""asyncrl: asynchronous reinforcement learning on one multicore workstation.

``train``, ``run``, ``resume``, ``load``, ``export``, ``evaluate``, ``play``, ``landscape``, ``minimize``, ``replay``, ``study``,
``worker`` and ``Experiment`` are the Python API; they load when first used. The environments ``asyncrl/...`` are registered with gymnasium.
"""

from importlib import import_module
from typing import Any

from asyncrl.processes.scratch import find_numba_cache
from asyncrl.registration import register_environments

find_numba_cache()
register_environments()

__version__ = "0.1.0"
__all__ = [
    "Experiment",
    "Minimum",
    "Result",
    "evaluate",
    "export",
    "landscape",
    "load",
    "minimize",
    "play",
    "replay",
    "resume",
    "run",
    "study",
    "train",
    "worker",
]

_PLACES = {
    "Experiment": "experiment.experiment",
    "Result": "experiment.experiment",
    "export": "session.exporting",
    "landscape": "landscapes.landscape",
    "load": "session.learned",
    "minimize": "minimization",
    "Minimum": "minimization",
    "replay": "session.replaying",
    "study": "studies.making",
    "worker": "processes.identity",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'asyncrl' has no attribute {name!r}")
    return getattr(import_module(f"asyncrl.{_PLACES.get(name, 'api')}"), name)
