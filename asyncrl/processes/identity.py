"""Which process of a run this is: what an environment may want to know, for ports, licences and files of its own.

Writers:  the process itself, once, before it makes an environment.
Readers:  whatever runs in it.
Crash:    a process that takes another's place has its index, and the next generation.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Worker:
    """A process that may run an environment."""

    role: str = "main"
    """worker; learner, which runs no environment; evaluator, which plays what has been learned; or main, which makes an environment once to
    learn of its spaces, and twice where a compiled simulator is compared with it."""
    index: int | None = None
    """0 to workers - 1; None for the others."""
    workers: int = 0
    """How many there are in the run; 0 in the main process."""
    generation: int = 0
    """How many processes have had this index before."""


_me = Worker()


def worker() -> Worker:
    """Of this process."""
    return _me


def introduce(me: Worker) -> None:
    """Say which process this is, at its start."""
    global _me
    _me = me
