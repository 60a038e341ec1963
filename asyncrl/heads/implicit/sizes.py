"""What the options and presets of implicit heads come to: sizes, and the form that describes a head to the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.implicit.action_sets import DEFAULT_SIZE, ActionSet
from asyncrl.heads.implicit.form import ENERGIES, NEVER, ONE_TOWER, SUBSET
from asyncrl.heads.implicit.options import ExplicitOptions, ImplicitOptions
from asyncrl.heads.implicit.presets import Preset, preset_of
from asyncrl.heads.keyed_numbers import LARGEST_PART, half_bits
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.networks.kernels import ACTIVATIONS
from asyncrl.heads.networks.structures.dense import Orthogonal

RESAMPLES = ("never", "subset", "iteration", "transition")
DEFAULT_LATENT = 16


@dataclass(frozen=True)
class Towers:
    """What an implicit head computes: its energy (`form.ENERGIES`), matrices of the action tower and behind it, and whether latents
    are divided by their length."""

    energy: str
    action_layers: int
    rest_layers: int = 0
    normalised: bool = False


class Sizes:
    """Options with the preset's values in the place of what was left open.

    preset       of `--preset`, or None
    latent       d
    activation   of every hidden layer
    normal       whether parameters begin standard normal
    """

    def __init__(self, options: ExplicitOptions, activation: str):
        """`activation`: of the network's options. Raises UserError for an unknown preset."""
        self._state_layers, self.preset = options.state_layers, preset_of(options.preset)
        preset: Preset | None = self.preset
        self.latent = options.latent or (preset.latent if preset else DEFAULT_LATENT)
        self.activation = activation if activation != "auto" else preset.activation if preset else "relu"
        self.normal = options.start == "normal" or (options.start == "auto" and preset is not None)

    def shape(self, given: Shape, hidden: tuple[int, ...] | None, preset_layers: int) -> Shape:
        """The network below the head: no biases; `state_layers` matrices, or the preset's, or hidden layers as the options say.

        `hidden`: the option. Raises UserError where both say what it is.
        """
        named = self._state_layers
        if named is not None and hidden is not None:
            raise UserError(f"state_layers = {named} cannot be used with hidden = {hidden}: both say what the state tower is")
        layers = 0 if hidden is not None else named or preset_layers
        units = (self.latent,) * (layers - 1) if layers else given.hidden
        start: Literal["normal", "scaled"] = "normal" if self.normal else "scaled"
        return Shape(units, self.activation, Orthogonal(), hidden_biases=False, output_bias=False, start=start)


class SetSizes(Sizes):
    """The same where there is a set of actions, of `set_size` where it is uniform or a grid."""

    def __init__(self, options: ImplicitOptions, activation: str):
        """As `Sizes`."""
        super().__init__(options, activation)
        self.options = options
        self.set_size = options.set_size or (self.preset.set_size if self.preset else DEFAULT_SIZE)

    def resample(self, actions: ActionSet) -> int:
        """When the set is drawn anew, a place in RESAMPLES. Raises UserError where nothing in it is random."""
        given: str = self.options.resample
        if given == "auto":
            given = self.preset.resample if self.preset and actions.random else "never"
        if given in ("iteration", "transition") and not actions.random:
            same = f"actions = {actions.kind}, which is always the same"
            raise UserError(f"resample = {given} cannot be used with {same} (allowed: never, subset)")
        return RESAMPLES.index(given)

    def chosen(self, actions: ActionSet, resample: int) -> int:
        """M, among how many a transition chooses. Raises UserError for a part that is larger than the set."""
        if resample != SUBSET:
            return actions.count
        if self.options.subset > actions.count:
            raise UserError(f"subset = {self.options.subset} cannot be used (allowed: up to {actions.count:,}, the actions of the set)")
        if self.options.subset > LARGEST_PART:
            raise UserError(f"subset = {self.options.subset} cannot be used (allowed: up to {LARGEST_PART:,})")
        return self.options.subset

    def form(self, actions: ActionSet, towers: Towers) -> NDArray[np.int64]:
        """The form [FORM] of `asyncrl.heads.implicit.form`."""
        resample = self.resample(actions)
        return np.array(
            [
                ENERGIES.index(towers.energy),
                actions.count,
                self.chosen(actions, resample),
                actions.features,
                self.latent,
                towers.action_layers,
                towers.rest_layers,
                ACTIVATIONS.index(self.activation),
                int(towers.normalised),
                resample,
                half_bits(actions.count),
                1 if resample == NEVER else 2,
            ],
            np.int64,
        )


def matrices(form: NDArray[np.int64], towers: Towers, latent: int, features: int) -> list[tuple[int, int]]:
    """(inputs, outputs) of each of the head's own matrices, in their order, by form[FORM]; its latents and features have these sizes."""
    last = [(latent, 1)] if form[0] == ONE_TOWER else []
    return [(features, latent), *[(latent, latent)] * (towers.action_layers - 1 + towers.rest_layers), *last]
