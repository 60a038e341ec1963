"""The state of one process, kept where it survives that process: two copies in shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asyncrl.shared.arrays import Layout


class States:
    """Named arrays of fixed shapes, of the newest version and of the one before it.

    Which version is the newest is for another word to say (`parameters.Snapshots`), which moves after `save`.

    Writers:  one; after its death, its successor.
    Readers:  its successor, and the launcher while the writer stands at the gate or is dead.
    Torn:     `save(v)` overwrites version v - 2 alone; until v is announced, v - 1 is what counts.
    When full: nothing grows.
    Crash:    in the middle of `save(v)`: version v - 1 is whole, and v is made again from it.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]):
        self._arrays = {name: arrays[name] for name in arrays}

    @staticmethod
    def layout(example: Mapping[str, NDArray[Any]]) -> Layout:
        """Room for arrays like these."""
        return {name: ((2, *array.shape), array.dtype) for name, array in example.items()}

    def save(self, version: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Keep `state` as that of `version`."""
        for name, array in self._arrays.items():
            array[version % 2] = state[name]

    def load(self, version: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Overwrite the arrays of `state` with what was kept of `version`: the newest, or the one before."""
        for name, array in self._arrays.items():
            state[name][...] = array[version % 2]

    def one(self, version: int, name: str) -> NDArray[Any]:
        """View of one array as it was kept of `version`."""
        array: NDArray[Any] = self._arrays[name][version % 2]
        return array

    def copies(self, version: int) -> dict[str, NDArray[Any]]:
        """Copies of what was kept of `version`."""
        return {name: np.array(array[version % 2]) for name, array in self._arrays.items()}
