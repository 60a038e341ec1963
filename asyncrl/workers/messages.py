"""What a process and the main process say to each other over their connection: workers, a learner, the evaluator.

Everything frequent is in shared memory.
"""

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
class Drawn:
    """Evaluator: the snapshot that it has evaluated is drawn too. `notes`: what the user should know."""

    notes: list[str]
    processor_seconds: float
    """That its process had taken in all by then."""


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
