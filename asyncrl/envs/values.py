"""Values as JSON and arrays, without pickle: reading them back never executes code.

Numbers, strings, booleans and None are written as they are; every other value becomes a dict with one tag, such as
``{"tuple": [...]}`` or ``{"array": key, ...}``. Mutable values have an ``"id"``; a second reference to the same object becomes
``{"same": id}``, so that it is one object again after reading. Values that are constant once an environment is made (functions,
classes, models, renderers) become ``{"keep": ...}``: the new environment's own value is kept.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import itertools
import math
import pathlib
import random
import types
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers.utils import RunningMeanStd
from numpy.lib.array_utils import byte_bounds

from asyncrl.envs import simulation

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, np.ufunc, type, types.ModuleType)
_CONSTANTS = (pathlib.PurePath, range, slice, np.dtype)
_FIXED = (*_CONSTANTS, np.generic, enum.Enum, gymnasium.Space, type, types.ModuleType, np.ufunc)
_RENDERERS = ("pygame", "glfw", "gymnasium.envs.mujoco.mujoco_rendering", "mujoco.renderer", "mujoco.viewer", "logging")
_CONTAINERS: dict[type, str] = {list: "list", tuple: "tuple", dict: "dict", set: "set", frozenset: "frozenset", collections.deque: "deque"}
KINDS = "biufcSUmM"  # kinds of dtypes that can be saved: all but objects and records
GENERATORS = {kind.__name__: kind for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)}


class CannotSave(Exception):
    """A value cannot be saved; the text says where it is and why."""


class Writer:
    """Turns values into JSON, and collects their arrays in ``arrays``."""

    def __init__(self, layers: list[gymnasium.Env[Any, Any]]) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._layers = {id(layer) for layer in layers}
        self._known: dict[int, int] = {}
        self._alive: list[Any] = []  # keeps objects alive, since ids are unique only while their objects exist
        self._memory: list[tuple[int, int, str]] = []  # first byte and end of each array, and its place for messages

    def value(self, value: Any, where: str, key: str) -> Any:
        """The JSON of one value. ``where``: its place, for messages; ``key``: prefix of the names of its arrays. Raises CannotSave."""
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value) is bytes:
            return {"bytes": value.hex()}
        if isinstance(value, np.generic):
            return self._scalar(value, where)
        if isinstance(value, enum.Enum):
            return {"enum": type(value).__qualname__, "name": value.name}
        if id(value) in self._layers:
            return {"keep": "layer"}
        if id(value) in self._known:
            return {"same": self._known[id(value)]}
        kept = self._kept(value)
        if kept is not None:
            return kept
        self._alive.append(value)
        if type(value) in (tuple, frozenset):
            return self._container(value, where, key)
        number = self._known[id(value)] = len(self._known)
        return {**self._changeable(value, where, key), "id": number}

    def finish(self) -> None:
        """Raise CannotSave if two arrays share memory, since the restored arrays would not."""
        spans = sorted(self._memory)
        for (_, end, first), (start, _, second) in itertools.pairwise(spans):
            if start < end:
                raise CannotSave(f"{first} and {second} share memory")

    def _changeable(self, value: Any, where: str, key: str) -> dict[str, Any]:
        if type(value) in _CONTAINERS:
            return self._container(value, where, key)
        if type(value) is np.ndarray:
            return self._array(value, where, key)
        if type(value) is np.random.Generator:
            return {"generator": self._generator(value.bit_generator, where, key)}
        if type(value) is np.random.RandomState:
            return {"random_state": self.value(value.get_state(legacy=False), where, key)}
        if type(value) is random.Random:
            return {"random": self.value(value.getstate(), where, key)}
        if isinstance(value, gymnasium.Space):
            return {"space": self._space(value, where, key)}
        if type(value) is RunningMeanStd:
            return {"object": self.value(vars(value), where, key)}
        if simulation.is_data(value):
            self._memory.append((*simulation.memory_of(value), f"the simulation {where}"))
            reason = simulation.why_not(value)
            if reason is not None:
                raise CannotSave(f"{where}: {reason}")
            description, self.arrays[f"{key}.simulation"] = simulation.save(value)
            return {"simulation": description, "key": f"{key}.simulation"}
        more = " with values that can change" if isinstance(value, _FUNCTIONS) else ""
        raise CannotSave(f"{where} has type {type(value).__module__}.{type(value).__qualname__}{more}, which asyncrl cannot save")

    def _container(self, value: Any, where: str, key: str) -> dict[str, Any]:
        parts: Any = value
        if type(value) is dict:
            parts = [part for pair in value.items() for part in pair]
        encoded = [self.value(part, f"{where}[{place}]", f"{key}.{place}") for place, part in enumerate(parts)]
        tag = _CONTAINERS[type(value)]
        return {tag: encoded, "most": value.maxlen} if tag == "deque" else {tag: encoded}

    def _array(self, array: np.ndarray, where: str, key: str) -> dict[str, Any]:
        if array.dtype.kind not in KINDS:
            raise CannotSave(f"{where} is an array of dtype {array.dtype}, which asyncrl cannot save")
        if array.nbytes:
            self._memory.append((*byte_bounds(array), where))
        # saved as bytes, so that the file format need not know the dtype; the order in memory affects the rounding of sums
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        plain = np.array(array, order="C", copy=True)
        self.arrays[key] = np.frombuffer(plain.tobytes(), dtype=np.uint8).copy()
        return {"array": key, "dtype": array.dtype.str, "shape": list(array.shape), "fortran": bool(fortran)}

    def _scalar(self, value: np.generic, where: str) -> dict[str, Any]:
        if value.dtype.kind not in KINDS:
            raise CannotSave(f"{where} has type {type(value).__name__}, which asyncrl cannot save")
        return {"scalar": value.tobytes().hex(), "dtype": value.dtype.str}

    def _generator(self, bits: Any, where: str, key: str) -> dict[str, Any]:
        name = type(bits).__name__
        if GENERATORS.get(name) is not type(bits):
            raise CannotSave(f"{where} draws from {name}, which asyncrl cannot save")
        seeds = bits.seed_seq if isinstance(bits.seed_seq, np.random.SeedSequence) else np.random.SeedSequence(0)
        state, origin = self.value(bits.state, where, f"{key}.state"), self.value(seeds.state, where, f"{key}.seeds")
        return {"kind": name, "state": state, "seeds": origin}

    def _space(self, space: gymnasium.Space[Any], where: str, key: str) -> list[Any]:
        """The generator of a space and of those within; all else about a space is constant."""
        own = self.value(getattr(space, "_np_random", None), where, key)
        return [own, *(self.value(part, where, f"{key}.{place}") for place, part in enumerate(subspaces(space)))]

    def _kept(self, value: Any) -> dict[str, Any] | None:
        """``{"keep": kind, "like": ...}`` for a value that does not change after an environment is made; None for others."""
        if isinstance(value, _FUNCTIONS):
            return {"keep": "function", "like": like(value)} if self._is_fixed(value) else None
        if isinstance(value, _CONSTANTS) or (_frozen(value) and self._is_fixed(value)):
            return {"keep": "constant", "like": like(value)}
        module = type(value).__module__
        if isinstance(value, EnvSpec) or any(module == name or module.startswith(name + ".") for name in _RENDERERS):
            return {"keep": "renderer"}
        if module == "mujoco._structs" and not simulation.is_data(value):
            return {"keep": "model", "like": like(value)}
        return None

    def _is_fixed(self, value: Any, depth: int = 0) -> bool:
        """Whether a function, or another value, and all that it refers to cannot change from one step to the next."""
        if id(value) in self._layers or value is None or type(value) in (bool, int, float, str, bytes) or isinstance(value, _FIXED):
            return True
        return depth < 8 and (parts := _held(value)) is not None and all(self._is_fixed(part, depth + 1) for part in parts)


def subspaces(space: gymnasium.Space[Any]) -> Iterator[gymnasium.Space[Any]]:
    """The spaces that a space consists of."""
    for part in vars(space).values():
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, tuple | list) else (part,)
        yield from (item for item in inner if isinstance(item, gymnasium.Space))


def _frozen(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and type(value).__dataclass_params__.frozen  # type: ignore[attr-defined]


def _held(value: Any) -> list[Any] | None:
    """The values that a function, a tuple or a frozen dataclass refers to; None for other values."""
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        return [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if isinstance(value, types.MethodType | types.BuiltinFunctionType):  # of an object, or of a module
        return [value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if type(value) in (tuple, frozenset):
        return list(value)
    return [getattr(value, field.name) for field in dataclasses.fields(value)] if _frozen(value) else None


def like(value: Any) -> str:
    """A text that is equal for two constants, in any process, if one may be used in place of the other."""
    if isinstance(value, functools.partial):
        return like(value.func)
    if isinstance(value, _FUNCTIONS):
        return str(getattr(value, "__qualname__", getattr(value, "__name__", "?")))
    return repr(value) if isinstance(value, _CONSTANTS) or _frozen(value) else type(value).__name__
