"""What the user may choose of the heads itt, iot and explicit. A leaf: the command line reads it for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from asyncrl.errors import UserError
from asyncrl.fields import COUNT, POSITIVE
from asyncrl.heads.catalogues import settled
from asyncrl.heads.options import HeadOptions
from asyncrl.heads.roles import Role


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
    resample: Literal["auto", "never", "subset", "iteration", "transition"] = "auto"
    """When the set is drawn anew: never; never, but each transition chooses among a random part of it; once per evaluation of a search
    or rollout; at every transition. auto: the preset's, or never."""
    subset: Annotated[int, COUNT] = 100
    """Actions among which a transition chooses under resample subset (under gradients exploration subset:N gives a worker its own N)."""
    selection: Literal["brute", "projections", "principal-tree", "refine"] = "brute"
    """How the best action of the set is found: by looking at all of them; itt, where the set is never drawn anew, also by an index of
    their latents, in buckets of random projections or in cells along principal axes; iot, in a box, also by refining the set around its
    best actions. Draws from a softmax always look at all. An index is made anew for every action tower."""
    scanned: Annotated[int, COUNT] = 2048
    """Actions that an index looks at, at least, for one choice."""
    set_temperature: Annotated[float, POSITIVE] = 1.0
    """Under gradients: the policy is the softmax of the kernel divided by this (exploration's temperature multiplies it)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "catalogue", settled(self.catalogue))


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

    def check_role(self, role: Role, algo: str) -> None:
        if self.lazy != "1" and role is not Role.SEARCH:
            raise UserError(f"lazy = {self.lazy} cannot be used with {algo} (allowed: 1; it is for black-box search)")
