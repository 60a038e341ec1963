"""The reading side of ``asyncrl.envs.values``: values from JSON and arrays. No name in them is looked up or called."""

from __future__ import annotations

import collections
import enum
import random
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

from asyncrl.envs import simulation
from asyncrl.envs.values import GENERATORS, KINDS, like, subspaces

MISSING: Any = object()


class Reader:
    """Makes values from JSON. Changes to objects of the new environment are collected in ``actions``, to be made after all was read.

    Data that is malformed or does not fit raises ValueError, KeyError, TypeError, IndexError or AttributeError.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.actions: list[Callable[[], object]] = []
        self._arrays = arrays
        self._known: dict[int, Any] = {}

    def value(self, encoded: Any, current: Any) -> Any:
        """The value that ``encoded`` stands for. ``current`` is the new environment's value in its place, or MISSING."""
        if encoded is None or type(encoded) in (bool, int, float, str):
            return encoded
        if type(encoded) is not dict:
            raise ValueError(f"a {type(encoded).__name__} where a tagged value was expected")
        if "same" in encoded:
            return self._known[encoded["same"]]
        tag = next((name for name in _TAGS if name in encoded), None)
        if tag is None:
            raise ValueError(f"a value with the unknown tags {', '.join(encoded)}")
        return _TAGS[tag](self, encoded, current)

    def _know(self, encoded: dict[str, Any], value: Any) -> Any:
        if "id" in encoded:
            self._known[encoded["id"]] = value
        return value

    def _kept(self, encoded: dict[str, Any], current: Any) -> Any:
        if encoded["keep"] == "renderer":  # it is created when it is needed
            return current
        if current is MISSING or ("like" in encoded and encoded["like"] != like(current)):
            raise ValueError(f"the {encoded['keep']} {encoded.get('like', '')} is another one in the new environment")
        return current

    def _list(self, encoded: dict[str, Any], current: Any) -> Any:
        made: Any = self._know(encoded, [])
        made.extend(self._items(encoded["list"], current))
        return made

    def _tuple(self, encoded: dict[str, Any], current: Any) -> Any:
        return tuple(self._items(encoded["tuple"], current))

    def _set(self, encoded: dict[str, Any], current: Any) -> Any:
        return self._know(encoded, set(self._items(encoded["set"], MISSING)))

    def _frozenset(self, encoded: dict[str, Any], current: Any) -> Any:
        return frozenset(self._items(encoded["frozenset"], MISSING))

    def _deque(self, encoded: dict[str, Any], current: Any) -> Any:
        made: Any = self._know(encoded, collections.deque(maxlen=encoded["most"]))
        made.extend(self._items(encoded["deque"], current))
        return made

    def _items(self, encoded: list[Any], current: Any) -> list[Any]:
        beside = list(current) if isinstance(current, list | tuple | collections.deque) else []
        beside += [MISSING] * (len(encoded) - len(beside))
        return [self._present(part, here) for part, here in zip(encoded, beside)]

    def _dict(self, encoded: dict[str, Any], current: Any) -> Any:
        made: Any = self._know(encoded, {})
        for name, part in zip(encoded["dict"][0::2], encoded["dict"][1::2], strict=True):
            key = self.value(name, MISSING)
            made[key] = self._present(part, current.get(key, MISSING) if isinstance(current, dict) else MISSING)
        return made

    def _present(self, encoded: Any, current: Any) -> Any:
        value = self.value(encoded, current)
        if value is MISSING:
            raise ValueError("a part is not there in the new environment")
        return value

    def _array(self, encoded: dict[str, Any], current: Any) -> Any:
        data, dtype = np.ascontiguousarray(self._arrays[encoded["array"]]).tobytes(), _dtype(encoded)
        made: np.ndarray = np.ndarray(tuple(encoded["shape"]), dtype, buffer=data)
        if made.nbytes != len(data):
            raise ValueError(f"array {encoded['array']} has {len(data)} bytes, {made.nbytes} were expected")
        return self._know(encoded, made.copy(order="F" if encoded["fortran"] else "C"))

    def _scalar(self, encoded: dict[str, Any], current: Any) -> Any:
        return np.ndarray((1,), _dtype(encoded), buffer=bytes.fromhex(encoded["scalar"]))[0]

    def _enum(self, encoded: dict[str, Any], current: Any) -> Any:
        if not isinstance(current, enum.Enum) or type(current).__qualname__ != encoded["enum"]:
            raise ValueError(f"a member of {encoded['enum']} was expected")
        return type(current)[encoded["name"]]

    def _generator(self, encoded: dict[str, Any], current: Any) -> Any:
        parts = encoded["generator"]
        bits = GENERATORS[parts["kind"]](np.random.SeedSequence(**self.value(parts["seeds"], MISSING)))
        bits.state = self.value(parts["state"], MISSING)
        return self._know(encoded, np.random.Generator(bits))

    def _random_state(self, encoded: dict[str, Any], current: Any) -> Any:
        made = np.random.RandomState()
        made.set_state(self.value(encoded["random_state"], MISSING))
        return self._know(encoded, made)

    def _random(self, encoded: dict[str, Any], current: Any) -> Any:
        made = random.Random()
        made.setstate(self.value(encoded["random"], MISSING))
        return self._know(encoded, made)

    def _space(self, encoded: dict[str, Any], current: Any) -> Any:
        if not isinstance(current, gymnasium.Space):
            raise ValueError("a space was expected")
        self._know(encoded, current)
        own = self.value(encoded["space"][0], MISSING)
        self.actions.append(lambda: setattr(current, "_np_random", own))
        for part, space in zip(encoded["space"][1:], subspaces(current), strict=True):
            self.value(part, space)
        return current

    def _object(self, encoded: dict[str, Any], current: Any) -> Any:
        if type(current) is not RunningMeanStd:
            raise ValueError("a RunningMeanStd was expected")
        parts = self.value(encoded["object"], vars(current))
        self.actions.append(lambda: vars(current).update(parts))
        return self._know(encoded, current)

    def _simulation(self, encoded: dict[str, Any], current: Any) -> Any:
        if not simulation.is_data(current):
            raise ValueError("a MuJoCo simulation was expected")
        whole = self._arrays[encoded["key"]]
        simulation.check(current, encoded["simulation"], whole)
        self.actions.append(lambda: simulation.load(current, encoded["simulation"], whole))
        return self._know(encoded, current)


def _dtype(encoded: dict[str, Any]) -> np.dtype:
    dtype = np.dtype(str(encoded["dtype"]))
    if dtype.kind not in KINDS:
        raise ValueError(f"dtype {dtype} is not allowed")
    return dtype


_TAGS: dict[str, Callable[[Reader, dict[str, Any], Any], Any]] = {
    "keep": Reader._kept,
    "float": lambda _, encoded, __: float(encoded["float"]),
    "bytes": lambda _, encoded, __: bytes.fromhex(encoded["bytes"]),
    "list": Reader._list,
    "tuple": Reader._tuple,
    "dict": Reader._dict,
    "set": Reader._set,
    "frozenset": Reader._frozenset,
    "deque": Reader._deque,
    "array": Reader._array,
    "scalar": Reader._scalar,
    "enum": Reader._enum,
    "generator": Reader._generator,
    "random_state": Reader._random_state,
    "random": Reader._random,
    "space": Reader._space,
    "object": Reader._object,
    "simulation": Reader._simulation,
}
