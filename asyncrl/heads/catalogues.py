"""Catalogues: rows of numbers that a user gives for the actions of a set, as an .npy file or as they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError

Catalogue = str | tuple[tuple[float, ...], ...]
"""A path, or rows of one length; "" for none."""

LARGEST_LIST = 100_000
"""Numbers of a catalogue that is given as they are: they are written into experiment.json. Larger ones are given as a file."""


def settled(given: Any) -> Catalogue:
    """What options keep of a catalogue that was given as a path, an array or lists. Raises UserError for what is no catalogue."""
    if isinstance(given, str):
        return given
    try:
        rows = [[float(number) for number in row] for row in given]
    except (TypeError, ValueError) as error:
        raise UserError(f"catalogue cannot be read: {error} (allowed: rows of numbers, or the path of an .npy file)") from error
    _check_list(rows)
    return tuple(map(tuple, rows))


def read(given: Catalogue) -> NDArray[Any]:
    """The rows [N, F], of a file without reading their numbers yet. Raises UserError for a file or rows that cannot be used."""
    what = f"catalogue {given!r}" if isinstance(given, str) else "catalogue"
    try:
        rows = np.load(os.fspath(given), mmap_mode="r", allow_pickle=False) if isinstance(given, str) else np.array(given)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{what} cannot be read: {reason} (allowed: an .npy file of numbers, written by numpy.save)") from None
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu" or rows.ndim != 2 or not rows.size:
        found = f"{rows.dtype} of shape {rows.shape}" if isinstance(rows, np.ndarray) else "several arrays"
        raise UserError(f"{what} of {found} cannot be used (allowed: numbers [N, F], N and F from 1)")
    return rows


def check_finite(rows: NDArray[Any], what: str = "catalogue") -> None:
    """Raise UserError for rows [N, F] with numbers that are not finite."""
    if not np.isfinite(rows).all():
        raise UserError(f"{what} cannot be used: it contains numbers that are not finite")


def _check_list(rows: Sequence[Sequence[float]]) -> None:
    count = sum(map(len, rows))
    if count > LARGEST_LIST:
        raise UserError(
            f"catalogue of {count:,} numbers cannot be given as an array (allowed: {LARGEST_LIST:,}; of more, the path of a file that "
            "numpy.save has written)"
        )
    if len({len(row) for row in rows}) > 1:
        raise UserError("catalogue cannot be used: its rows have different lengths")
