"""What the user may choose of the heads itt, iot and explicit. A leaf: the command line reads it for `--help`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from asyncrl.errors import UserError
from asyncrl.fields import COUNT, COUNT_OR_ZERO, POSITIVE
from asyncrl.heads.catalogues import settled
from asyncrl.heads.options import HeadOptions
from asyncrl.heads.roles import Role

WITH_PAIRS = ("a3c", "a2c")
"""Algorithms under which a uniform set of itt begins with pairs by default."""
PAIR_SHARE = 2
"""For one of so many parts of a run, parts are pairs by default."""


@dataclass(frozen=True)
class ExplicitOptions(HeadOptions):
    """The network of head explicit, without biases."""

    preset: str = "none"
    """Sizes, set and start of the source for an environment, such as Swimmer-v2 (`asyncrl.heads.implicit.presets` has all): what is
    named beside it holds instead."""
    latent: Annotated[int | None, COUNT] = None
    """Numbers of a latent representation, and units of hidden layers of action towers; by default the preset's, or 16."""
    state_layers: Annotated[int | None, COUNT] = None
    """Weight matrices of the state tower, with `latent` units between them (explicit: of the policy; iot: 1); by default the preset's,
    or hidden layers as --hidden says."""
    encoding: Literal["index", "one-hot"] = "index"
    """How the action tower is given a discrete choice: each component as one number (the source), or as one for each choice. explicit:
    whether a component is one output, which is cut into choices (with a preset: the last one where it is positive, else the first), or
    the best of one output for each."""
    start: Literal["auto", "scaled", "normal"] = "auto"
    """Parameters at the start: orthogonal matrices with small outputs, or all standard normal (search; the source). auto: normal with a
    preset."""


@dataclass(frozen=True)
class ImplicitOptions(ExplicitOptions):
    """The set of actions of which the heads itt and iot choose the best, and their towers."""

    action_layers: Annotated[int | None, COUNT] = None
    """Weight matrices of the action tower (iot: of the energy, with the first and the last); by default the preset's, or 2 (iot: 3)."""
    actions: Literal["auto", "uniform", "grid", "all", "catalogue"] = "auto"
    """The set: uniform in the box, a regular grid, all choices of a discrete space, or `catalogue`. auto: uniform for Box, all for others,
    a catalogue where one is given."""
    catalogue: str | tuple[tuple[float, ...], ...] = ""
    """Path of an .npy file (from Python also an array): of Box actions the set itself [N, C], of others features [choices, F]."""
    set_size: Annotated[int | None, COUNT] = None
    """Actions of a set that is uniform or a grid (the largest grid that is not larger); by default the preset's, or 1000."""
    resample: Literal["auto", "never", "subset", "rollout", "iteration", "transition"] = "auto"
    """When the set is drawn anew: never; never, but each transition (subset), or all of a rollout (rollout; under gradients), choose
    among a random part of it; once per evaluation of a search or rollout; at every transition. auto: the preset's, or never, but of a
    uniform set where there are pair_steps rollout."""
    subset: Annotated[int | None, COUNT] = None
    """Actions of a part, under resample subset or rollout (under gradients exploration subset:N gives a worker its own N); by default
    100, of a rollout 16."""
    pair_steps: Annotated[int | None, COUNT_OR_ZERO] = None
    """Resample rollout: for so many steps of a run parts are pairs, and over half as many again they grow to `subset` actions; 0 for never.
    By default of itt under a3c and a2c half of the run, else 0."""
    selection: Literal["brute", "projections", "principal-tree", "refine"] = "brute"
    """How the best action of the set is found: by looking at all of them; itt, where the set is never drawn anew, also by an index of
    their latents, in buckets of random projections or in cells along principal axes; iot, in a box, also by refining the set around its
    best actions. Draws from a softmax always look at all. An index is made anew for every action tower."""
    scanned: Annotated[int, COUNT] = 2048
    """Actions that an index looks at, at least, for one choice."""
    set_temperature: Annotated[float | None, POSITIVE] = None
    """Under gradients: the policy is the softmax of the kernel divided by this (exploration's temperature multiplies it); by default 1,
    with resample rollout 0.02."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "catalogue", settled(self.catalogue))

    def check_role(self, role: Role, algo: str) -> None:
        if self.resample == "rollout" and role is not Role.ACTOR_CRITIC:
            allowed = "never" if role is Role.ACTION_VALUES else "never, subset, iteration, transition"
            raise UserError(f"resample = rollout cannot be used with {algo} (allowed: {allowed})")
        if self.pair_steps and algo not in WITH_PAIRS:
            raise UserError(f"pair_steps = {self.pair_steps} cannot be used with {algo} (allowed: 0; it is for {', '.join(WITH_PAIRS)})")


@dataclass(frozen=True)
class TwoTowerOptions(ImplicitOptions):
    """The set of actions of which head itt chooses the best, its towers, and the energy of their latents."""

    energy: Literal["dot", "softmax", "angular"] = "dot"
    """The kernel K of two latents, of which -K is the energy: their product, its exponential, or 1 - 2 angle / pi."""
    normalize_latents: bool = False
    """Latents are divided by their length."""
    lazy: str = "1"
    """Black-box search: the action tower is varied and updated in every so-many-th generation only, or, as in decay:200, in ever fewer:
    in every one at first, and half as often after each 200 generations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.lazy, int) and not isinstance(self.lazy, bool):  # a number is accepted in Python
            object.__setattr__(self, "lazy", str(self.lazy))

    def settled(self, algo: str, steps: int) -> HeadOptions:
        """With pairs for half of the steps, where it was measured what they are good for."""
        return replace(self, pair_steps=steps // PAIR_SHARE) if self.pair_steps is None and algo in WITH_PAIRS else self

    def check_role(self, role: Role, algo: str) -> None:
        super().check_role(role, algo)
        if self.lazy != "1" and role is not Role.SEARCH:
            raise UserError(f"lazy = {self.lazy} cannot be used with {algo} (allowed: 1; it is for black-box search)")
