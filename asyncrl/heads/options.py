"""What the user may choose of a network, and of a head. A leaf: heads, experiment and command line read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from asyncrl.fields import COUNT, COUNT_OR_ZERO, FINITE
from asyncrl.heads.roles import Role

LOG_STD = (-5.0, 2.0)
"""Within these lies the logarithm of a Gaussian policy's standard deviation, whatever its parameter is: see `asyncrl.heads.gaussian`."""
SQUASHED_LOG_STD = (-20.0, 2.0)
"""The same of SAC's policy, whose network gives it for each observation."""


@dataclass(frozen=True)
class HeadOptions:
    """Base of the options of every head, and those of heads that have none: what others ask of options whose fields they do not know.

    A subclass that has an option of the name of one of these properties declares it as a field, which replaces the property.
    """

    @property
    def lazy(self) -> str:
        """Black-box search: in which generations the head's own parameters are varied and updated, in others they rest."""
        return "1"

    def explore(self, usual: str) -> str:
        """With a replay: the exploration settings of a run whose user names none; `usual`: the algorithm's."""
        return usual

    def settled(self, algo: str, steps: int) -> HeadOptions:
        """The options of a run of so many steps that begins: what is left open and depends on its algorithm or length is named."""
        return self

    def check_role(self, role: Role, algo: str) -> None:
        """Raise UserError for options that mean nothing where the head has this role, which is that of `algo`."""


def chosen_or_default(chosen: HeadOptions, kind: type[HeadOptions]) -> HeadOptions:
    """The options that were chosen for a head, whose type is `kind`; where it is plain `HeadOptions`, nothing was: `kind`'s defaults."""
    return kind() if type(chosen) is HeadOptions else chosen


_GAUSSIAN, _WITH_VALUE = ("squash", "initial_log_std"), ("trunk", "recurrent")
UNUSED: dict[Role, tuple[str, ...]] = {
    Role.ACTOR_CRITIC: ("virtual_batch",),
    Role.ACTION_VALUES: (*_GAUSSIAN, *_WITH_VALUE, "virtual_batch"),
    Role.REPLAY: (*_GAUSSIAN, *_WITH_VALUE, "rank", "virtual_batch"),
    Role.SOFT_REPLAY: (*_GAUSSIAN, *_WITH_VALUE, "rank", "virtual_batch"),
    Role.SEARCH: _WITH_VALUE,
}
"""Options of the network that say nothing in a family of algorithms: its `--help` leaves them out."""


@dataclass(frozen=True)
class NetworkOptions:
    """The network below a policy head."""

    hidden: Annotated[tuple[int, ...] | None, COUNT] = None
    """Units of each hidden layer; by default 64 64; compact layers 41 41; ddpg, td3 and sac 256 256; images 256 above
    the convolutions."""
    activation: Literal["auto", "tanh", "relu", "linear"] = "auto"
    """Activation of the hidden layers; auto is tanh, but relu for images, itt, iot and explicit, and ddpg, td3 and sac (which have no
    other)."""
    trunk: Literal["separate", "shared"] = "separate"
    """Whether policy and value have hidden layers of their own (for images and LSTMs always shared)."""
    recurrent: Annotated[int, COUNT_OR_ZERO] = 0
    """Units of an LSTM above the hidden layers; 0 for none. Implies a shared trunk and torch for acting."""
    squash: bool = False
    """Gaussian head: tanh keeps the action within its bounds; otherwise it is clipped there."""
    initial_log_std: Annotated[float, FINITE] = 0.0
    """Gaussian head: natural logarithm of the standard deviation at the start, from -5 to 2, within which it stays."""
    rank: Annotated[int, COUNT] = 1
    """Head low-displacement: displacement rank of its layers."""
    virtual_batch: Annotated[int, COUNT_OR_ZERO] = 0
    """Black-box search: reference observations whose mean and deviation normalise every hidden unit; 0 for none."""
    head_options: Any = field(default_factory=HeadOptions)  # of the head's `options_type`; a plain one stands for its defaults
    """Of the head alone."""

    @property
    def hidden_activation(self) -> str:
        """The activation, where the algorithm has none of its own."""
        return "tanh" if self.activation == "auto" else self.activation

    def __post_init__(self) -> None:
        if isinstance(self.hidden, int) and not isinstance(self.hidden, bool):  # one layer, as one writes it in Python
            object.__setattr__(self, "hidden", (self.hidden,))
