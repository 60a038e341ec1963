"""Saving and restoring an environment bit for bit, without pickle: reading a state never executes code.

The layers from the outermost wrapper to the innermost environment are saved one by one, each with its attributes. Variables
outside of these objects are not saved: globals, attributes of classes, and state outside of Python. (The process's global random
generators are saved by `asyncrl.envs.generators`.) An environment with such state can define the following two methods, which
then save all of it (not of its wrappers), including its random generator:

    save_state(self) -> tuple[dict, dict[str, np.ndarray]]      the dict must survive JSON
    load_state(self, json_part: dict, arrays: dict[str, np.ndarray]) -> None
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from asyncrl.envs.reading import MISSING, Reader
from asyncrl.envs.values import KINDS, CannotSave, Writer
from asyncrl.errors import UserError

_VERSION = 1
# what gymnasium derives from how an environment was made
_CONSTANT = {"env", "spec", "_cached_spec", "metadata", "_metadata", "_saved_kwargs", "_ezpickle_args", "_ezpickle_kwargs"}

State = tuple[dict[str, Any], dict[str, np.ndarray]]


def save_state(env: gymnasium.Env[Any, Any]) -> State | None:
    """The state of an environment as a dict for JSON, and arrays by name; None if ``why_not`` gives a reason."""
    try:
        return _save(env)
    except CannotSave:
        return None


def why_not(env: gymnasium.Env[Any, Any]) -> str | None:
    """Why an environment cannot be saved, with the layer, the attribute and its type; None if it can."""
    try:
        _save(env)
    except CannotSave as reason:
        return str(reason)
    return None


def load_state(env: gymnasium.Env[Any, Any], json_part: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Restore a state into an environment that was newly made from the same source and reset once.

    Raises UserError if the state does not belong to this environment or is damaged; then the environment is unchanged,
    unless its own ``load_state`` has failed.
    """
    layers = _layers(env)
    try:
        actions = _read(layers, json_part, arrays)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as problem:
        raise UserError(f"the saved state does not fit the environment {env}: {problem}") from problem
    for action in actions:
        action()


def _save(env: gymnasium.Env[Any, Any]) -> State:
    layers = _layers(env)
    writer = Writer(layers)
    saved = []
    for number, layer in enumerate(layers):
        kind = type(layer).__qualname__
        if _saves_itself(layer):
            saved.append({"class": kind, "own": _save_own(layer, number, writer.arrays)})
            continue
        attributes = {
            name: writer.value(value, f"layer {number} ({kind}), attribute {name!r}", f"{number}.{name}")
            for name, value in sorted(_attributes(layer).items())  # the order is then that of JSON with sorted keys
        }
        saved.append({"class": kind, "attributes": attributes})
    writer.finish()
    return {"version": _VERSION, "layers": saved}, writer.arrays


def _read(layers: list[gymnasium.Env[Any, Any]], json_part: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> list[Callable[[], object]]:
    """Read a state completely; returns the functions that will change the environment."""
    if json_part["version"] != _VERSION:
        raise ValueError(f"its version is {json_part['version']}, not {_VERSION}")
    given, expected = ([entry["class"] for entry in json_part["layers"]], [type(layer).__qualname__ for layer in layers])
    if given != expected:
        raise ValueError(f"it has the layers {', '.join(given)}, not {', '.join(expected)}")
    reader = Reader(arrays)
    last: list[Callable[[], object]] = []
    for number, (layer, entry) in enumerate(zip(layers, json_part["layers"])):
        if ("own" in entry) != _saves_itself(layer):
            raise ValueError(f"layer {number} ({entry['class']}) does not save itself in the same way")
        last.append(_load_own(layer, number, entry["own"], arrays) if "own" in entry else _read_layer(layer, entry, reader))
    return reader.actions + last


def _read_layer(layer: gymnasium.Env[Any, Any], entry: dict[str, Any], reader: Reader) -> Callable[[], None]:
    here = _attributes(layer)
    values = {}
    for name, encoded in entry["attributes"].items():
        if name in _CONSTANT:
            raise ValueError(f"attribute {name!r} is not part of a state")
        try:
            values[name] = reader.value(encoded, here.get(name, MISSING))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as problem:
            raise ValueError(f"{entry['class']}, attribute {name!r}: {problem}") from problem

    def apply() -> None:
        for name in here.keys() - values.keys():
            object.__delattr__(layer, name)
        for name, value in values.items():
            if value is not MISSING and value is not here.get(name, MISSING):
                object.__setattr__(layer, name, value)

    return apply


def _layers(env: gymnasium.Env[Any, Any]) -> list[gymnasium.Env[Any, Any]]:
    layers = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _attributes(layer: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """The attributes of one layer, those in slots included."""
    found = dict(vars(layer))
    for base in type(layer).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            name = f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            if name not in ("__dict__", "__weakref__") and hasattr(layer, name):
                found[name] = getattr(layer, name)
    return {name: value for name, value in found.items() if name not in _CONSTANT}


def _saves_itself(layer: Any) -> bool:
    pair = (getattr(type(layer), name, None) for name in ("save_state", "load_state"))
    return not isinstance(layer, gymnasium.Wrapper) and all(callable(method) for method in pair)


def _save_own(layer: Any, number: int, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    own, own_arrays = layer.save_state()
    where = f"layer {number} ({type(layer).__qualname__}), its own save_state"
    try:
        json.dumps(own)
    except (TypeError, ValueError) as problem:
        raise CannotSave(f"{where} gave a dict that is not JSON: {problem}") from problem
    for name, array in own_arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in KINDS:
            raise CannotSave(f"{where} gave {name!r}, which is not an array of numbers")
        arrays[f"{number}.own.{name}"] = array.copy()
    return own


def _load_own(layer: Any, number: int, own: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Callable[[], None]:
    prefix = f"{number}.own."
    parts = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return lambda: layer.load_state(own, parts)
