"""What a worker process and the launcher say to each other over their connection. Everything frequent is in shared memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ready:
    """Worker: built, could take the slot over. `notes`: what could not be restored."""

    notes: list[str]


@dataclass(frozen=True)
class Go:
    """Launcher: the slot is yours."""

    epoch_runs: bool
    """Whether to join the running epoch; otherwise go to the gate."""


@dataclass(frozen=True)
class Note:
    """Worker: something that the user should know."""

    text: str


@dataclass(frozen=True)
class Failed:
    """Worker: it raised, and is gone."""

    text: str
    traceback: str
    steps: int
    where: str
    """Type of the error and line of the code: failures at the same place count together."""
    of_the_user: bool
    """Whether the input (an environment, say) is at fault."""
    hopeless: bool = False
    """Whether another try would come to the same."""
