"""Items: the choices of a Discrete space, known by their features, in whose space actors propose.

A proposal x in [-1, 1]^F stands for the item that is nearest to it (Dulac-Arnold and others 2015, arXiv 1512.07679; seed 002, section 4.4):
the one of the largest  x . f - |f|^2 / 2.  The search is exact; of equally near ones it takes the first.
"""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.envs.spec import EnvSpec
from asyncrl.errors import UserError
from asyncrl.heads.catalogues import check_finite, read
from asyncrl.heads.proposing.options import ProposingOptions
from asyncrl.shared.sealed import sealed_arrays

ROWS = 65_536
"""Items that are scaled at once, so that no second array of their size is needed."""


class Items:
    """N items of F features.

    features      [N, F] float32, read-only, each column within [-1, 1]: in memory once for all processes of a run, which find it where
                  the process has it that starts them, so long as that one keeps this object (`asyncrl.shared.sealed`)
    half_squares  [N] float32, |f|^2 / 2 of each; of this process
    """

    def __init__(self, name: str, spec: EnvSpec, options: ProposingOptions):
        """`name`: of the head. Raises UserError where nothing tells the features, where they do not match the choices, or without faiss."""
        if options.search == "faiss" and find_spec("faiss") is None:
            raise UserError("search = faiss needs the package faiss-cpu (pip install 'asyncrl[faiss]')")
        rows = _rows(spec, options)
        count = spec.action_sizes[0]
        if rows is None:
            raise UserError(
                f"head {name!r} needs features of the {count:,} actions (give --catalogue FILE.npy, numbers [{count}, F], or an "
                "environment that has `action_features`)"
            )
        if len(rows) != count:
            raise UserError(f"features of {len(rows):,} actions cannot be used (allowed: {count:,}, one row for each action)")
        fits = rows.dtype == np.float32 and not rows.flags.writeable and _within(rows)
        self.features: NDArray[np.float32] = rows if fits else _scaled(rows, _told(rows, options))
        self.half_squares = 0.5 * np.einsum("nf,nf->n", self.features, self.features)


def features_of(spec: EnvSpec, options: ProposingOptions) -> int:
    """F, without reading the features; 0 where nothing tells them."""
    rows = _rows(spec, options)
    return 0 if rows is None else int(rows.shape[1])


def _rows(spec: EnvSpec, options: ProposingOptions) -> NDArray[Any] | None:
    """Features [n, F] as they are given, or None."""
    if options.catalogue:
        return read(options.catalogue)
    return spec.action_features.array if spec.action_features else None


def _told(rows: NDArray[Any], options: ProposingOptions) -> str:
    """What tells features [n, F] apart from others: a file, or all of their numbers."""
    given = options.catalogue
    if isinstance(given, str) and given:
        status = os.stat(given)
        return f"{os.path.abspath(given)} {status.st_ino} {status.st_mtime_ns} {status.st_size}"
    return hashlib.blake2b(np.ascontiguousarray(rows).data, digest_size=16).hexdigest()


def _scaled(rows: NDArray[Any], told: str) -> NDArray[np.float32]:
    """The rows as float32; unless all are within [-1, 1], each column from -1 to 1, and 0 where it is constant."""

    def fill(arrays: dict[str, NDArray[Any]]) -> None:
        check_finite(rows, "features of actions")
        low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
        middle, half = (low + high) / 2, (high - low) / 2
        if _within(rows):
            middle, half = np.zeros_like(middle), np.ones_like(half)
        half[half == 0] = np.inf
        for start in range(0, len(rows), ROWS):
            arrays["features"][start : start + ROWS] = np.clip((rows[start : start + ROWS] - middle) / half, -1.0, 1.0)

    return sealed_arrays(f"features of actions {told}", {"features": (rows.shape, np.float32)}, fill)["features"]


def _within(rows: NDArray[Any]) -> bool:
    return bool(rows.min() >= -1 and rows.max() <= 1)
