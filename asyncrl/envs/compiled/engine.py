"""MuJoCo's own C functions for compiled code, and what all environments on MuJoCo share.

The functions are those of the library that the bindings have loaded, named as symbols, so that what is compiled can be kept on disk. A
model's and a simulation's memory is read and written where it lies: by its address, for as long as the environment exists, which
keeps both alive.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any

import llvmlite.binding
import mujoco
import numpy as np
from numba import types

from asyncrl.envs.compiled.arithmetic import clipped, product_and_sum
from asyncrl.envs.compiled.simulator import Simulator, simulating
from asyncrl.processes.last_words import end
from asyncrl.shared.bundles import array_at

_LIBRARIES = sorted(Path(mujoco.__file__).parent.glob("libmujoco.*"))
"""The library beside the bindings: the file that they have loaded, so it is loaded once."""
for _library in _LIBRARIES:
    llvmlite.binding.load_library_permanently(str(_library))


@ctypes.CFUNCTYPE(None, ctypes.c_char_p)
def _at_fatal_error(text: bytes) -> None:
    """MuJoCo calls this with the text of an error, and would go on in the middle of nowhere if it returned.

    Calls through the bindings have a handler of their own, which raises mujoco.FatalError.
    """
    end(f"MuJoCo ended the process: {text.decode(errors='replace')}")


for _library in _LIBRARIES:
    ctypes.c_void_p.in_dll(ctypes.CDLL(str(_library)), "mju_user_error").value = ctypes.cast(_at_fatal_error, ctypes.c_void_p).value

_of_model_and_data = types.void(types.int64, types.int64)
mj_step = types.ExternalFunction("mj_step", _of_model_and_data)
mj_rne_post_constraint = types.ExternalFunction("mj_rnePostConstraint", _of_model_and_data)

MODEL, DATA, FRAMES, ACTUATORS, POSITIONS, SPEEDS, CONTROL, POSITION, SPEED, OWN = range(10)
"""Positions in `words`: addresses of the model and the simulation; how many steps of MuJoCo's a step is; how many numbers control, qpos
and qvel have, and their addresses. OWN: from here on the environment's own."""


@simulating
def vector(address, size):  # type: ignore[no-untyped-def]
    """The array [size] of float64 at an address."""
    return array_at(address, (size,), np.float64)


@simulating
def advance(words, action):  # type: ignore[no-untyped-def]
    """One step of the environment: action[A] as control, so many steps of MuJoCo's, and the forces on bodies after them."""
    control = vector(words[CONTROL], words[ACTUATORS])
    for i in range(control.size):
        control[i] = action[i]
    for _ in range(words[FRAMES]):
        mj_step(words[MODEL], words[DATA])
    mj_rne_post_constraint(words[MODEL], words[DATA])


@simulating
def travel(words, action):  # type: ignore[no-untyped-def]
    """`advance` with action[A], and how far the first of the positions has moved in it."""
    place = vector(words[POSITION], 1)
    before = place[0]
    advance(words, action)
    return place[0] - before


@simulating
def observe(words, hidden, most, observation):  # type: ignore[no-untyped-def]
    """Write qpos without its first `hidden` numbers, then qvel within +-`most`, to observation[D]; returns how many these are."""
    place, speed = vector(words[POSITION], words[POSITIONS]), vector(words[SPEED], words[SPEEDS])
    shown = place.size - hidden
    for i in range(shown):
        observation[i] = place[hidden + i]
    for i in range(speed.size):
        observation[shown + i] = clipped(speed[i], -most, most)
    return shown + speed.size


@simulating
def squares(values):  # type: ignore[no-untyped-def]
    """The sum of the squares of values[n], n from 1 to 128, in their own type and in the order in which numpy adds."""
    n = values.size
    zero = values[0] - values[0]
    if n < 8:
        total = zero
        for i in range(n):
            total += values[i] * values[i]
        return total
    r0, r1, r2, r3 = values[0] * values[0], values[1] * values[1], values[2] * values[2], values[3] * values[3]
    r4, r5, r6, r7 = values[4] * values[4], values[5] * values[5], values[6] * values[6], values[7] * values[7]
    i = 8
    while i + 8 <= n:
        r0 += values[i] * values[i]
        r1 += values[i + 1] * values[i + 1]
        r2 += values[i + 2] * values[i + 2]
        r3 += values[i + 3] * values[i + 3]
        r4 += values[i + 4] * values[i + 4]
        r5 += values[i + 5] * values[i + 5]
        r6 += values[i + 6] * values[i + 6]
        r7 += values[i + 7] * values[i + 7]
        i += 8
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    while i < n:
        total += values[i] * values[i]
        i += 1
    return total


@simulating
def distance(one, other):  # type: ignore[no-untyped-def]
    """Of two places [3], as numpy's norm: its sum of squares is the BLAS library's, which rounds each product and addition once."""
    x, y, z = one[0] - other[0], one[1] - other[1], one[2] - other[2]
    return math.sqrt(product_and_sum(z, z, product_and_sum(y, y, x * x)))  # type: ignore[call-arg]


def body(environment: Any, name: int | str) -> int:
    """The address of the place [3] of a body of an environment's."""
    data = environment.data
    return int(data.xpos.ctypes.data) + int(data.body(name).id) * data.xpos.strides[0]


class MujocoSimulator(Simulator):
    """Steps an environment on MuJoCo. Its state is the simulation's own memory, so there is nothing to take over or to give back."""

    def __init__(self, environment: Any, words: int = OWN, numbers: int = 1):
        super().__init__(environment, words, numbers)

    @classmethod
    def why_not(cls, environment: Any) -> str | None:
        if any(getattr(mujoco, name)() is not None for name in dir(mujoco) if name.startswith("get_mjcb_")):
            return "MuJoCo calls functions of Python (mjcb)"
        return None

    def adopt(self) -> None:
        one = self.environment
        model, data = one.model, one.data
        self.words[:OWN] = (
            *(model._address, data._address, one.frame_skip, model.nu, model.nq, model.nv),
            *(data.ctrl.ctypes.data, data.qpos.ctypes.data, data.qvel.ctypes.data),
        )
        self.describe(one)

    def describe(self, environment: Any) -> None:
        """Write what is the environment's own into words[OWN:] and numbers."""
        raise NotImplementedError

    def settle(self) -> None:
        """Nothing: the state is where it always was."""
