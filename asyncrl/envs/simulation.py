"""The state of a MuJoCo simulation, bit for bit.

``mj_setState`` restores the state from which the next step is computed. The rest of MjData, such as the positions of bodies,
is one substep behind it after ``mj_step``, and some environments read it before their next step: those arrays are copied
too. Not restored are the arena (contacts, constraints), which every step computes before it is read, and integers, which
are indices that the model determines: so a damaged file cannot make MuJoCo read outside of its memory.

MuJoCo need not be installed: it is used only if something else has imported it.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np


def is_data(value: Any) -> bool:
    """Whether a value is an MjData."""
    known = getattr(sys.modules.get("mujoco"), "MjData", None)
    return known is not None and isinstance(value, known)


def why_not(data: Any) -> str | None:
    """Why a simulation cannot be saved; None if it can."""
    if data.model.nplugin:
        return "MuJoCo plugins keep state of their own"
    if data.model.opt.enableflags & int(getattr(_mujoco().mjtEnableBit, "mjENBL_SLEEP", 0)):
        return "bodies that MuJoCo puts to sleep cannot be restored"
    return None


def digest(model: Any) -> str:
    """A checksum of a model's binary form, by which two models are compared."""
    mujoco = _mujoco()
    buffer = np.zeros(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.blake2b(buffer.tobytes(), digest_size=16).hexdigest()


def memory_of(data: Any) -> tuple[int, int]:
    """Address of the buffer that holds MjData's arrays, and of its end."""
    start = data.qpos.ctypes.data  # the first array of the buffer
    return start, start + data.nbuffer


def save(data: Any) -> tuple[dict[str, Any], np.ndarray]:
    """The names and sizes of a simulation's parts, and the parts one after another as uint8 [bytes]."""
    mujoco = _mujoco()
    state = np.empty(mujoco.mj_stateSize(data.model, mujoco.mjtState.mjSTATE_INTEGRATION), dtype=np.float64)
    mujoco.mj_getState(data.model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    fields = _fields(data)
    whole = b"".join([state.tobytes(), *(field.tobytes() for field in fields.values())])
    sizes = {name: int(field.nbytes) for name, field in fields.items()}
    return {"state": int(state.nbytes), "fields": sizes, "model": digest(data.model)}, np.frombuffer(whole, dtype=np.uint8).copy()


def check(data: Any, description: dict[str, Any], whole: np.ndarray) -> None:
    """Raise ValueError if saved parts, whole[bytes] with their description, do not belong to this simulation."""
    if description["model"] != digest(data.model):
        raise ValueError("the simulation's model is another one")
    mujoco = _mujoco()
    here = {name: int(field.nbytes) for name, field in _fields(data).items()}
    size = 8 * mujoco.mj_stateSize(data.model, mujoco.mjtState.mjSTATE_INTEGRATION)
    if description["fields"] != here or description["state"] != size or whole.dtype != np.uint8 or whole.size != size + sum(here.values()):
        raise ValueError("the simulation has other parts")


def load(data: Any, description: dict[str, Any], whole: np.ndarray) -> None:
    """Restore a simulation in place from parts whole[bytes] that have passed ``check``."""
    mujoco = _mujoco()
    raw = np.ascontiguousarray(whole).tobytes()
    at = description["state"]
    mujoco.mj_setState(data.model, data, np.frombuffer(raw, np.float64, at // 8).copy(), mujoco.mjtState.mjSTATE_INTEGRATION)
    # after mj_setState, since these arrays must have their saved values, whatever it computes
    for field in _fields(data).values():
        np.copyto(field, np.frombuffer(raw, field.dtype, field.size, at).reshape(field.shape))
        at += field.nbytes


def _fields(data: Any) -> dict[str, np.ndarray]:
    """The arrays of floats and booleans in the buffer, whose sizes the model determines, and the energies."""
    start, end = memory_of(data)
    found: dict[str, np.ndarray] = {}
    for name in sorted(dir(type(data))):
        field = None if name.startswith("_") else getattr(data, name)
        if not isinstance(field, np.ndarray) or not field.size or field.dtype.kind not in "fb":
            continue
        if start <= field.ctypes.data < end or name == "energy":
            found[name] = field
    return found


def _mujoco() -> Any:
    import mujoco

    return mujoco
