"""What the user may choose of a network. A leaf: heads, experiment and command line read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NetworkOptions:
    """The network below a policy head."""

    hidden: tuple[int, ...] | None = None
    """Units of each hidden layer; by default 64 64, or for images 256 above the convolutions."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the hidden layers (for images always relu)."""
    trunk: Literal["separate", "shared"] = "separate"
    """Whether policy and value have hidden layers of their own (for images and LSTMs always shared)."""
    recurrent: int = 0
    """Units of an LSTM above the hidden layers; 0 for none. Implies a shared trunk and torch for acting."""
    squash: bool = False
    """Gaussian head: tanh keeps the action within its bounds; otherwise it is clipped there."""
    initial_log_std: float = 0.0
    """Gaussian head: natural logarithm of the standard deviation at the start."""
