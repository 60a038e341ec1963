"""Sizes of the source's policies for its 15 environments: seed 000, Tables 4 and 5 ("Implicit Two-Tower Policies").

With s numbers of an observation, a of an action and d of a latent, and no biases anywhere, the parameters are

    itt        s d + (n_S - 1) d^2 + a d + (n_A - 1) d^2
    iot        (s + a) d + (n - 2) d^2 + d
    explicit   s d + (n - 2) d^2 + d a

which are the counts of Table 4 in 14 of its 15 rows. Where the source contradicts itself:

- Table 5 counts weight matrices for Gym's environments, but only hidden layers for those of DeepMind's suite: it prints
  3, 1, 5, 5 where Table 4 needs 4, 2, 6, 6. Here are weight matrices.
- InvertedPendulumBulletEnv-v0: Table 4 has 12, 13 and 12. With its 5 observations and 1 layer each the formulas give 6, 7 and 6, which
  is what the preset makes; 12, 13 and 12 would need 11 observations.
- An action of Gym's discrete environments is one number there (its index), by which the counts of CartPole, MountainCar and Acrobot come
  out; how one output of an explicit policy becomes a choice is not said (`asyncrl.heads.explicit` says how it does here), and the
  authors' code has no discrete actions.
- The authors' explicit policies end in tanh, which the text does not say.
"""

from __future__ import annotations

from dataclasses import dataclass

from asyncrl.errors import unknown


@dataclass(frozen=True)
class Preset:
    """One row: the latent size, weight matrices of each network, and the set of actions."""

    latent: int
    state_layers: int
    action_layers: int
    iot_layers: int
    explicit_layers: int
    set_size: int = 1000
    resample: str = "transition"
    activation: str = "relu"


_SMALL_DISCRETE = Preset(1, 2, 1, 3, 3)
_SUITE = Preset(20, 4, 2, 6, 6, 10_000, "iteration")

PRESETS: dict[str, Preset] = {
    "Swimmer-v2": Preset(2, 1, 1, 2, 2, activation="linear"),
    "LunarLanderContinuous-v2": Preset(2, 1, 1, 2, 2),
    "Hopper-v2": Preset(3, 1, 1, 2, 2),
    "HalfCheetah-v2": Preset(6, 4, 2, 6, 6),
    "Walker2d-v2": Preset(6, 3, 2, 5, 5),
    "CartPole-v1": _SMALL_DISCRETE,
    "MountainCar-v0": _SMALL_DISCRETE,
    "Acrobot-v1": _SMALL_DISCRETE,
    "MountainCarContinuous-v0": Preset(1, 1, 1, 2, 2),
    "InvertedPendulumBulletEnv-v0": Preset(1, 1, 1, 2, 2),
    "DMCS:FishSwim": _SUITE,
    "DMCS:Swimmer6": _SUITE,
    "DMCS:Swimmer15": _SUITE,
    "DMCS:HopperStand": _SUITE,
    "DMCS:WalkerWalk": _SUITE,
}
"""By the names of the source."""


def preset_of(name: str) -> Preset | None:
    """The preset of an environment's name there, in whatever version; None for "none". Raises UserError for an unknown name."""
    if name == "none":
        return None
    short = {full.removeprefix("DMCS:").partition("-v")[0].lower(): preset for full, preset in PRESETS.items()}
    found = short.get(name.removeprefix("DMCS:").partition("-v")[0].lower())
    if found is None:
        raise unknown("preset", name, ("none", *PRESETS), most=16)
    return found
