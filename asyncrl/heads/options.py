"""What the user may choose of a network. A leaf: heads, experiment and command line read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from asyncrl.fields import COUNT, COUNT_OR_ZERO, FINITE
from asyncrl.heads.implicit.options import ImplicitOptions

LOG_STD = (-5.0, 2.0)
"""Within these lies the logarithm of a Gaussian policy's standard deviation, whatever its parameter is: see `asyncrl.heads.gaussian`."""
SQUASHED_LOG_STD = (-20.0, 2.0)
"""The same of SAC's policy, whose network gives it for each observation."""


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
    implicit: ImplicitOptions = field(default_factory=ImplicitOptions)
    """Of the heads itt, iot and explicit alone."""

    @property
    def hidden_activation(self) -> str:
        """The activation, where the algorithm has none of its own."""
        return "tanh" if self.activation == "auto" else self.activation

    def __post_init__(self) -> None:
        if isinstance(self.hidden, int) and not isinstance(self.hidden, bool):  # one layer, as one writes it in Python
            object.__setattr__(self, "hidden", (self.hidden,))
