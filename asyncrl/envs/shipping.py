"""Environments sent to other processes, as parcels."""

from __future__ import annotations

from asyncrl.envs.make import EnvSource
from asyncrl.errors import UserError
from asyncrl.processes.parcels import Parcel, pack
from asyncrl.processes.refusals import packed


def ship(source: EnvSource) -> Parcel:
    """An environment's id or function as a parcel, for ``unship`` in another process of this run.

    Tensors that the user has moved to shared memory are shared; see `asyncrl.processes.parcels.pack`.

    Raises UserError that names the variable or attribute which cannot travel.
    """
    if not isinstance(source, str) and not callable(source):
        raise UserError(f"an environment is given as an id or a function that makes one, not as {type(source).__name__}")
    return packed(source, "environment function") if callable(source) else pack(source)


def unship(parcel: Parcel) -> EnvSource:
    """What ``ship`` was given. Executes code: only for parcels that this run's own processes made, never for a file."""
    source: EnvSource = parcel.unpack()
    return source
