"""Implicit two-tower head: the action whose latent has the largest product with that of the state.

Seed 000, section 2.2: -E(s, a) = K(l_S(s), l_A(a)). The state tower l_S is the network below the head, the action tower l_A the head's
own parameters, so that latents of a fixed set are embedded once for each version of them (`asyncrl.heads.implicit.table`).

With one linear action layer the best of a box is a corner, whatever the state; and with one scalar index for a discrete action and
d = 1 only the first or the last choice can be the best: both follow from the source's sizes.
"""

from __future__ import annotations

from typing import ClassVar

from asyncrl.heads.implicit.head import ImplicitHead
from asyncrl.heads.implicit.sizes import Towers


class TwoTowerHead(ImplicitHead):
    """K of state and action latents: their product, its exponential, or the angle between them. Own parameters: the action tower."""

    name: ClassVar[str] = "itt"
    description: ClassVar[str] = "implicit, two towers: the best action of a set by latents of state and action"

    def towers(self) -> Towers:
        given, preset = self.options.implicit, self.sizes_of.preset
        layers = given.action_layers or (preset.action_layers if preset else 2)
        return Towers(given.energy, layers, 0, given.normalize_latents or given.energy == "angular")
