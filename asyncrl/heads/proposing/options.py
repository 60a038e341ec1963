"""Options that all heads have which propose actions. A leaf: the command line reads it for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asyncrl.heads.catalogues import settled
from asyncrl.heads.options import HeadOptions


@dataclass(frozen=True)
class ProposingOptions(HeadOptions):
    """What it takes to propose actions of a Discrete space."""

    catalogue: str | tuple[tuple[float, ...], ...] = ""
    """Discrete actions: path of an .npy file (from Python also an array) with the features of each choice [choices, F], in whose space
    actors propose. Without one an environment's own `action_features` are taken."""

    search: Literal["exact", "faiss"] = "exact"
    """Discrete actions: how a learner finds the items nearest to proposals, by comparing all, or by an index of the package faiss-cpu, in
    which some are missed. Actors compare all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "catalogue", settled(self.catalogue))
