"""Where a head finds the latents of its set: in the table of a fixed set, or nowhere yet, where the set is drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from asyncrl.heads.implicit.form import FEATURES, LATENT, PLACES
from asyncrl.heads.implicit.selection.selection import Selection
from asyncrl.heads.implicit.standing import STANDING
from asyncrl.shared.arrays import Layout

Floats = NDArray[np.float32]
Words = NDArray[np.int64]


class Latents(Protocol):
    """Latents [N, d] of the set's features [N, F] by the head's own parameters own[D]; `latents` are those of the newest `of`."""

    features: Floats
    latents: Floats

    def layout(self) -> Layout:
        """Arrays that all processes share."""

    def attach(self, caches: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[Any]]) -> None:
        """Use these arrays of `layout`, and the head's tables."""

    def announce(self, own: Floats) -> None:
        """own[D] are those of a version that others use too."""

    def of(self, own: Floats) -> Floats:
        """The latents [N, d] of own[D]; `stands` says afterwards whether they were that all the time."""

    def selection(self) -> Selection:
        """What picks among the newest `of` by an index; as for them, `stands` says afterwards whether it was theirs all the time."""

    def figures(self) -> dict[str, float]:
        """What all processes together have done; see `Head.figures`."""

    def stands(self) -> bool:
        """Whether what was read of the newest `of` was not overwritten meanwhile."""

    def standing(self) -> tuple[Floats, int, Words, Words]:
        """(kept[D], number, at[STANDING], words): what `asyncrl.heads.implicit.standing` asks for of the newest `of`."""

    def alone(self, own: Floats) -> Floats:
        """The same [N, d] in memory of this process alone."""

    def forget(self) -> None:
        """The set has changed."""


class DrawnLatents(Latents):
    """Of a set that the kernels draw and embed themselves: features and latents are what they write to."""

    def __init__(self, form: NDArray[np.int64]):
        self.features = np.zeros((int(form[PLACES]), int(form[FEATURES])), np.float32)
        self.latents = np.zeros((int(form[PLACES]), int(form[LATENT])), np.float32)
        self._own, self._at = np.zeros(0, np.float32), np.full(STANDING, -1, np.int64)

    def layout(self) -> Layout:
        return {}

    def attach(self, caches: Mapping[str, NDArray[Any]], tables: Mapping[str, NDArray[Any]]) -> None:
        return

    def announce(self, own: Floats) -> None:
        return

    def of(self, own: Floats) -> Floats:
        self._own = own
        return self.latents

    def selection(self) -> Selection:
        raise NotImplementedError("a set that is drawn anew has no index")

    def figures(self) -> dict[str, float]:
        return {}

    def stands(self) -> bool:
        return True

    def standing(self) -> tuple[Floats, int, Words, Words]:
        return self._own, -1, self._at, self._at

    def alone(self, own: Floats) -> Floats:
        return self.of(own)

    def forget(self) -> None:
        return
