"""What the options and presets of implicit heads come to: sizes, and the form that describes a head to the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asyncrl.errors import UserError
from asyncrl.heads.implicit.action_sets import DEFAULT_SIZE, ActionSet
from asyncrl.heads.implicit.form import ENERGIES, ONE_TOWER, SUBSET
from asyncrl.heads.implicit.options import ExplicitOptions, ImplicitOptions
from asyncrl.heads.implicit.presets import Preset, preset_of
from asyncrl.heads.keyed_numbers import LARGEST_PART, half_bits
from asyncrl.heads.networks.compact import Shape
from asyncrl.heads.networks.kernels import ACTIVATIONS
from asyncrl.heads.networks.structures.dense import Orthogonal

RESAMPLES = ("never", "subset", "iteration", "transition")
"""By the numbers of a form; `rollout` is a subset that is held."""
ROLLOUT = "rollout"
DEFAULT_LATENT = 16
PART, ROLLOUT_PART, PAIR = 100, 16, 2
"""Actions of a part: by default of one that is drawn at each transition, and of one that stands for a rollout; and of a pair."""
ROLLOUT_TEMPERATURE = 0.02
"""By default where parts stand for a rollout: two scores differ by far less than the largest and the least of a thousand."""


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

    def resample(self, actions: ActionSet) -> str:
        """When the set is drawn anew, as the option says it. Raises UserError where nothing in it is random."""
        given: str = self.options.resample
        if given == "auto" and actions.random:
            return self.preset.resample if self.preset else self._of_random(actions.count)
        if given == "auto":
            return "never"
        if given in ("iteration", "transition") and not actions.random:
            same = f"actions = {actions.kind}, which is always the same"
            raise UserError(f"resample = {given} cannot be used with {same} (allowed: never, subset, rollout)")
        return given

    def _of_random(self, count: int) -> str:
        """What auto stands for, of a random set of `count` actions: an index needs one that stands, and a part is less than all."""
        options = self.options
        return ROLLOUT if options.pair_steps and options.selection == "brute" and count > self._part(ROLLOUT) else "never"

    def pairs(self, resample: str) -> tuple[int, int]:
        """(actions of the first parts, steps for which they stay that); (0, 0) where parts are always of one size."""
        steps = self.options.pair_steps or 0
        return (min(PAIR, self._part(resample)), steps) if resample == ROLLOUT and steps else (0, 0)

    def temperature(self, actions: ActionSet) -> float:
        """Of the softmax, before exploration's."""
        return self.options.set_temperature or (ROLLOUT_TEMPERATURE if self.resample(actions) == ROLLOUT else 1.0)

    def _part(self, resample: str) -> int:
        return self.options.subset or (ROLLOUT_PART if resample == ROLLOUT else PART)

    def chosen(self, actions: ActionSet, resample: str) -> int:
        """M, among how many a transition chooses that has a part. Raises UserError for a part that is larger than the set."""
        if resample not in ("subset", ROLLOUT):
            return actions.count
        part = self._part(resample)
        if part > actions.count:
            raise UserError(f"subset = {part} cannot be used (allowed: up to {actions.count:,}, the actions of the set)")
        if part > LARGEST_PART:
            raise UserError(f"subset = {part} cannot be used (allowed: up to {LARGEST_PART:,})")
        return part

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
                SUBSET if resample == ROLLOUT else RESAMPLES.index(resample),
                half_bits(actions.count),
                1 if resample == "never" else 2,
                int(resample == ROLLOUT),
            ],
            np.int64,
        )


def matrices(form: NDArray[np.int64], towers: Towers, latent: int, features: int) -> list[tuple[int, int]]:
    """(inputs, outputs) of each of the head's own matrices, in their order, by form[FORM]; its latents and features have these sizes."""
    last = [(latent, 1)] if form[0] == ONE_TOWER else []
    return [(features, latent), *[(latent, latent)] * (towers.action_layers - 1 + towers.rest_layers), *last]
