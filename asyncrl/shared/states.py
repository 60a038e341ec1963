"""The state of one process in shared memory, in two copies, so that it survives that process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout


class States:
    """Named arrays of fixed shapes: those of the newest version and of the one before.

    The number of the newest version is kept elsewhere (`parameters.Snapshots`); it is incremented after `save`.

    Writers:  one process; after its death, its replacement.
    Readers:  its replacement, and the launcher while the writer is paused at the gate or dead.
    Torn:     `save(v)` overwrites version v - 2; until v is announced, version v - 1 is valid.
    When full: not applicable, the size is fixed.
    Crash:    during `save(v)`: version v - 1 is complete, and v is computed again from it.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]):
        self._arrays = {name: arrays[name] for name in arrays}

    @staticmethod
    def layout(example: Mapping[str, NDArray[Any]]) -> Layout:
        """Layout for two copies of arrays with the names, shapes and types of `example`."""
        return {name: ((2, *array.shape), array.dtype) for name, array in example.items()}

    def save(self, version: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Copy the arrays of `state` as those of `version`."""
        for name, array in self._arrays.items():
            array[version % 2] = state[name]

    def load(self, version: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Overwrite the arrays of `state` with those saved as `version`, which is the newest or the one before."""
        for name, array in self._arrays.items():
            state[name][...] = array[version % 2]

    def one(self, version: int, name: str) -> NDArray[Any]:
        """View of the array `name` as it was saved as `version`, shape [*shape in the example]."""
        array: NDArray[Any] = self._arrays[name][version % 2]
        return array

    def copies(self, version: int) -> dict[str, NDArray[Any]]:
        """Copies of the arrays that were saved as `version`."""
        return {name: np.array(array[version % 2]) for name, array in self._arrays.items()}
