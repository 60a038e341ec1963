"""Detection of wrappers that keep running statistics, which would differ between the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

WITHIN = ("env", "_env", "venv")
"""Names of the attribute in which wrappers, also those of vector environments, keep the wrapped environment."""
ATTRIBUTES = {"obs_rms": "observations", "return_rms": "rewards", "ret_rms": "rewards"}
CLASSES = {"NormalizeObservation": "observations", "NormalizeReward": "rewards"}


def running_statistics(env: Any) -> tuple[tuple[str, str], ...]:
    """(class, "observations" or "rewards") of every layer that updates running statistics, from the outermost wrapper inwards."""
    return tuple((type(layer).__name__, what) for layer in _layers(env) for what in _kept(layer))


def _layers(env: Any) -> Iterator[Any]:
    seen: list[Any] = []
    while env is not None and not any(env is one for one in seen):
        seen.append(env)
        yield env
        env = next((part for name in WITHIN if (part := getattr(env, "__dict__", {}).get(name)) is not None), None)


def _kept(layer: Any) -> list[str]:
    """What one layer keeps statistics of, without repetition."""
    if getattr(layer, "update_running_mean", True) is False or getattr(layer, "training", True) is False:
        return []  # they are not updated, so they are the same in every process
    names = [base.__name__ for base in type(layer).__mro__]
    attributes = getattr(layer, "__dict__", {})
    found = [what for name, what in CLASSES.items() if name in names]
    found += [what for name, what in ATTRIBUTES.items() if attributes.get(name) is not None]
    if not found and any("RunningMeanStd" in type(value).__name__ for value in attributes.values()):
        found.append("observations or rewards")
    return list(dict.fromkeys(found))


def advice(found: tuple[tuple[str, str], ...], options: Any) -> str | None:
    """The warning about such wrappers, with the algorithm's `options` to use instead; None if there are none."""
    if not found:
        return None
    names = " and ".join(dict.fromkeys(name for name, _ in found))
    of = " ".join(what for _, what in found)
    instead = [_instead(what, options) for what in ("observations", "rewards") if what in of]
    several = len({name for name, _ in found}) > 1
    return (
        f"{names} in the environment {'keep' if several else 'keeps'} running statistics, each process its own: "
        f"workers do not share them, and evaluation begins with empty ones; instead use {' and '.join(instead)}"
    )


def _instead(what: str, options: Any) -> str:
    if what == "observations":
        own = hasattr(options, "normalize_observations")
        return "--normalize-observations" if own else "a fixed scale of observations (gymnasium's TransformObservation)"
    if hasattr(options, "reward_scale"):
        return "--reward-scale"
    return "no scale of rewards at all (a search compares whole returns)"
